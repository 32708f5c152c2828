// FaultyTier: the faults that tests ask for happen, once each, and leave the
// tier inside as the contract says.
//
// Method: each scripted fault once; a seeded schedule twice, for equality.
#include "tests/testing/faulty_tier.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan::testing {
namespace {

std::unique_ptr<tiers::Tier> MakeInner() {
  return *tiers::HostTier::Open({.capacity_bytes = kMiB, .prefault = false});
}

TEST(FaultyTierTest, ScriptedStageAndStoreFaultsGiveTheRoomBack) {
  FaultyTier tier(MakeInner());
  tier.FailNext(TierFault::kStageExhausted);
  EXPECT_TRUE(absl::IsResourceExhausted(StoreNo(tier, 1, 100)));
  tier.FailNext(TierFault::kStoreExists);
  EXPECT_TRUE(absl::IsAlreadyExists(StoreNo(tier, 1, 100)));
  tier.FailNext(TierFault::kStoreFails);
  EXPECT_TRUE(absl::IsResourceExhausted(StoreNo(tier, 1, 100)));

  EXPECT_EQ(tier.usage().free_bytes, kMiB);
  EXPECT_TRUE(StoreNo(tier, 1, 100).ok());
  EXPECT_EQ(tier.count(TierFault::kStoreFails), 1);
}

TEST(FaultyTierTest, ScriptedPinFaultsCarryTheirReason) {
  const std::vector<std::pair<TierFault, std::string>> cases = {
      {TierFault::kPinHeader, "HEADER"},
      {TierFault::kPinIdentity, "IDENTITY"},
      {TierFault::kPinGeneration, "GENERATION"},
      {TierFault::kPinBitFlip, "CHECKSUM"}};
  FaultyTier tier(MakeInner());
  ASSERT_TRUE(StoreNo(tier, 1, 10000, 3000).ok());
  for (const auto& [fault, reason] : cases) {
    tier.FailNext(fault);
    const absl::Status status = ReadNo(tier, 1, 10000);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_EQ(ErrorReason(status), reason);
    EXPECT_TRUE(ReadNo(tier, 1, 10000).ok());
    EXPECT_FALSE(tier.IsPinned(IdNo(1)));
  }
  tier.FailNext(TierFault::kPinNotFound);
  EXPECT_TRUE(absl::IsNotFound(ReadNo(tier, 1, 10000)));
}

TEST(FaultyTierTest, SameSeedSameFaults) {
  FaultyTier::Schedule schedule{.seed = 5};
  schedule.chance[static_cast<size_t>(TierFault::kStageExhausted)] = 0.3;
  schedule.chance[static_cast<size_t>(TierFault::kPinNotFound)] = 0.1;
  schedule.chance[static_cast<size_t>(TierFault::kPinBitFlip)] = 0.2;
  std::vector<std::vector<absl::StatusCode>> runs;
  for (int run = 0; run < 2; ++run) {
    FaultyTier tier(MakeInner(), schedule);
    auto& codes = runs.emplace_back();
    for (uint64_t n = 0; n < 100; ++n) {
      codes.push_back(StoreNo(tier, n, 100).code());
      codes.push_back(ReadNo(tier, n / 2, 100).code());
    }
    EXPECT_GT(tier.count(TierFault::kStageExhausted), 10);
    EXPECT_GT(tier.count(TierFault::kPinBitFlip), 5);
  }
  EXPECT_EQ(runs[0], runs[1]);
}

}  // namespace
}  // namespace banyan::testing
