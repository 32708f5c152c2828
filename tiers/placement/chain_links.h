// Which tracked blocks hang on which. Survives that numbers are reused, and
// that a block goes before those behind it.
//
// Threads: not thread-safe.
// Cost:    28 bytes a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {

class ChainLinks {
 public:
  // A new block. A `parent` that is not linked, or the block itself, is none.
  void Add(BlockRef block, BlockRef parent);
  // The block goes; those behind it have no parent any more. No effect if it
  // is not linked.
  void Drop(BlockRef block);
  // A block that was dropped is back behind its parent, if that still lives.
  void Restore(BlockRef block);

  bool IsLinked(BlockRef block) const {
    return block < nodes_.size() && nodes_[block].is_linked;
  }
  // kNoBlock if it has none. Requires: it is linked.
  BlockRef Parent(BlockRef block) const { return nodes_[block].parent; }
  // The block itself if it is a leaf; else the end of the branch below it that
  // grew first. Requires: it is linked.
  BlockRef LeafBelow(BlockRef block) const {
    while (nodes_[block].child != kNoBlock) block = nodes_[block].child;
    return block;
  }
  size_t memory_bytes() const { return nodes_.capacity() * sizeof(Node); }

 private:
  struct Node {
    BlockRef parent = kNoBlock;
    BlockRef child = kNoBlock;  // The oldest.
    BlockRef next = kNoBlock;   // Siblings by age, in a ring.
    BlockRef previous = kNoBlock;
    uint32_t parent_life = 0;  // `life` of the parent that is meant.
    uint32_t life = 0;         // Counts the blocks that had this number.
    bool is_linked = false;
  };
  void JoinParent(BlockRef block);
  void LeaveParent(BlockRef block);

  std::vector<Node> nodes_;
};

}  // namespace banyan::tiers
