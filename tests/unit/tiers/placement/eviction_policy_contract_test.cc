// What every eviction policy promises (tiers/placement/eviction_policy.h), for
// each policy that the factory knows.
//
// Method: facts by example, and threads that play the engine at full speed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class EvictionPolicyTest : public ::testing::TestWithParam<std::string> {
 protected:
  EvictionPolicyTest() : policy_(*MakeEvictionPolicy(GetParam())) {}

  std::vector<BlockRef> TakeAll() {
    std::vector<BlockRef> victims;
    while (const auto victim = policy_->TakeVictim()) {
      victims.push_back(*victim);
    }
    return victims;
  }

  std::unique_ptr<EvictionPolicy> policy_;
};

TEST_P(EvictionPolicyTest, HasTheNameItIsMadeBy) {
  EXPECT_EQ(policy_->name(), GetParam());
}

TEST_P(EvictionPolicyTest, EmptyHasNoVictim) {
  EXPECT_EQ(policy_->size(), 0u);
  EXPECT_EQ(policy_->TakeVictim(), std::nullopt);
}

TEST_P(EvictionPolicyTest, EachBlockIsTakenOnce) {
  policy_->Insert({3, 1, 40000}, kNoBlock);
  policy_->Insert({0, 7}, 1);
  EXPECT_EQ(policy_->size(), 5u);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(0, 1, 3, 7, 40000));
  EXPECT_EQ(policy_->size(), 0u);
}

TEST_P(EvictionPolicyTest, InsertOfATrackedBlockAddsNothing) {
  policy_->Insert({1, 2, 3}, kNoBlock);
  policy_->Insert({1, 2, 3}, kNoBlock);
  policy_->Insert({3}, 3);
  EXPECT_EQ(policy_->size(), 3u);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1, 2, 3));
}

TEST_P(EvictionPolicyTest, UntrackedBlocksAreIgnored) {
  policy_->Touch({5, 100000});
  policy_->Remove(5);
  policy_->Remove(100000);
  EXPECT_EQ(policy_->size(), 0u);
  policy_->Insert({1}, 99);  // A parent that is not tracked.
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1));
}

TEST_P(EvictionPolicyTest, RemovedBlockIsNoVictim) {
  policy_->Insert({1, 2, 3}, kNoBlock);
  policy_->Remove(2);
  policy_->Remove(2);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1, 3));
}

TEST_P(EvictionPolicyTest, RetainTracksTheVictimAgain) {
  policy_->Insert({1, 2, 3}, kNoBlock);
  const std::optional<BlockRef> victim = policy_->TakeVictim();
  ASSERT_TRUE(victim.has_value());
  EXPECT_EQ(policy_->size(), 2u);
  policy_->Retain(*victim);
  policy_->Retain(*victim);
  EXPECT_EQ(policy_->size(), 3u);
  EXPECT_NE(policy_->TakeVictim(), victim) << "it counts as in use";
}

TEST_P(EvictionPolicyTest, NumbersAreReused) {
  for (int round = 0; round < 3; ++round) {
    policy_->Insert({4, 5}, kNoBlock);
    EXPECT_THAT(TakeAll(), UnorderedElementsAre(4, 5));
  }
}

TEST_P(EvictionPolicyTest, ChainGoesFromItsEnd) {
  policy_->Insert({1, 2, 3}, kNoBlock);
  policy_->Insert({4, 5}, 3);
  policy_->Touch({1, 2, 3, 4, 5});
  EXPECT_THAT(TakeAll(), ::testing::ElementsAre(5, 4, 3, 2, 1));
}

TEST_P(EvictionPolicyTest, NoParentGoesBeforeItsChildren) {
  // A tree grows at random places; requests are for whole paths.
  std::mt19937_64 rng(11);
  std::vector<BlockRef> parents;
  for (BlockRef block = 0; block < 300; ++block) {
    const BlockRef parent = block == 0 ? kNoBlock : rng() % block;
    parents.push_back(parent);
    std::vector<BlockRef> path;
    for (BlockRef at = parent; at != kNoBlock; at = parents[at]) {
      path.insert(path.begin(), at);
    }
    policy_->Touch(path);
    policy_->Insert({block}, parent);
  }
  std::set<BlockRef> gone;
  for (const BlockRef victim : TakeAll()) {
    if (parents[victim] != kNoBlock) {
      EXPECT_FALSE(gone.contains(parents[victim])) << victim;
    }
    gone.insert(victim);
  }
  EXPECT_EQ(gone.size(), parents.size());
}

TEST_P(EvictionPolicyTest, ThreadsLoseNoBlock) {
  constexpr BlockRef kOwn = 500;
  const auto work = [this](BlockRef first) {
    std::mt19937_64 rng(first);
    for (int i = 0; i < 4000; ++i) {
      const BlockRef block = first + rng() % kOwn;
      if (i % 4 == 0) policy_->Insert({block}, first);
      if (i % 4 == 1) policy_->Touch({first, block});
      if (i % 4 == 2) policy_->Remove(block);
      if (i % 4 == 3) {
        if (const auto victim = policy_->TakeVictim()) {
          policy_->Retain(*victim);
        }
      }
    }
    for (BlockRef i = 0; i < kOwn; ++i) policy_->Insert({first + i}, kNoBlock);
  };
  std::vector<std::thread> threads;
  for (BlockRef t = 0; t < 4; ++t) threads.emplace_back(work, t * kOwn);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(policy_->size(), 4 * kOwn);
  const std::vector<BlockRef> victims = TakeAll();
  EXPECT_EQ(std::set<BlockRef>(victims.begin(), victims.end()).size(),
            4 * kOwn);
}

INSTANTIATE_TEST_SUITE_P(Policies, EvictionPolicyTest, ::testing::Values("lru"),
                         [](const auto& param) { return param.param; });

TEST(MakeEvictionPolicyTest, UnknownNameNamesTheKnownOnes) {
  const auto policy = MakeEvictionPolicy("fifo");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(policy.status()), "EVICTION");
  const std::string message(policy.status().message());
  EXPECT_THAT(message, HasSubstr("fifo"));
  EXPECT_THAT(message, HasSubstr("lru"));
}

}  // namespace
}  // namespace banyan::tiers
