#include "tests/testing/faulty_tier.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::testing {
namespace {

absl::Status Exhausted() {
  return MakeError(absl::StatusCode::kResourceExhausted, "TIER_FULL",
                   "faulty tier: no room, as the test asked");
}

absl::Status Loss(absl::string_view reason) {
  return MakeError(absl::StatusCode::kDataLoss, reason,
                   "faulty tier: damaged, as the test asked");
}

// A pin of the same block with one bit of its payload wrong.
class BitFlipPin final : public tiers::BlockPin {
 public:
  explicit BitFlipPin(std::unique_ptr<tiers::BlockPin> inner)
      : BlockPin(inner->header()), inner_(std::move(inner)) {
    for (uint32_t i = 0; i < header().piece_count(); ++i) {
      const auto piece = inner_->ReadPieceUnverifiedForBench(i).bytes();
      payload_.insert(payload_.end(), piece.begin(), piece.end());
    }
    payload_[payload_.size() / 2] ^= std::byte{1};
  }

 private:
  absl::Span<const std::byte> payload() const override { return payload_; }

  const std::unique_ptr<tiers::BlockPin> inner_;
  std::vector<std::byte> payload_;
};

}  // namespace

FaultyTier::FaultyTier(std::unique_ptr<tiers::Tier> inner)
    : FaultyTier(std::move(inner), Schedule{}) {}

FaultyTier::FaultyTier(std::unique_ptr<tiers::Tier> inner,
                       const Schedule& schedule)
    : inner_(std::move(inner)),
      chance_(schedule.chance),
      random_(schedule.seed) {}

void FaultyTier::FailNext(TierFault fault, int count) {
  const MutexLock lock(mutex_);
  scripted_[static_cast<size_t>(fault)] += count;
}

int64_t FaultyTier::count(TierFault fault) const {
  const MutexLock lock(mutex_);
  return counts_[static_cast<size_t>(fault)];
}

std::optional<TierFault> FaultyTier::Draw(TierFault first, TierFault last) {
  const MutexLock lock(mutex_);
  double draw = std::uniform_real_distribution<double>(0, 1)(random_);
  for (auto i = static_cast<size_t>(first); i <= static_cast<size_t>(last);
       ++i) {
    const bool is_scripted = scripted_[i] > 0;
    if (is_scripted) --scripted_[i];
    if (is_scripted || draw < chance_[i]) {
      ++counts_[i];
      return static_cast<TierFault>(i);
    }
    draw -= chance_[i];
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<tiers::StagedBlock>> FaultyTier::Stage(
    uint64_t payload_bytes) {
  if (Draw(TierFault::kStageExhausted, TierFault::kStageExhausted)) {
    return Exhausted();
  }
  return inner_->Stage(payload_bytes);
}

absl::Status FaultyTier::DrawStore() {
  const auto fault = Draw(TierFault::kStoreExists, TierFault::kStoreFails);
  if (fault == TierFault::kStoreExists) {
    return absl::AlreadyExistsError("faulty tier: as the test asked");
  }
  if (fault == TierFault::kStoreFails) return Exhausted();
  return absl::OkStatus();
}

absl::Status FaultyTier::Store(const BlockId& id, BlockHeader header,
                               std::unique_ptr<tiers::StagedBlock> staged) {
  BANYAN_RETURN_IF_ERROR(DrawStore());
  return inner_->Store(id, std::move(header), std::move(staged));
}

absl::StatusOr<std::unique_ptr<tiers::BlockPin>> FaultyTier::StorePinned(
    const BlockId& id, BlockHeader header,
    std::unique_ptr<tiers::StagedBlock>& staged) {
  BANYAN_RETURN_IF_ERROR(DrawStore());
  return inner_->StorePinned(id, std::move(header), staged);
}

absl::StatusOr<std::unique_ptr<tiers::BlockPin>> FaultyTier::Pin(
    const BlockId& id, const BlockIdentity& identity) {
  const auto fault = Draw(TierFault::kPinNotFound, TierFault::kPinBitFlip);
  if (fault == TierFault::kPinNotFound) return absl::NotFoundError("");
  if (fault == TierFault::kPinHeader) return Loss("HEADER");
  if (fault == TierFault::kPinIdentity) return Loss("IDENTITY");
  if (fault == TierFault::kPinGeneration) return Loss("GENERATION");
  BANYAN_ASSIGN_OR_RETURN(std::unique_ptr<tiers::BlockPin> pin,
                          inner_->Pin(id, identity));
  if (fault != TierFault::kPinBitFlip) return pin;
  return std::make_unique<BitFlipPin>(std::move(pin));
}

}  // namespace banyan::testing
