#include "tiers/placement/chain_links.h"

namespace banyan::tiers {

void ChainLinks::JoinParent(BlockRef block) {
  Node& node = nodes_[block];
  Node& parent = nodes_[node.parent];
  if (parent.child == kNoBlock) {
    parent.child = node.next = node.previous = block;
    return;
  }
  node.next = parent.child;
  node.previous = nodes_[parent.child].previous;
  nodes_[node.previous].next = block;
  nodes_[node.next].previous = block;
}

void ChainLinks::LeaveParent(BlockRef block) {
  Node& node = nodes_[block];
  Node& parent = nodes_[node.parent];
  if (node.next == block) {
    parent.child = kNoBlock;
    return;
  }
  nodes_[node.previous].next = node.next;
  nodes_[node.next].previous = node.previous;
  if (parent.child == block) parent.child = node.next;
}

void ChainLinks::Add(BlockRef block, BlockRef parent) {
  Drop(block);
  if (block >= nodes_.size()) nodes_.resize(size_t{block} + 1);
  Node& node = nodes_[block];
  node = {.life = node.life + 1, .is_linked = true};
  if (parent == block || !IsLinked(parent)) return;
  node.parent = parent;
  node.parent_life = nodes_[parent].life;
  JoinParent(block);
}

void ChainLinks::Drop(BlockRef block) {
  if (!IsLinked(block)) return;
  Node& node = nodes_[block];
  node.is_linked = false;
  if (node.parent != kNoBlock) LeaveParent(block);
  while (node.child != kNoBlock) {
    const BlockRef child = node.child;
    LeaveParent(child);
    nodes_[child].parent = kNoBlock;
  }
}

void ChainLinks::Restore(BlockRef block) {
  if (block >= nodes_.size()) nodes_.resize(size_t{block} + 1);
  Node& node = nodes_[block];
  if (node.is_linked) return;
  node.is_linked = true;
  if (node.parent == kNoBlock) return;
  if (IsLinked(node.parent) && nodes_[node.parent].life == node.parent_life) {
    JoinParent(block);
  } else {
    node.parent = kNoBlock;
  }
}

}  // namespace banyan::tiers
