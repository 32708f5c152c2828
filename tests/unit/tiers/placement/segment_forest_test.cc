// The forest keeps blocks in order inside segments, and segments in a tree.
//
// Method: random cuts, pops and additions beside a naive model: for each
// segment a vector of blocks and its parent.
#include "tiers/placement/segment_forest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace banyan::tiers {
namespace {

struct NaiveSegment {
  std::vector<BlockRef> blocks;
  SegmentNo parent = kNoSegment;
};

class SegmentForestTest : public ::testing::Test {
 protected:
  bool IsLeaf(SegmentNo s) const {
    return std::none_of(model_.begin(), model_.end(), [s](const auto& entry) {
      return entry.second.parent == s;
    });
  }
  SegmentNo AnySegment() {
    auto it = model_.begin();
    std::advance(it, rng_() % model_.size());
    return it->first;
  }
  std::vector<BlockRef> NewBlocks(size_t count) {
    std::vector<BlockRef> blocks;
    while (blocks.size() < count && !free_.empty()) {
      std::swap(free_[rng_() % free_.size()], free_.back());
      blocks.push_back(free_.back());
      free_.pop_back();
    }
    return blocks;
  }
  void Add() {
    const std::vector<BlockRef> blocks = NewBlocks(1 + rng_() % 6);
    if (blocks.empty()) return;
    std::vector<BlockId> ids;
    for (const BlockRef block : blocks) ids.push_back({.low = block + 7000});
    const SegmentNo parent =
        model_.empty() || rng_() % 4 == 0 ? kNoSegment : AnySegment();
    const SegmentNo s = forest_.Add(blocks, ids, parent);
    ASSERT_FALSE(model_.contains(s));
    model_[s] = {.blocks = blocks, .parent = parent};
  }
  void Split() {
    if (model_.empty()) return;
    const SegmentNo s = AnySegment();
    std::vector<BlockRef>& blocks = model_[s].blocks;
    if (blocks.size() < 2) return;
    const size_t length = 1 + rng_() % (blocks.size() - 1);
    const SegmentNo rest = forest_.Split(s, static_cast<uint32_t>(length));
    for (auto& [no, segment] : model_) {
      if (segment.parent == s) segment.parent = rest;
    }
    model_[rest] = {
        .blocks = {blocks.begin() + static_cast<long>(length), blocks.end()},
        .parent = s};
    model_[s].blocks.resize(length);
  }
  void Pop() {
    if (model_.empty()) return;
    const SegmentNo s = AnySegment();
    if (!IsLeaf(s)) return;
    std::vector<BlockRef>& blocks = model_[s].blocks;
    ASSERT_EQ(forest_.PopTail(s), blocks.back());
    free_.push_back(blocks.back());
    blocks.pop_back();
    if (!blocks.empty()) return;
    forest_.Detach(s);
    forest_.Free(s);
    model_.erase(s);
  }
  void Orphan() {
    if (model_.empty()) return;
    const SegmentNo s = AnySegment();
    forest_.Orphan(s);
    for (auto& [no, segment] : model_) {
      if (segment.parent == s) segment.parent = kNoSegment;
    }
  }
  void Check() {
    size_t blocks = 0;
    for (const auto& [s, segment] : model_) {
      ASSERT_EQ(forest_.length(s), segment.blocks.size());
      ASSERT_EQ(forest_.tail(s), segment.blocks.back());
      ASSERT_EQ(forest_.parent(s), segment.parent);
      ASSERT_EQ(forest_.IsLeaf(s), IsLeaf(s));
      ASSERT_EQ(forest_.PieceLength(segment.blocks), segment.blocks.size());
      for (size_t i = 0; i < segment.blocks.size(); ++i) {
        ASSERT_EQ(forest_.Of(segment.blocks[i]), s);
        ASSERT_EQ(forest_.PositionOf(segment.blocks[i]), i);
        ASSERT_EQ(forest_.IdOf(segment.blocks[i]), segment.blocks[i] + 7000);
      }
      blocks += segment.blocks.size();
    }
    ASSERT_EQ(forest_.blocks(), blocks);
    for (const BlockRef block : free_) ASSERT_FALSE(forest_.IsTracked(block));
  }

  std::mt19937_64 rng_{17};
  SegmentForest forest_;
  std::map<SegmentNo, NaiveSegment> model_;
  std::vector<BlockRef> free_;
};

TEST_F(SegmentForestTest, IsWhatANaiveForestIs) {
  for (BlockRef block = 0; block < 80; ++block) free_.push_back(block);
  for (int step = 0; step < 20000; ++step) {
    SCOPED_TRACE(step);
    switch (rng_() % 10) {
      case 0:
      case 1:
      case 2:
        Add();
        break;
      case 3:
        Split();
        break;
      case 4:
        Orphan();
        break;
      default:
        Pop();
    }
    if (HasFatalFailure()) return;
    if (step % 10 == 0) Check();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace banyan::tiers
