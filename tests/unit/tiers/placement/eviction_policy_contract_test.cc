// What every eviction policy promises (tiers/placement/eviction_policy.h), for
// each policy that the factory knows.
//
// Method: facts by example. eviction_policy_threads_test.cc has the threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/testing/repetitions.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class EvictionPolicyTest : public ::testing::TestWithParam<std::string> {
 protected:
  EvictionPolicyTest() : policy_(*MakeEvictionPolicy(GetParam())) {}

  // Blocks are named by their number, so that one that returns is known.
  void Insert(const std::vector<BlockRef>& run, BlockRef parent) {
    std::vector<BlockId> ids;
    for (const BlockRef block : run) ids.push_back({.low = block * 7919ull});
    policy_->Insert({.blocks = run, .ids = ids, .parent = parent}, Facts());
  }
  void Touch(const std::vector<BlockRef>& run) { policy_->Touch(run, Facts()); }

  // Each call is a second after the one before.
  RequestFacts Facts() { return {.now = absl::Seconds(++calls_)}; }

  std::vector<BlockRef> TakeAll() {
    std::vector<BlockRef> victims;
    while (const auto victim = policy_->TakeVictim()) {
      victims.push_back(*victim);
    }
    return victims;
  }

  std::unique_ptr<EvictionPolicy> policy_;
  int calls_ = 0;
};

TEST_P(EvictionPolicyTest, HasTheNameItIsMadeBy) {
  EXPECT_EQ(policy_->name(), GetParam());
}

TEST_P(EvictionPolicyTest, EmptyHasNoVictim) {
  EXPECT_EQ(policy_->size(), 0u);
  EXPECT_EQ(policy_->TakeVictim(), std::nullopt);
}

TEST_P(EvictionPolicyTest, EachBlockIsTakenOnce) {
  Insert({3, 1, 40000}, kNoBlock);
  Insert({0, 7}, 1);
  EXPECT_EQ(policy_->size(), 5u);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(0, 1, 3, 7, 40000));
  EXPECT_EQ(policy_->size(), 0u);
}

TEST_P(EvictionPolicyTest, InsertOfATrackedBlockAddsNothing) {
  Insert({1, 2, 3}, kNoBlock);
  Insert({1, 2, 3}, kNoBlock);
  Insert({3}, 3);
  EXPECT_EQ(policy_->size(), 3u);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1, 2, 3));
}

TEST_P(EvictionPolicyTest, UntrackedBlocksAreIgnored) {
  Touch({5, 100000});
  policy_->Remove(5);
  policy_->Remove(100000);
  EXPECT_EQ(policy_->size(), 0u);
  Insert({1}, 99);  // A parent that is not tracked.
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1));
}

TEST_P(EvictionPolicyTest, RemovedBlockIsNoVictim) {
  Insert({1, 2, 3}, kNoBlock);
  policy_->Remove(2);
  policy_->Remove(2);
  EXPECT_THAT(TakeAll(), UnorderedElementsAre(1, 3));
}

TEST_P(EvictionPolicyTest, RetainTracksTheVictimAgain) {
  Insert({1, 2, 3}, kNoBlock);
  for (BlockRef other = 10; other < 17; ++other) Insert({other}, kNoBlock);
  const std::optional<BlockRef> victim = policy_->TakeVictim();
  ASSERT_TRUE(victim.has_value());
  EXPECT_EQ(policy_->size(), 9u);
  policy_->Retain(*victim);
  policy_->Retain(*victim);
  EXPECT_EQ(policy_->size(), 10u);
  EXPECT_NE(policy_->TakeVictim(), victim) << "it counts as in use";
}

TEST_P(EvictionPolicyTest, RetainedBlocksLetTheOthersGo) {
  // As the engine asks while all but one block are pinned.
  for (BlockRef block = 0; block < 50; ++block) Insert({block}, kNoBlock);
  std::optional<BlockRef> victim;
  for (int tries = 0; tries < 51 && victim != BlockRef{25}; ++tries) {
    victim = policy_->TakeVictim();
    ASSERT_TRUE(victim.has_value());
    if (victim != BlockRef{25}) policy_->Retain(*victim);
  }
  EXPECT_EQ(victim, BlockRef{25});
}

