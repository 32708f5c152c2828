// The LRU policy is exactly what its header says.
//
// Method: (1) the same random calls go to the policy and to a naive list, and
// each victim must be the same; (2) random requests for whole chains go through
// the prefix index and the policy, and each victim must be the one that a brute
// force search names: oldest last request, then deepest.
#include "tiers/placement/lru_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "cache_server/index/prefix_index.h"

namespace banyan::tiers {
namespace {

// The same order kept in a vector, old to young.
class NaiveList {
 public:
  void Insert(const std::vector<BlockRef>& run, BlockRef parent) {
    bool has_younger = IsTracked(parent);
    BlockRef younger = parent;
    for (const BlockRef block : run) {
      Remove(block);
      order_.insert(has_younger ? At(younger) : order_.end(), block);
      has_younger = true;
      younger = block;
    }
  }
  void Touch(const std::vector<BlockRef>& run) {
    for (auto block = run.rbegin(); block != run.rend(); ++block) {
      if (IsTracked(*block)) Retain(*block);
    }
  }
  void Remove(BlockRef block) {
    order_.erase(std::remove(order_.begin(), order_.end(), block),
                 order_.end());
  }
  std::optional<BlockRef> TakeVictim() {
    if (order_.empty()) return std::nullopt;
    const BlockRef victim = order_.front();
    order_.erase(order_.begin());
    return victim;
  }
  void Retain(BlockRef block) {
    Remove(block);
    order_.push_back(block);
  }
  size_t size() const { return order_.size(); }

 private:
  std::vector<BlockRef>::iterator At(BlockRef block) {
    return std::find(order_.begin(), order_.end(), block);
  }
  bool IsTracked(BlockRef block) { return At(block) != order_.end(); }

  std::vector<BlockRef> order_;
};

class LruPolicyTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  LruPolicyTest() : rng_(GetParam()) {}

  // Distinct blocks below 60, so that numbers meet again soon.
  std::vector<BlockRef> RandomRun() {
    std::vector<BlockRef> run;
    const size_t size = rng_() % 8;
    while (run.size() < size) {
      const BlockRef block = rng_() % 60;
      if (std::find(run.begin(), run.end(), block) == run.end()) {
        run.push_back(block);
      }
    }
    return run;
  }

  std::mt19937_64 rng_;
};

TEST_P(LruPolicyTest, VictimsAreThoseOfANaiveList) {
  LruPolicy policy;
  NaiveList list;
  for (int step = 0; step < 20000; ++step) {
    SCOPED_TRACE(::testing::Message()
                 << "seed " << GetParam() << " step " << step);
    const std::vector<BlockRef> run = RandomRun();
    const BlockRef other = rng_() % 60;
    switch (rng_() % 6) {
      case 0:
      case 1: {
        const bool is_own = std::count(run.begin(), run.end(), other) != 0;
        const BlockRef parent = is_own || other < 10 ? kNoBlock : other;
        policy.Insert({.blocks = run,
                       .ids = std::vector<BlockId>(run.size()),
                       .parent = parent},
                      {});
        list.Insert(run, parent);
        break;
      }
      case 2:
        policy.Touch(run, {});
        list.Touch(run);
        break;
      case 3:
        policy.Remove(other);
        list.Remove(other);
        break;
      case 4:
        ASSERT_EQ(policy.TakeVictim(), list.TakeVictim());
        break;
      case 5:
        policy.Retain(other);
        list.Retain(other);
        break;
    }
    ASSERT_EQ(policy.size(), list.size());
  }
  while (list.size() > 0) ASSERT_EQ(policy.TakeVictim(), list.TakeVictim());
  EXPECT_EQ(policy.TakeVictim(), std::nullopt);
}

// A store without bytes: index and policy wired as the engine wires them, and
// beside them for each block the number of its last request and its depth.
class ChainStore {
 public:
  ChainStore(uint32_t group_blocks, size_t capacity_blocks)
      : index_({.shards = 4, .group_blocks = group_blocks}),
        capacity_blocks_(capacity_blocks) {}

