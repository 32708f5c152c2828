// Every promise of tiers/tier.h, checked on every tier by the same cases.
//
// Method: a new tier adds one line to AllTiers() and must pass unchanged.
// Payloads are self-describing, so a wrong byte is recognised as whose.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/self_describing.h"
#include "tests/testing/tier_cases.h"
#include "tiers/tier.h"

namespace banyan::tiers {
namespace {

using testing::IdentityNo;
using testing::IdNo;
using testing::ReadNo;
using testing::StoreNo;

constexpr uint64_t kBlock = 8 * kKiB;

// Bytes cannot be had without verification: these would be the other ways.
template <typename T>
concept GivesPayload = requires(const T& pin) { pin.payload(); };
template <typename T>
concept GivesPiece = requires(const T& pin) { pin.PieceBytes(0); };
static_assert(!GivesPayload<BlockPin> && !GivesPiece<BlockPin>);
static_assert(!std::is_default_constructible_v<VerifiedBytes>);
static_assert(
    !std::is_constructible_v<VerifiedBytes, absl::Span<const std::byte>>);
static_assert(!std::is_copy_constructible_v<BlockPin>);

class TierContractTest : public ::testing::TestWithParam<testing::TierCase> {
 protected:
  ~TierContractTest() override { CheckUsage(); }

  void CheckUsage() const {
    const TierUsage usage = tier_->usage();
    EXPECT_EQ(usage.capacity_bytes, GetParam().capacity_bytes);
    EXPECT_EQ(usage.used_bytes + usage.staged_bytes + usage.free_bytes +
                  usage.waste_bytes,
              usage.capacity_bytes);
    EXPECT_LE(usage.payload_bytes, usage.used_bytes);
    EXPECT_LE(usage.pinned_bytes, usage.used_bytes);
  }

  std::unique_ptr<BlockPin> PinNo(uint64_t n) {
    auto pin = tier_->Pin(IdNo(n), IdentityNo(n));
    EXPECT_TRUE(pin.ok()) << pin.status();
    return pin.ok() ? *std::move(pin) : nullptr;
  }

  // Stores blocks until one does not fit; returns how many did.
  uint64_t Fill(uint64_t first, uint64_t payload_bytes) {
    for (uint64_t n = first;; ++n) {
      const absl::Status status = StoreNo(*tier_, n, payload_bytes);
      if (status.ok()) continue;
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      return n - first;
    }
  }

  const std::unique_ptr<Tier> tier_ = GetParam().make();
};

TEST_P(TierContractTest, EmptyTierHasAllBytesFree) {
  const TierUsage usage = tier_->usage();

  EXPECT_EQ(usage.free_bytes + usage.waste_bytes, usage.capacity_bytes);
  EXPECT_EQ(usage.blocks, 0u);
  EXPECT_GT(tier_->block_bytes_max(), 0u);
  EXPECT_FALSE(tier_->name().empty());
}

TEST_P(TierContractTest, StoredBlocksOfAnySizeReadBack) {
  const std::vector<uint64_t> sizes = {
      1, 63, 64, 65, 127, 4095, 4096, 4097, 8192, 12345, kBlock + 1, 40 * kKiB};
  for (size_t i = 0; i < sizes.size(); ++i) {
    ASSERT_TRUE(StoreNo(*tier_, i, sizes[i]).ok()) << sizes[i];
    CheckUsage();
  }

  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(ReadNo(*tier_, i, sizes[i]).ok()) << sizes[i];
  }
  EXPECT_EQ(tier_->usage().blocks, sizes.size());
}

TEST_P(TierContractTest, PiecesReadBackOneByOne) {
  ASSERT_TRUE(StoreNo(*tier_, 1, 10000, 3000).ok());

  const auto pin = PinNo(1);

  ASSERT_NE(pin, nullptr);
  EXPECT_EQ(pin->header().piece_count(), 4u);
  EXPECT_EQ(pin->ReadPiece(3)->bytes().size(), 1000u);
  EXPECT_TRUE(testing::CheckPinNo(*pin, 1, 10000).ok());
}

TEST_P(TierContractTest, APieceIsCheckedInSteps) {
  ASSERT_TRUE(StoreNo(*tier_, 1, 10000, 3000).ok());
  const std::shared_ptr<const BlockPin> pin = PinNo(1);

  PieceCheck check(pin, 1);
  EXPECT_FALSE(check.Step(1000));
  EXPECT_FALSE(check.Step(1999));
  EXPECT_TRUE(check.Step(1000));

  const auto checked = check.Finish();
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(checked->bytes(), pin->ReadPiece(1)->bytes());
}

TEST_P(TierContractTest, BlockAsLargeAsTheTierFits) {
  const uint64_t bytes = tier_->block_bytes_max();

  ASSERT_TRUE(StoreNo(*tier_, 1, bytes).ok());

  EXPECT_TRUE(ReadNo(*tier_, 1, bytes).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(tier_->Stage(1).status()));
}

TEST_P(TierContractTest, LargerThanTheTierIsInvalid) {
  const auto staged = tier_->Stage(tier_->block_bytes_max() + 1);

  EXPECT_TRUE(absl::IsInvalidArgument(staged.status())) << staged.status();
}

TEST_P(TierContractTest, UnknownIdIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(tier_->Pin(IdNo(1), IdentityNo(1)).status()));
  EXPECT_FALSE(tier_->IsPinned(IdNo(1)));
  tier_->Erase(IdNo(1));
}

