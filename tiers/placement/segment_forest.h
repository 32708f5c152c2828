// The tracked blocks cut into segments: runs of one chain that live and die
// together. A segment hangs on the end of another one, or on nothing; several
// may hang on the same end. Blocks leave at the end of a leaf, or anywhere by
// Cut. Numbers of segments are dense and reused.
//
// Invariant: a segment has at least one block, but for one that lost its last
//            block until Free.
// Threads:   not thread-safe.
// Cost:      24 bytes a block, 24 bytes a segment; finding the piece of a run
//            that lies in one segment reads each of its blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {

using SegmentNo = uint32_t;
inline constexpr SegmentNo kNoSegment = UINT32_MAX;

class SegmentForest {
 public:
  bool IsTracked(BlockRef block) const {
    return block < places_.size() && places_[block].segment != kNoSegment;
  }
  // kNoSegment if the block is not tracked.
  SegmentNo Of(BlockRef block) const {
    return block < places_.size() ? places_[block].segment : kNoSegment;
  }
  uint32_t PositionOf(BlockRef block) const { return places_[block].position; }
  // Half of the block's id; known until its number is given again.
  uint64_t IdOf(BlockRef block) const { return places_[block].id; }

  uint32_t length(SegmentNo segment) const { return nodes_[segment].length; }
  SegmentNo parent(SegmentNo segment) const { return nodes_[segment].parent; }
  bool IsLeaf(SegmentNo segment) const {
    return nodes_[segment].child == kNoSegment;
  }
  bool HasOneChild(SegmentNo segment) const {
    const SegmentNo child = nodes_[segment].child;
    return child != kNoSegment && nodes_[child].next == child;
  }
  BlockRef tail(SegmentNo segment) const { return nodes_[segment].tail; }
  // Of a block that was popped: the one before it in its segment, or kNoBlock.
  BlockRef Above(BlockRef block) const { return places_[block].above; }

  // How many blocks from run[0] on lie one behind the other in its segment.
  // Requires: run[0] is tracked.
  size_t PieceLength(absl::Span<const BlockRef> run) const;

  // A new segment of blocks that are not tracked, behind the end of `parent`.
  SegmentNo Add(absl::Span<const BlockRef> run, absl::Span<const BlockId> ids,
                SegmentNo parent);

  // One without blocks, for what is only remembered.
  SegmentNo AddEmpty() { return NewNode(); }

  // Cuts a segment so that it has `length` blocks left; the rest, with all that
  // hangs on it, becomes a new one behind it. Requires: 0 < length < its own.
  SegmentNo Split(SegmentNo segment, uint32_t length);

  // The last block leaves. Requires: a leaf with a block.
  BlockRef PopTail(SegmentNo segment);
  // A block that was popped is back. Requires: it is not tracked.
  void PushTail(SegmentNo segment, BlockRef block);

  // What hangs on the segment hangs on nothing any more.
  void Orphan(SegmentNo segment);
  // Leaves its parent. Requires: it is a leaf.
  void Detach(SegmentNo segment);
  // The number may be given again. Requires: detached.
  void Free(SegmentNo segment) { free_.push_back(segment); }

  size_t blocks() const { return blocks_; }
  // Largest number of a segment ever given + 1.
  size_t segments_end() const { return nodes_.size(); }
  size_t memory_bytes() const;

 private:
  struct Place {
    SegmentNo segment = kNoSegment;
    BlockRef above = kNoBlock;  // In the same segment; else not valid.
    uint32_t position = 0;
    uint64_t id = 0;
  };
  struct Node {
    BlockRef tail = kNoBlock;
    uint32_t length = 0;
    SegmentNo parent = kNoSegment;
    SegmentNo child = kNoSegment;  // One of them.
    SegmentNo next = kNoSegment;   // Siblings, in a ring.
    SegmentNo previous = kNoSegment;
  };
  SegmentNo NewNode();
  void Join(SegmentNo segment, SegmentNo parent);

  std::vector<Place> places_;  // By block.
  std::vector<Node> nodes_;    // By segment.
  std::vector<SegmentNo> free_;
  size_t blocks_ = 0;
};

}  // namespace banyan::tiers
