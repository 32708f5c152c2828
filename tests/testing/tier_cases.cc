#include "tests/testing/tier_cases.h"

#include <utility>

#include "base/check.h"
#include "base/units.h"
#include "tests/testing/faulty_tier.h"
#include "tests/testing/temp_directory.h"
#include "tiers/host/host_tier.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::testing {
namespace {

std::unique_ptr<tiers::Tier> MakeHostTier(uint64_t capacity_bytes) {
  auto tier = tiers::HostTier::Open(
      {.capacity_bytes = capacity_bytes, .prefault = false});
  BANYAN_CHECK(tier.ok());
  return *std::move(tier);
}

// Keeps a directory as long as the tier in it.
class TierInDirectory final : public tiers::Tier {
 public:
  TierInDirectory(std::unique_ptr<TempDirectory> directory,
                  std::unique_ptr<tiers::Tier> tier)
      : directory_(std::move(directory)), tier_(std::move(tier)) {}

  absl::string_view name() const override { return tier_->name(); }
  uint64_t block_bytes_max() const override { return tier_->block_bytes_max(); }
  absl::StatusOr<std::unique_ptr<tiers::StagedBlock>> Stage(
      uint64_t payload_bytes) override {
    return tier_->Stage(payload_bytes);
  }
  absl::Status Store(const BlockId& id, BlockHeader header,
                     std::unique_ptr<tiers::StagedBlock> staged) override {
    return tier_->Store(id, std::move(header), std::move(staged));
  }
  absl::StatusOr<std::unique_ptr<tiers::BlockPin>> Pin(
      const BlockId& id, const BlockIdentity& identity) override {
    return tier_->Pin(id, identity);
  }
  absl::StatusOr<BlockHeader> ReadHeader(const BlockId& id) const override {
    return tier_->ReadHeader(id);
  }
  void Erase(const BlockId& id) override { tier_->Erase(id); }
  bool IsPinned(const BlockId& id) const override {
    return tier_->IsPinned(id);
  }
  tiers::TierUsage usage() const override { return tier_->usage(); }

 private:
  const std::unique_ptr<TempDirectory> directory_;
  const std::unique_ptr<tiers::Tier> tier_;
};

std::unique_ptr<tiers::Tier> MakeSsdTier(uint64_t capacity_bytes,
                                         uint64_t segment_bytes) {
  auto directory = std::make_unique<TempDirectory>();
  auto tier = tiers::SsdTier::Open({.directories = {directory->path()},
                                    .capacity_bytes = capacity_bytes,
                                    .segment_bytes = segment_bytes,
                                    .node_id = "test"});
  BANYAN_CHECK(tier.ok());
  return std::make_unique<TierInDirectory>(std::move(directory),
                                           *std::move(tier));
}

TierCase SsdCase(std::string name, uint64_t capacity_bytes,
                 uint64_t segment_bytes) {
  return {std::move(name),
          [=] { return MakeSsdTier(capacity_bytes, segment_bytes); },
          capacity_bytes};
}

TierCase HostCase(std::string name, uint64_t capacity_bytes) {
  return {std::move(name),
          [capacity_bytes] { return MakeHostTier(capacity_bytes); },
          capacity_bytes};
}

}  // namespace

std::vector<TierCase> AllTiers() {
  constexpr uint64_t kOddBytes = 1000 * 4096 + 77;
  return {
      HostCase("HostSmall", kMiB),
      HostCase("HostOddCapacity", kOddBytes),
      HostCase("HostMedium", 32 * kMiB),
      SsdCase("SsdSmall", kMiB, 128 * kKiB),
      SsdCase("SsdOneSegment", kMiB, kMiB),
      SsdCase("SsdOddCapacity", kOddBytes, 100 * kKiB + 5),
      SsdCase("SsdMedium", 16 * kMiB, kMiB),
      {"FaultyWithoutFaults",
       [] { return std::make_unique<FaultyTier>(MakeHostTier(kMiB)); }, kMiB},
  };
}

}  // namespace banyan::testing
