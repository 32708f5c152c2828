// The books of segments add up at every moment.
//
// Method: single rules by name; then random reserves, appends, erases and
// retirements, with sums compared after each.
#include "tiers/ssd/segment_books.h"

#include <gtest/gtest.h>

#include <random>

#include "base/units.h"

namespace banyan::tiers {
namespace {

using Purpose = SegmentBooks::Purpose;
using Outcome = SegmentBooks::Outcome;

constexpr uint64_t kPage = kIoAlignment;

class SegmentBooksTest : public ::testing::Test {
 protected:
  Segment& Grow(uint64_t record_bytes) {
    const auto growth = books_.CanGrow(record_bytes, Purpose::kNew, nullptr);
    EXPECT_TRUE(growth.has_value());
    SegmentHeader header;
    header.name.id = ++segment_count_;
    header.segment_bytes = growth->segment_bytes;
    return books_.Add(*growth, header, nullptr);
  }

  // Reserve, append and land one record.
  Segment* Store(uint64_t bytes) {
    Segment* segment = books_.Reserve(bytes, Purpose::kNew, nullptr);
    if (segment == nullptr) return nullptr;
    const uint64_t offset = books_.Append(*segment, bytes, BlockId());
    books_.Landed(*segment, offset, bytes, Purpose::kNew, Outcome::kStored,
                  bytes - kPage);
    return segment;
  }

  void CheckSums() {
    const TierUsage usage = books_.usage();
    ASSERT_EQ(usage.used_bytes + usage.staged_bytes + usage.free_bytes +
                  usage.waste_bytes,
              usage.capacity_bytes);
    ASSERT_LE(usage.payload_bytes, usage.used_bytes);
  }

  SegmentBooks books_{{.directory_count = 2,
                       .capacity_bytes = kMiB,
                       .segment_bytes = 64 * kKiB}};
  uint64_t segment_count_ = 0;
};

TEST_F(SegmentBooksTest, PromisedRoomIsStagedUntilItLandsOrIsGivenBack) {
  Grow(2 * kPage);
  Segment* const segment = books_.Reserve(2 * kPage, Purpose::kNew, nullptr);
  ASSERT_NE(segment, nullptr);
  EXPECT_EQ(books_.usage().staged_bytes, 2 * kPage);

  books_.GiveBack(*segment, 2 * kPage, Purpose::kNew);

  EXPECT_EQ(books_.usage().staged_bytes, 0u);
  EXPECT_EQ(segment->tail_bytes(), 64 * kKiB - kPage);
}

TEST_F(SegmentBooksTest, RecordsFollowEachOther) {
  Segment& segment = Grow(2 * kPage);
  ASSERT_EQ(books_.Reserve(5 * kPage, Purpose::kNew, nullptr), &segment);

  EXPECT_EQ(books_.Append(segment, 2 * kPage, BlockId()), kPage);
  EXPECT_EQ(books_.Append(segment, 3 * kPage, BlockId()), 3 * kPage);
  EXPECT_FALSE(segment.is_idle());
}

TEST_F(SegmentBooksTest, NewSegmentSealsTheOpenOneOfItsDirectory) {
  Segment& first = Grow(kPage);
  ASSERT_NE(Store(10 * kPage), nullptr);

  Segment& second = Grow(10 * kPage);
  Segment& third = Grow(10 * kPage);

  EXPECT_NE(second.directory, first.directory);
  EXPECT_EQ(third.directory, first.directory);
  EXPECT_EQ(first.state, Segment::State::kSealed);
  EXPECT_EQ(books_.usage().waste_bytes, 16 * kPage + 5 * kPage);
}

TEST_F(SegmentBooksTest, RecordLargerThanASegmentGetsOneOfItsSize) {
  const auto growth = books_.CanGrow(100 * kKiB, Purpose::kNew, nullptr);

  ASSERT_TRUE(growth.has_value());
  EXPECT_EQ(growth->segment_bytes, 100 * kKiB + kPage);
  EXPECT_FALSE(books_
                   .CanGrow(books_.record_bytes_max() + 10 * kPage,
                            Purpose::kNew, nullptr)
                   .has_value());
}

TEST_F(SegmentBooksTest, CarryingMayTakeTheVictimsSizeMore) {
  while (true) {
    const auto growth = books_.CanGrow(kPage, Purpose::kNew, nullptr);
    if (!growth.has_value()) break;
    Grow(kPage);
  }
  Segment* const victim = books_.at(0);

  const auto growth = books_.CanGrow(kPage, Purpose::kCarry, victim);

  ASSERT_TRUE(growth.has_value());
  EXPECT_EQ(growth->segment_bytes, victim->header.segment_bytes);
  EXPECT_EQ(growth->directory, victim->directory);
}

TEST_F(SegmentBooksTest, LimboCountsAsUsed) {
  Grow(kPage);
  Segment* const segment = Store(4 * kPage);
  ASSERT_NE(segment, nullptr);
  books_.CountDead(*segment, 4 * kPage, 3 * kPage);
  books_.AddLimbo(4 * kPage, 3 * kPage);

  EXPECT_EQ(books_.usage().used_bytes, 4 * kPage);
  CheckSums();
  books_.RemoveLimbo(4 * kPage, 3 * kPage);
  EXPECT_EQ(books_.usage().used_bytes, 0u);
}

TEST_F(SegmentBooksTest, ColdAndOldIsWorthGivingUp) {
  Segment& old_hot = Grow(15 * kPage);
  ASSERT_EQ(Store(15 * kPage), &old_hot);
  old_hot.hot_bytes = 14 * kPage;
  Segment& cold = Grow(15 * kPage);
  ASSERT_EQ(Store(15 * kPage), &cold);

  EXPECT_EQ(books_.ColdestSegment(), &cold);
  old_hot.hot_bytes = 0;
  EXPECT_EQ(books_.ColdestSegment(), &old_hot);
}

TEST_F(SegmentBooksTest, RandomUseAddsUp) {
  std::mt19937_64 random(5);
  std::vector<std::pair<Segment*, uint64_t>> live;
  size_t most_live_count = 0;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t bytes = (2 + random() % 10) * kPage;
    most_live_count = std::max(most_live_count, live.size());
    if (random() % 3 != 0) {
      Segment* segment = Store(bytes);
      if (segment != nullptr) {
        live.emplace_back(segment, bytes);
      } else if (books_.CanGrow(bytes, Purpose::kNew, nullptr).has_value()) {
        Grow(bytes);
      }
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      books_.CountDead(*live.back().first, live.back().second,
                       live.back().second - kPage);
      live.pop_back();
    }
    Segment* const dead = books_.DeadestSegment();
    if (dead != nullptr && dead->live_bytes == 0 && dead->dead_bytes() > 0) {
      books_.Retire(*dead);
      books_.Drop(*dead);
    }
    CheckSums();
    ASSERT_LE(books_.disk_bytes(), kMiB);
  }
  EXPECT_GT(most_live_count, 20u);
  EXPECT_GT(segment_count_, 100u);
}

}  // namespace
}  // namespace banyan::tiers