TEST_P(EvictionPolicyTest, FactsAreAdvice) {
  const RequestFacts odd[] = {
      {.now = absl::InfiniteDuration(), .prompt_blocks = UINT32_MAX},
      {.now = -absl::InfiniteDuration(), .first_block = UINT32_MAX},
      {.now = absl::Seconds(3),
       .owner = UINT32_MAX,
       .hint = {.reuse = Reuse::kExpected, .within = -absl::Seconds(1)}},
      {.hint = {.reuse = Reuse::kKeep}},
      {.hint = {.reuse = Reuse::kEnded}}};
  BlockRef next = 0;
  for (int round = 0; round < 3; ++round) {
    for (const RequestFacts& facts : odd) {
      const std::vector<BlockRef> run = {next, next + 1, next + 2};
      const std::vector<BlockId> ids(3, BlockId{.low = next});
      policy_->Insert({.blocks = run, .ids = ids}, facts);
      policy_->Touch(run, facts);
      policy_->Touch({}, facts);
      policy_->Hint(run, facts);
      policy_->Hint({}, facts);
      next += 3;
    }
    ASSERT_TRUE(policy_->TakeVictim().has_value());
  }
  EXPECT_EQ(TakeAll().size(), 3 * std::size(odd) * 3 - 3);
}

TEST_P(EvictionPolicyTest, RandomCallsLoseNoBlock) {
  // Any call with any blocks; what is tracked is known by a set.
  std::mt19937_64 rng(5);
  std::set<BlockRef> tracked;
  for (int step = 0; step < 30000; ++step) {
    std::vector<BlockRef> run(rng() % 5);
    std::set<BlockRef> distinct;
    for (BlockRef& block : run) {
      do block = rng() % 200;
      while (!distinct.insert(block).second);
    }
    switch (rng() % 6) {
      case 0:
      case 1:
        Insert(run, rng() % 3 == 0 ? kNoBlock : rng() % 200);
        tracked.insert(run.begin(), run.end());
        break;
      case 2:
        Touch(run);
        break;
      case 3:
        policy_->Hint(run, {.now = absl::Seconds(step),
                            .hint = {.reuse = static_cast<Reuse>(rng() % 4)}});
        break;
      case 4:
        for (const BlockRef block : run) {
          policy_->Remove(block);
          tracked.erase(block);
        }
        break;
      case 5:
        const auto victim = policy_->TakeVictim();
        ASSERT_EQ(victim.has_value(), !tracked.empty()) << step;
        if (!victim.has_value()) break;
        ASSERT_EQ(tracked.erase(*victim), 1u) << *victim << " at " << step;
        if (rng() % 2 == 0) {
          policy_->Retain(*victim);
          tracked.insert(*victim);
        }
        break;
    }
    ASSERT_EQ(policy_->size(), tracked.size()) << step;
  }
  const std::vector<BlockRef> victims = TakeAll();
  EXPECT_EQ(std::set<BlockRef>(victims.begin(), victims.end()), tracked);
}

TEST_P(EvictionPolicyTest, MemoryIsBoundedByWhatIsTracked) {
  // A long stream of new blocks through a store of 1000.
  for (BlockRef block = 0; block < testing::Repetitions(60000u); ++block) {
    if (block >= 1000) {
      ASSERT_TRUE(policy_->TakeVictim().has_value());
    }
    const std::vector<BlockRef> run = {block % 1000};
    // Numbers are reused in any order; here the store's slots go round.
    policy_->Remove(run[0]);
    const std::vector<BlockId> ids = {{.low = block * 2654435761ull}};
    policy_->Insert({.blocks = run, .ids = ids}, Facts());
  }
  EXPECT_LE(policy_->memory_bytes(),
            1000u * kPolicyBytesPerBlockMax + kPolicyBytesFixedMax);
}

TEST_P(EvictionPolicyTest, NumbersAreReused) {
  for (int round = 0; round < 3; ++round) {
    Insert({4, 5}, kNoBlock);
    EXPECT_THAT(TakeAll(), UnorderedElementsAre(4, 5));
  }
}

TEST_P(EvictionPolicyTest, ChainGoesFromItsEnd) {
  Insert({1, 2, 3}, kNoBlock);
  Insert({4, 5}, 3);
  Touch({1, 2, 3, 4, 5});
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
    Touch(path);
    Insert({block}, parent);
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

INSTANTIATE_TEST_SUITE_P(Policies, EvictionPolicyTest,
                         ::testing::ValuesIn(EvictionPolicyNames()),
                         [](const auto& param) { return param.param; });

TEST(MakeEvictionPolicyTest, UnknownNameNamesTheKnownOnes) {
  const auto policy = MakeEvictionPolicy("fifo");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(policy.status()), "EVICTION");
  const std::string message(policy.status().message());
  EXPECT_THAT(message, HasSubstr("fifo"));
  for (const std::string& name : EvictionPolicyNames()) {
    EXPECT_THAT(message, HasSubstr(name));
  }
}

}  // namespace
}  // namespace banyan::tiers