  void Request(const std::vector<BlockId>& chain) {
    ++request_;
    std::vector<BlockRef> refs;
    const uint32_t hits = index_.LongestPrefix({.ids = chain}, 1, &refs);
    policy_.Touch(refs, {});
    for (uint32_t i = 0; i < hits; ++i) last_[Key(chain[i])].first = request_;
    const size_t missing = chain.size() - hits;
    while (last_.size() + missing > capacity_blocks_) {
      ASSERT_NO_FATAL_FAILURE(EvictOne());
    }
    Publish(chain, hits, refs);
  }

 private:
  using IdKey = std::pair<uint64_t, uint64_t>;
  static IdKey Key(const BlockId& id) { return {id.low, id.high}; }

  void Publish(const std::vector<BlockId>& chain, uint32_t hits,
               const std::vector<BlockRef>& matched) {
    if (hits == chain.size()) return;
    const auto ids = absl::MakeConstSpan(chain);
    const uint32_t lead =
        hits == 0 ? 0 : (hits - 1) % index_.group_blocks() + 1;
    std::vector<BlockRef> refs;
    const uint32_t added =
        index_.Publish({.ids = ids.subspan(hits),
                        .first_block = hits,
                        .lead = ids.subspan(hits - lead, lead)},
                       1, 1, &refs);
    ASSERT_EQ(added, chain.size() - hits);
    policy_.Insert({.blocks = refs,
                    .ids = ids.subspan(hits),
                    .parent = hits == 0 ? kNoBlock : matched.back()},
                   {});
    for (uint32_t i = hits; i < chain.size(); ++i) {
      last_[Key(chain[i])] = {request_, i};
    }
  }

  void EvictOne() {
    auto expected = last_.begin();
    for (auto it = last_.begin(); it != last_.end(); ++it) {
      const auto& [request, depth] = it->second;
      const auto& [oldest, deepest] = expected->second;
      if (request < oldest || (request == oldest && depth > deepest)) {
        expected = it;
      }
    }
    const std::optional<BlockRef> victim = policy_.TakeVictim();
    ASSERT_TRUE(victim.has_value());
    const std::optional<BlockId> removed = index_.UnpublishLeaf(*victim);
    ASSERT_TRUE(removed.has_value()) << "the victim is a leaf";
    ASSERT_EQ(Key(*removed), expected->first);
    last_.erase(expected);
  }

  index::PrefixIndex index_;
  LruPolicy policy_;
  const size_t capacity_blocks_;
  uint64_t request_ = 0;
  // Of each block that exists: last request, depth.
  std::map<IdKey, std::pair<uint64_t, uint32_t>> last_;
};

TEST_P(LruPolicyTest, VictimsOfWholeChainsAreThoseOfBruteForce) {
  for (const uint32_t group_blocks : {1, 3, 32}) {
    SCOPED_TRACE(::testing::Message()
                 << "seed " << GetParam() << " group " << group_blocks);
    std::vector<std::vector<BlockId>> chains;
    for (int c = 0; c < 60; ++c) {
      std::vector<BlockId> chain;
      if (c > 0 && rng_() % 3 != 0) {  // Shares a prefix with another chain.
        chain = chains[rng_() % c];
        chain.resize(1 + rng_() % chain.size());
      }
      const size_t size = std::max<size_t>(chain.size(), 1 + rng_() % 40);
      while (chain.size() < size) {
        chain.push_back({.low = rng_(), .high = rng_()});
      }
      chains.push_back(chain);
    }
    ChainStore store(group_blocks, 200);
    for (int request = 0; request < 1500; ++request) {
      SCOPED_TRACE(::testing::Message() << "request " << request);
      store.Request(chains[rng_() % chains.size()]);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LruPolicyTest,
                         ::testing::Range(uint64_t{1}, uint64_t{6}));

}  // namespace
}  // namespace banyan::tiers
