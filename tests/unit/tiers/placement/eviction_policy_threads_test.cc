// Goal: no eviction policy loses a block when many threads call it.
//
// Method: threads play the engine at full speed, each with blocks of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {
namespace {

class EvictionPolicyThreadsTest : public ::testing::TestWithParam<std::string> {
 protected:
  EvictionPolicyThreadsTest() : policy_(*MakeEvictionPolicy(GetParam())) {}

  // Blocks are named by their number, so that one that returns is known.
  void Insert(BlockRef block, BlockRef parent) {
    const BlockRef run[] = {block};
    const BlockId ids[] = {{.low = block * 7919ull}};
    policy_->Insert({.blocks = run, .ids = ids, .parent = parent}, Facts());
  }
  void Touch(const std::vector<BlockRef>& run) { policy_->Touch(run, Facts()); }

  // Each call is a second after the one before.
  RequestFacts Facts() { return {.now = absl::Seconds(++calls_)}; }

  // What the engine may do with blocks [first, first + count).
  void Work(BlockRef first, BlockRef count) {
    std::mt19937_64 rng(first);
    for (int i = 0; i < 4000; ++i) {
      const BlockRef block = first + rng() % count;
      if (i % 4 == 0) Insert(block, first);
      if (i % 4 == 1) Touch({first, block});
      if (i % 4 == 2) policy_->Remove(block);
      if (i % 4 == 3) {
        if (const auto victim = policy_->TakeVictim()) {
          policy_->Retain(*victim);
        }
      }
    }
    for (BlockRef i = 0; i < count; ++i) Insert(first + i, kNoBlock);
  }

  std::unique_ptr<EvictionPolicy> policy_;
  std::atomic<int> calls_ = 0;
};

TEST_P(EvictionPolicyThreadsTest, ThreadsLoseNoBlock) {
  constexpr BlockRef kOwn = 500;
  std::vector<std::thread> threads;
  for (BlockRef t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] { Work(t * kOwn, kOwn); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(policy_->size(), 4 * kOwn);
  std::set<BlockRef> victims;
  size_t taken = 0;
  while (const auto victim = policy_->TakeVictim()) {
    victims.insert(*victim);
    ++taken;
  }
  EXPECT_EQ(taken, victims.size());
  EXPECT_EQ(victims.size(), 4 * kOwn);
}

INSTANTIATE_TEST_SUITE_P(Policies, EvictionPolicyThreadsTest,
                         ::testing::ValuesIn(EvictionPolicyNames()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace banyan::tiers
