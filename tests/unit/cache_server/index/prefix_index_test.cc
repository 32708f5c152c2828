// The prefix index by example: what can be found, what links a block to its
// parent, what may be removed, and what stays the same meanwhile.
//
// Method: small chains of made-up ids; each fact in each group size, so that
// borders of groups fall before, on and behind the blocks of the example.
#include "cache_server/index/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace banyan::index {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr NamespaceNo kNamespace = 7;

class PrefixIndexTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  PrefixIndexTest() {
    for (uint64_t i = 0; i < 12; ++i) chain_.push_back(Id(i));
  }

  static BlockId Id(uint64_t n) {
    const uint64_t mixed = (n + 1) * 0x9e3779b97f4a7c15;
    return {.low = mixed ^ (mixed >> 29), .high = n};
  }

  // Blocks [begin, end) of the chain, with their lead.
  IdRun Run(size_t begin, size_t end) const {
    const size_t group = GetParam();
    const size_t lead = begin == 0 ? 0 : (begin - 1) % group + 1;
    const auto ids = absl::MakeConstSpan(chain_);
    return {.ids = ids.subspan(begin, end - begin),
            .first_block = static_cast<uint32_t>(begin),
            .lead = ids.subspan(begin - lead, lead)};
  }

  std::vector<BlockRef> Publish(size_t begin, size_t end, uint32_t now = 1) {
    std::vector<BlockRef> refs;
    index_.Publish(Run(begin, end), kNamespace, now, &refs);
    return refs;
  }

  uint32_t Match(uint32_t now = 1) {
    return index_.LongestPrefix(Run(0, chain_.size()), now, nullptr);
  }

  // Blocks that share a group with block n or lie before it.
  size_t EndOfGroup(size_t n) const {
    return std::min(chain_.size(), (n / GetParam() + 1) * GetParam());
  }

  std::vector<BlockId> chain_;
  PrefixIndex index_{{.shards = 4, .group_blocks = GetParam()}};
};

TEST_P(PrefixIndexTest, EmptyIndexFindsNothing) {
  EXPECT_EQ(Match(), 0u);
  EXPECT_EQ(index_.FindAnywhere(Id(0)), kNoBlock);
  EXPECT_EQ(index_.blocks(), 0u);
  EXPECT_THAT(index_.ListNamespace(kNamespace, 0, 10), IsEmpty());
}

TEST_P(PrefixIndexTest, WhatWasPlacedCanBeRestored) {
  const std::vector<BlockRef> refs = Publish(0, 12);
  PrefixIndex restored({.shards = 16, .group_blocks = GetParam()});
  for (size_t i = 0; i < refs.size(); ++i) {
    const auto place = index_.PlaceOf(refs[i]);
    ASSERT_TRUE(place.has_value());
    EXPECT_EQ(place->depth, i);
    EXPECT_EQ(place->head, Id(i / GetParam() * GetParam()));
    const RestoredBlock block = {
        .id = Id(i), .place = *place, .ns = kNamespace};
    restored.Restore(absl::MakeConstSpan(&block, 1));
    const BlockRef ref = restored.FindAt(Id(i), *place);
    ASSERT_NE(ref, kNoBlock);
    EXPECT_EQ(restored.Heat(ref)->touches, 0u);
  }
  EXPECT_EQ(restored.blocks(kNamespace), 12u);
  EXPECT_EQ(restored.LongestPrefix(Run(0, 12), 1, nullptr), 12u);
  // Leaves are leaves again, and only they.
  for (size_t i = 0; i < refs.size(); ++i) {
    const auto place = index_.PlaceOf(refs[i]);
    EXPECT_EQ(restored.IsLeaf(restored.FindAt(Id(i), *place)),
              i + 1 == EndOfGroup(i));
  }
}

