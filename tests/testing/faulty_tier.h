// A Tier that fails on purpose: a decorator that asks a script, then a seeded
// schedule, before each call reaches the tier inside. With neither it is the
// tier inside.
//
// Threads:  thread-safe. The schedule is deterministic for one thread.
// Lifetime: as of the tier inside, which it owns.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "tiers/tier.h"

namespace banyan::testing {

enum class TierFault {
  kStageExhausted,  // Stage: kResourceExhausted.
  kStoreExists,     // Store: kAlreadyExists; the room is given back.
  kStoreFails,      // Store: kResourceExhausted; the room is given back.
  kPinNotFound,     // Pin: kNotFound.
  kPinHeader,       // Pin: kDataLoss, reason HEADER.
  kPinIdentity,     // Pin: kDataLoss, reason IDENTITY.
  kPinGeneration,   // Pin: kDataLoss, reason GENERATION.
  kPinBitFlip,      // Pin works; a piece of it fails with reason CHECKSUM.
};
inline constexpr size_t kTierFaults = 8;

class FaultyTier final : public tiers::Tier {
 public:
  // Chance of each fault at each call that can have it; faults of one call
  // exclude each other, in the order of the enumeration.
  struct Schedule {
    uint64_t seed = 1;
    std::array<double, kTierFaults> chance{};
  };

  explicit FaultyTier(std::unique_ptr<tiers::Tier> inner);
  FaultyTier(std::unique_ptr<tiers::Tier> inner, const Schedule& schedule);

  // The next `count` calls that can have this fault have it.
  void FailNext(TierFault fault, int count = 1);

  // How often the fault happened.
  int64_t count(TierFault fault) const;

  tiers::Tier& inner() { return *inner_; }

  absl::string_view name() const override { return inner_->name(); }
  uint64_t block_bytes_max() const override {
    return inner_->block_bytes_max();
  }
  absl::StatusOr<std::unique_ptr<tiers::StagedBlock>> Stage(
      uint64_t payload_bytes) override;
  absl::Status Store(const BlockId& id, BlockHeader header,
                     std::unique_ptr<tiers::StagedBlock> staged) override;
  absl::StatusOr<std::unique_ptr<tiers::BlockPin>> StorePinned(
      const BlockId& id, BlockHeader header,
      std::unique_ptr<tiers::StagedBlock>& staged) override;
  absl::StatusOr<std::unique_ptr<tiers::BlockPin>> Pin(
      const BlockId& id, const BlockIdentity& identity) override;
  absl::StatusOr<BlockHeader> ReadHeader(const BlockId& id) const override {
    return inner_->ReadHeader(id);
  }
  void Erase(const BlockId& id) override { inner_->Erase(id); }
  bool IsPinned(const BlockId& id) const override {
    return inner_->IsPinned(id);
  }
  tiers::TierUsage usage() const override { return inner_->usage(); }

 private:
  // What a Store that has a fault answers.
  absl::Status DrawStore();

  // The fault of [first, last] that this call has, if any.
  std::optional<TierFault> Draw(TierFault first, TierFault last);

  const std::unique_ptr<tiers::Tier> inner_;
  const std::array<double, kTierFaults> chance_;
  mutable Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::array<int, kTierFaults> scripted_ ABSL_GUARDED_BY(mutex_){};
  std::array<int64_t, kTierFaults> counts_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace banyan::testing
