#include "tiers/placement/segment_forest.h"

#include <algorithm>

namespace banyan::tiers {

size_t SegmentForest::PieceLength(absl::Span<const BlockRef> run) const {
  const Place& first = places_[run[0]];
  size_t length = 1;
  while (length < run.size() && run[length] < places_.size()) {
    const Place& place = places_[run[length]];
    if (place.segment != first.segment ||
        place.position != first.position + length) {
      break;
    }
    ++length;
  }
  return length;
}

SegmentNo SegmentForest::NewNode() {
  if (!free_.empty()) {
    const SegmentNo segment = free_.back();
    free_.pop_back();
    nodes_[segment] = Node();
    return segment;
  }
  nodes_.emplace_back();
  return static_cast<SegmentNo>(nodes_.size() - 1);
}

void SegmentForest::Join(SegmentNo segment, SegmentNo parent) {
  Node& node = nodes_[segment];
  node.parent = parent;
  if (parent == kNoSegment) return;
  Node& above = nodes_[parent];
  if (above.child == kNoSegment) {
    above.child = node.next = node.previous = segment;
    return;
  }
  node.next = above.child;
  node.previous = nodes_[above.child].previous;
  nodes_[node.previous].next = segment;
  nodes_[node.next].previous = segment;
}

void SegmentForest::Detach(SegmentNo segment) {
  Node& node = nodes_[segment];
  if (node.parent == kNoSegment) return;
  Node& above = nodes_[node.parent];
  node.parent = kNoSegment;
  if (node.next == segment) {
    above.child = kNoSegment;
    return;
  }
  nodes_[node.previous].next = node.next;
  nodes_[node.next].previous = node.previous;
  if (above.child == segment) above.child = node.next;
}

void SegmentForest::Orphan(SegmentNo segment) {
  while (nodes_[segment].child != kNoSegment) Detach(nodes_[segment].child);
}

SegmentNo SegmentForest::Add(absl::Span<const BlockRef> run,
                             absl::Span<const BlockId> ids, SegmentNo parent) {
  const SegmentNo segment = NewNode();
  Join(segment, parent);
  for (size_t i = 0; i < run.size(); ++i) {
    PushTail(segment, run[i]);
    places_[run[i]].id = ids[i].low;
  }
  return segment;
}

void SegmentForest::PushTail(SegmentNo segment, BlockRef block) {
  if (block >= places_.size()) places_.resize(size_t{block} + 1);
  Node& node = nodes_[segment];
  places_[block] = {.segment = segment,
                    .above = node.tail,
                    .position = node.length,
                    .id = places_[block].id};
  node.tail = block;
  ++node.length;
  ++blocks_;
}

BlockRef SegmentForest::PopTail(SegmentNo segment) {
  Node& node = nodes_[segment];
  const BlockRef block = node.tail;
  node.tail = places_[block].above;
  --node.length;
  --blocks_;
  places_[block].segment = kNoSegment;
  return block;
}

SegmentNo SegmentForest::Split(SegmentNo segment, uint32_t length) {
  const SegmentNo rest = NewNode();
  Node& upper = nodes_[segment];
  Node& lower = nodes_[rest];
  lower.tail = upper.tail;
  lower.length = upper.length - length;
  BlockRef block = upper.tail;
  for (uint32_t i = lower.length; i-- > 0;) {
    places_[block].segment = rest;
    places_[block].position = i;
    block = places_[block].above;
  }
  upper.tail = block;
  upper.length = length;
  lower.child = upper.child;
  upper.child = kNoSegment;
  if (lower.child != kNoSegment) {
    SegmentNo child = lower.child;
    do {
      nodes_[child].parent = rest;
      child = nodes_[child].next;
    } while (child != lower.child);
  }
  Join(rest, segment);
  return rest;
}

size_t SegmentForest::memory_bytes() const {
  return places_.capacity() * sizeof(Place) + nodes_.capacity() * sizeof(Node) +
         free_.capacity() * sizeof(SegmentNo);
}

}  // namespace banyan::tiers