TEST_P(PrefixIndexTest, ChildrenRestoredFirstAreLinkedByALookup) {
  const std::vector<BlockRef> refs = Publish(0, 12);
  PrefixIndex restored({.shards = 16, .group_blocks = GetParam()});
  for (size_t i = refs.size(); i-- > 0;) {
    const RestoredBlock block = {
        .id = Id(i), .place = *index_.PlaceOf(refs[i]), .ns = kNamespace};
    restored.Restore(absl::MakeConstSpan(&block, 1));
  }
  EXPECT_EQ(restored.LongestPrefix(Run(0, 12), 1, nullptr), 12u);
}

TEST_P(PrefixIndexTest, ManyBlocksInAnyOrderAreRestoredAsTheyWere) {
  constexpr size_t kChains = 2500;  // Enough for several threads.
  constexpr size_t kLength = 12;
  std::vector<RestoredBlock> blocks;
  for (size_t c = 0; c < kChains; ++c) {
    for (size_t i = 0; i < kLength; ++i) {
      const size_t head = i / GetParam() * GetParam();
      RestoredBlock block = {.id = Id(c * kLength + i),
                             .place = {.head = Id(c * kLength + head),
                                       .depth = static_cast<uint32_t>(i)},
                             .ns = kNamespace};
      if (i != head) block.place.parent = Id(c * kLength + i - 1);
      blocks.push_back(block);
    }
  }
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(3));
  blocks.push_back(blocks[0]);  // One may come twice.
  PrefixIndex restored({.shards = 16, .group_blocks = GetParam()});

  restored.Restore(blocks);

  EXPECT_EQ(restored.blocks(kNamespace), kChains * kLength);
  for (const RestoredBlock& block : blocks) {
    const BlockRef ref = restored.FindAt(block.id, block.place);
    ASSERT_NE(ref, kNoBlock);
    EXPECT_EQ(restored.PlaceOf(ref), block.place);
  }
}

TEST_P(PrefixIndexTest, ABlockOfAnUnknownGroupHasNoPlace) {
  const std::vector<BlockRef> refs = Publish(1, 3);
  EXPECT_EQ(index_.PlaceOf(refs[0]).has_value(), GetParam() == 1);
  EXPECT_FALSE(index_.PlaceOf(kNoBlock).has_value());
}

TEST_P(PrefixIndexTest, PublishedRunIsFoundWithItsRefs) {
  const std::vector<BlockRef> refs = Publish(0, 5);
  ASSERT_EQ(refs.size(), 5u);
  std::vector<BlockRef> found;
  EXPECT_EQ(index_.LongestPrefix(Run(0, 12), 1, &found), 5u);
  EXPECT_EQ(found, refs);
  EXPECT_EQ(index_.blocks(), 5u);
  EXPECT_EQ(index_.blocks(kNamespace), 5u);
  EXPECT_EQ(index_.blocks(kNamespace + 1), 0u);
}

TEST_P(PrefixIndexTest, RunInsideTheChainIsFoundThroughItsLead) {
  Publish(0, 12);
  for (size_t begin = 0; begin < 12; ++begin) {
    EXPECT_EQ(index_.LongestPrefix(Run(begin, 12), 1, nullptr), 12 - begin);
  }
}

TEST_P(PrefixIndexTest, SecondPublishAddsNothingAndKeepsRefs) {
  const std::vector<BlockRef> first = Publish(0, 6);
  std::vector<BlockRef> again;
  EXPECT_EQ(index_.Publish(Run(0, 8), kNamespace, 2, &again), 2u);
  again.resize(6);
  EXPECT_EQ(again, first);
  EXPECT_EQ(index_.blocks(), 8u);
}

TEST_P(PrefixIndexTest, FindSeesBlocksBehindGaps) {
  Publish(0, 2);
  Publish(4, 6);
  std::vector<BlockRef> refs;
  index_.Find(Run(0, 8), &refs);
  std::vector<bool> is_there;
  for (const BlockRef ref : refs) is_there.push_back(ref != kNoBlock);
  EXPECT_THAT(is_there,
              ElementsAre(true, true, false, false, true, true, false, false));
}

TEST_P(PrefixIndexTest, PrefixEndsAtAGapUntilItIsFilled) {
  Publish(0, 2);
  Publish(4, 6);
  EXPECT_EQ(Match(), 2u);
  Publish(2, 4);
  EXPECT_EQ(Match(), 6u);
}

