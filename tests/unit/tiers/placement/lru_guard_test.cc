// The guard holds what an LRU would, and follows LRU only when that leads by
// more than chance.
//
// Method: random touches beside a naive list; hand-made and random scores.
#include "tiers/placement/lru_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

namespace banyan::tiers {
namespace {

TEST(LruGuardTest, HoldsWhatWasTouchedLast) {
  constexpr size_t kCapacity = 50;
  std::mt19937_64 rng(8);
  LruGuard guard;
  guard.SetCapacity(kCapacity);
  std::list<std::pair<SegmentNo, uint32_t>> order;  // Young to old.
  for (int step = 0; step < 5000; ++step) {
    const auto segment = static_cast<SegmentNo>(rng() % 40);
    const auto blocks = static_cast<uint32_t>(1 + rng() % 9);
    order.remove_if([&](const auto& e) { return e.first == segment; });
    if (rng() % 10 == 0) {
      guard.Forget(segment);
    } else {
      guard.Touch(segment, blocks);
      order.emplace_front(segment, blocks);
    }
    size_t total = 0;
    for (const auto& [no, size] : order) total += size;
    for (; total > kCapacity; --total) {  // Block by block, from the oldest.
      if (--order.back().second == 0) order.pop_back();
    }
    for (SegmentNo s = 0; s < 40; ++s) {
      const auto held =
          std::find_if(order.begin(), order.end(),
                       [&](const auto& e) { return e.first == s; });
      ASSERT_EQ(guard.BlocksHeld(s), held == order.end() ? 0 : held->second)
          << "segment " << s << " at " << step;
    }
  }
}

TEST(LruGuardTest, HoldsEverythingUntilTheCapacityIsKnown) {
  LruGuard guard;
  guard.Touch(1, 60);
  guard.Touch(2, 60);
  EXPECT_EQ(guard.BlocksHeld(1), 60u);
  // Nothing is counted: both policies find the same.
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.Count(20, 0, 20));
  guard.SetCapacity(100);
  EXPECT_EQ(guard.BlocksHeld(1), 40u);
  EXPECT_EQ(guard.BlocksHeld(2), 60u);
  EXPECT_FALSE(guard.is_following_lru());
}

TEST(LruGuardTest, PartsOfASegmentAreAsOldAsIt) {
  LruGuard guard;
  guard.SetCapacity(10);
  guard.Touch(1, 6);
  guard.Touch(2, 4);
  guard.Split(1, 2, 3);
  EXPECT_EQ(guard.BlocksHeld(1), 2u);
  EXPECT_EQ(guard.BlocksHeld(3), 4u);
  guard.Touch(4, 6);
  EXPECT_EQ(guard.BlocksHeld(1), 0u);
  EXPECT_EQ(guard.BlocksHeld(3), 0u);
  EXPECT_EQ(guard.BlocksHeld(2), 4u);
}

TEST(LruGuardTest, FollowsLruWhileItLeads) {
  LruGuard guard;
  guard.SetCapacity(100);
  int calls = 0;
  while (!guard.is_following_lru()) {
    ASSERT_LT(++calls, 1000);
    guard.Count(20, 5, 9);
  }
  while (guard.is_following_lru()) {  // Now both find the same.
    ASSERT_LT(++calls, 1000);
    guard.Count(20, 9, 9);
  }
}

TEST(LruGuardTest, IsNotFooledByChance) {
  LruGuard guard;
  guard.SetCapacity(1000);
  std::mt19937_64 rng(3);
  int changes = 0;
  for (int i = 0; i < 20000; ++i) {
    // Each finds 10 blocks half of the time; the policy a little more often.
    const uint64_t found = rng() % 100 < 55 ? 10 : 0;
    const uint64_t lru_found = rng() % 100 < 50 ? 10 : 0;
    if (guard.Count(20, found, lru_found)) ++changes;
  }
  EXPECT_EQ(changes, 0);
}

}  // namespace
}  // namespace banyan::tiers