TEST_P(TierContractTest, StagedBlockIsInvisibleAndCounted) {
  const auto staged = tier_->Stage(kBlock);
  ASSERT_TRUE(staged.ok()) << staged.status();

  EXPECT_EQ((*staged)->bytes().size(), kBlock);
  EXPECT_TRUE(absl::IsNotFound(tier_->Pin(IdNo(1), IdentityNo(1)).status()));
  EXPECT_GE(tier_->usage().staged_bytes, kBlock);
  EXPECT_EQ(tier_->usage().blocks, 0u);
  CheckUsage();
}

TEST_P(TierContractTest, DestroyedStagedBlockGivesItsRoomBack) {
  const uint64_t free_bytes = tier_->usage().free_bytes;

  ASSERT_TRUE(tier_->Stage(kBlock).ok());

  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
  EXPECT_EQ(tier_->usage().free_bytes, free_bytes);
}

TEST_P(TierContractTest, SecondStoreLeavesTheFirstBytesAndGivesItsRoomBack) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  const TierUsage before = tier_->usage();
  auto staged = *tier_->Stage(kBlock / 2);
  testing::FillPayloadNo(2, staged->bytes());
  BlockHeader header = testing::HeaderNo(2, staged->bytes());

  const absl::Status status = tier_->Store(IdNo(1), header, std::move(staged));

  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
  EXPECT_EQ(tier_->usage().free_bytes, before.free_bytes);
  EXPECT_EQ(tier_->usage().blocks, 1u);
}

TEST_P(TierContractTest, AnotherIdentityUnderTheSameIdIsDataLoss) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());

  const auto pin = tier_->Pin(IdNo(1), IdentityNo(2));

  EXPECT_TRUE(absl::IsDataLoss(pin.status())) << pin.status();
  EXPECT_EQ(ErrorReason(pin.status()), "IDENTITY");
  EXPECT_FALSE(tier_->IsPinned(IdNo(1)));
}

TEST_P(TierContractTest, GenerationIsSetByTheTierAndNeverReused) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  const uint64_t first = PinNo(1)->header().generation;
  tier_->Erase(IdNo(1));

  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());

  EXPECT_GT(PinNo(1)->header().generation, first);
}

TEST_P(TierContractTest, ErasedBlockIsGoneAndItsRoomIsFree) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());

  tier_->Erase(IdNo(1));

  EXPECT_TRUE(absl::IsNotFound(tier_->Pin(IdNo(1), IdentityNo(1)).status()));
  EXPECT_EQ(tier_->usage().used_bytes, 0u);
  EXPECT_EQ(tier_->usage().payload_bytes, 0u);
  EXPECT_EQ(tier_->usage().blocks, 0u);
}

TEST_P(TierContractTest, PinnedBytesOutliveErase) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  auto pin = PinNo(1);
  auto second_pin = PinNo(1);

  tier_->Erase(IdNo(1));
  Fill(100, kBlock);

  EXPECT_TRUE(testing::CheckPinNo(*pin, 1, kBlock).ok());
  EXPECT_TRUE(absl::IsNotFound(tier_->Pin(IdNo(1), IdentityNo(1)).status()));
  EXPECT_FALSE(tier_->IsPinned(IdNo(1)));
  EXPECT_TRUE(absl::IsResourceExhausted(tier_->Stage(kBlock).status()));
  pin.reset();
  EXPECT_TRUE(absl::IsResourceExhausted(tier_->Stage(kBlock).status()));
  second_pin.reset();
  EXPECT_TRUE(tier_->Stage(kBlock).ok());
}

TEST_P(TierContractTest, ErasedIdCanBeStoredAgainWhileTheOldOneIsPinned) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  const auto old_pin = PinNo(1);
  tier_->Erase(IdNo(1));

  ASSERT_TRUE(StoreNo(*tier_, 1, 2 * kBlock).ok());

  EXPECT_TRUE(testing::CheckPinNo(*old_pin, 1, kBlock).ok());
  EXPECT_TRUE(ReadNo(*tier_, 1, 2 * kBlock).ok());
  EXPECT_EQ(tier_->usage().blocks, 1u);
}

TEST_P(TierContractTest, PinsAreSeenAndCounted) {
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  EXPECT_FALSE(tier_->IsPinned(IdNo(1)));

  {
    const auto pin = PinNo(1);
    const auto second_pin = PinNo(1);
    EXPECT_TRUE(tier_->IsPinned(IdNo(1)));
    EXPECT_EQ(tier_->usage().pinned_bytes, tier_->usage().used_bytes);
  }

  EXPECT_FALSE(tier_->IsPinned(IdNo(1)));
  EXPECT_EQ(tier_->usage().pinned_bytes, 0u);
}

TEST_P(TierContractTest, FullTierTakesOneBlockForEachErasedOne) {
  const uint64_t count = Fill(0, kBlock);
  ASSERT_GT(count, 8u);

  for (uint64_t n = 0; n < 8; ++n) {
    tier_->Erase(IdNo(n * count / 8));
    EXPECT_TRUE(StoreNo(*tier_, count + n, kBlock).ok()) << n;
    EXPECT_TRUE(absl::IsResourceExhausted(tier_->Stage(kBlock).status()));
    CheckUsage();
  }
}

TEST_P(TierContractTest, ErasingOneByOneMakesRoomForAnySize) {
  const uint64_t count = Fill(0, kBlock);
  const uint64_t large = tier_->block_bytes_max();
  uint64_t next = 0;

  while (!StoreNo(*tier_, count, large).ok()) {
    ASSERT_LT(next, count) << "all are erased and it still does not fit";
    tier_->Erase(IdNo(next++));
    CheckUsage();
  }

  EXPECT_TRUE(ReadNo(*tier_, count, large).ok());
}

INSTANTIATE_TEST_SUITE_P(AllTiers, TierContractTest,
                         ::testing::ValuesIn(testing::AllTiers()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace banyan::tiers