TEST_P(PrefixIndexTest, OrphansPublishedBackwardsBecomeAChain) {
  for (size_t i = chain_.size(); i-- > 0;) Publish(i, i + 1);
  EXPECT_EQ(Match(), chain_.size());
}

TEST_P(PrefixIndexTest, BlockWithChildrenIsNotUnpublished) {
  const std::vector<BlockRef> refs = Publish(0, 12);
  for (size_t i = 0; i < 12; ++i) {
    const bool is_leaf = i + 1 == EndOfGroup(i);
    EXPECT_EQ(index_.IsLeaf(refs[i]), is_leaf) << i;
    if (!is_leaf) {
      EXPECT_EQ(index_.UnpublishLeaf(refs[i]), std::nullopt) << i;
    }
  }
  EXPECT_EQ(Match(), 12u);
}

TEST_P(PrefixIndexTest, ChainIsUnpublishedFromItsEnd) {
  const std::vector<BlockRef> refs = Publish(0, 12);
  for (size_t i = 12; i-- > 0;) {
    EXPECT_EQ(index_.UnpublishLeaf(refs[i]), chain_[i]);
    EXPECT_EQ(index_.UnpublishLeaf(refs[i]), std::nullopt);
    EXPECT_EQ(index_.IdOf(refs[i]), std::nullopt);
    EXPECT_FALSE(index_.Heat(refs[i]).has_value());
    EXPECT_EQ(Match(), i);
  }
  EXPECT_EQ(index_.blocks(), 0u);
}

TEST_P(PrefixIndexTest, SubtreeGoesChildrenFirstAfterItWasAnnounced) {
  const std::vector<BlockRef> refs = Publish(0, 12);
  std::vector<BlockRef> announced;
  const std::vector<BlockId> removed =
      index_.UnpublishSubtree(refs[1], [&](absl::Span<const BlockRef> going) {
        for (const BlockRef ref : going) {
          EXPECT_TRUE(index_.IdOf(ref).has_value());  // And no lock is held.
          announced.push_back(ref);
        }
      });
  std::vector<BlockId> expected;
  for (size_t i = EndOfGroup(1); i-- > 1;) expected.push_back(chain_[i]);
  EXPECT_EQ(removed, expected);
  EXPECT_EQ(announced.size(), removed.size());
  EXPECT_EQ(Match(), 1u);
}

TEST_P(PrefixIndexTest, SubtreeTakesBlocksPublishedWhileItIsAnnounced) {
  const std::vector<BlockRef> refs = Publish(0, 1);
  bool has_published = false;
  const auto removed =
      index_.UnpublishSubtree(refs[0], [&](absl::Span<const BlockRef>) {
        if (!has_published) Publish(1, 3);
        has_published = true;
      });
  const size_t end = std::min<size_t>(3, EndOfGroup(0));
  EXPECT_EQ(removed.size(), end);
  EXPECT_EQ(index_.blocks(), 3 - end);
}

TEST_P(PrefixIndexTest, SubtreeOfNothingIsEmpty) {
  const std::vector<BlockRef> refs = Publish(0, 1);
  ASSERT_TRUE(index_.UnpublishLeaf(refs[0]).has_value());
  EXPECT_THAT(index_.UnpublishSubtree(refs[0],
                                      [](absl::Span<const BlockRef>) {
                                        FAIL() << "nothing to announce";
                                      }),
              IsEmpty());
}

TEST_P(PrefixIndexTest, HeatHasDepthAndTheLastRequest) {
  const std::vector<BlockRef> refs = Publish(0, 4, 10);
  index_.LongestPrefix(Run(0, 3), 20, nullptr);
  index_.LongestPrefix(Run(0, 2), 30, nullptr);
  const uint32_t last_touch[] = {30, 30, 20, 10};
  const uint32_t touches[] = {2, 2, 1, 0};
  for (uint32_t i = 0; i < 4; ++i) {
    const auto heat = index_.Heat(refs[i]);
    ASSERT_TRUE(heat.has_value());
    EXPECT_EQ(heat->depth, i);
    EXPECT_EQ(heat->last_touch, last_touch[i]);
    EXPECT_EQ(heat->touches - index_.Heat(refs[3])->touches, touches[i]);
  }
}

TEST_P(PrefixIndexTest, FindLeavesHeatAlone) {
  const std::vector<BlockRef> refs = Publish(0, 1, 10);
  const uint32_t touches = index_.Heat(refs[0])->touches;
  std::vector<BlockRef> found;
  index_.Find(Run(0, 1), &found);
  EXPECT_EQ(index_.FindAnywhere(chain_[0]), refs[0]);
  EXPECT_EQ(index_.Heat(refs[0])->touches, touches);
  EXPECT_EQ(index_.Heat(refs[0])->last_touch, 10u);
}

TEST_P(PrefixIndexTest, TouchesSaturate) {
  const std::vector<BlockRef> refs = Publish(0, 1);
  for (int i = 0; i < 65600; ++i) {
    index_.LongestPrefix(Run(0, 1), 2, nullptr);
  }
  EXPECT_EQ(index_.Heat(refs[0])->touches, 65535u);
}

TEST_P(PrefixIndexTest, ListIsRisingAndComesInPages) {
  Publish(0, 12);
  std::set<BlockRef> seen;
  BlockRef from = 0;
  while (true) {
    const auto page = index_.ListNamespace(kNamespace, from, 5);
    if (page.empty()) break;
    ASSERT_LE(page.size(), 5u);
    for (const BlockRef ref : page) {
      EXPECT_GE(ref, from);
      EXPECT_TRUE(seen.insert(ref).second);
      from = ref + 1;
    }
  }
  EXPECT_EQ(seen.size(), 12u);
  EXPECT_THAT(index_.ListNamespace(kNamespace + 1, 0, 5), IsEmpty());
}

TEST_P(PrefixIndexTest, MemoryIsBoundedPerBlock) {
  PrefixIndex index({.shards = 1, .group_blocks = GetParam()});
  constexpr uint32_t kBlocks = 60000;
  std::vector<BlockId> ids;
  std::vector<BlockRef> refs;
  for (uint32_t i = 0; i < kBlocks; ++i) ids.push_back(Id(1000 + i));
  index.Publish({.ids = ids}, kNamespace, 1, &refs);
  ASSERT_EQ(index.blocks(), kBlocks);
  EXPECT_GT(index.memory_bytes(), kBlocks * 32u);
  // At full load it is at most 96; a table that has just doubled costs more.
  EXPECT_LT(index.memory_bytes(), kBlocks * 192u);
}

// Threads publish, look up and remove chains of their own, and look up one that
// they share.
TEST_P(PrefixIndexTest, ThreadsDoNotDisturbEachOther) {
  const std::vector<BlockRef> shared = Publish(0, 12);
  const auto work = [&](uint64_t thread) {
    std::vector<BlockId> own;
    for (uint64_t i = 0; i < 40; ++i) own.push_back(Id(1000 * thread + i));
    for (int round = 0; round < 50; ++round) {
      std::vector<BlockRef> refs;
      EXPECT_EQ(index_.Publish({.ids = own}, 1, 1, &refs), own.size());
      EXPECT_EQ(index_.LongestPrefix({.ids = own}, 2, nullptr), own.size());
      EXPECT_EQ(Publish(0, 12), shared);
      EXPECT_EQ(Match(), 12u);
      for (size_t i = refs.size(); i-- > 0;) {
        EXPECT_EQ(index_.UnpublishLeaf(refs[i]), own[i]);
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 4; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(index_.blocks(1), 0u);
  EXPECT_EQ(index_.blocks(), shared.size());
}

INSTANTIATE_TEST_SUITE_P(GroupBlocks, PrefixIndexTest,
                         ::testing::Values(1, 2, 3, 32));

}  // namespace
}  // namespace banyan::index
