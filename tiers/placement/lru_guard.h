// Watches whether plain LRU would have done better, and says when to follow it.
//
// Beside the policy it keeps the segments that an LRU of the same size would
// hold: those touched last, up to the capacity, of the oldest one its head. Once
// the capacity is known it counts of each request the blocks that were found
// and those that LRU would have found. Both counts fade, with a memory of
// kMemoryCapacities times the capacity. Once LRU leads by more than chance
// explains, and by more than kLeadMin of the blocks asked for, it is followed,
// until half of that lead has faded.
//
// Threads: not thread-safe.
// Cost:    O(1) a touched segment, 12 bytes a segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tiers/placement/number_list.h"
#include "tiers/placement/segment_forest.h"

namespace banyan::tiers {

class LruGuard {
 public:
  static constexpr double kLeadMin = 0.003;
  static constexpr double kLeadSigmas = 3;
  static constexpr double kMemoryCapacities = 20;

  // Forgets what LRU would have evicted at that size.
  void SetCapacity(size_t blocks);

  // Leading blocks of the segment that LRU would hold.
  uint32_t BlocksHeld(SegmentNo segment) const {
    return held_.Has(segment) ? blocks_[segment] : 0;
  }
  // The segment was asked for, or came, as the youngest one.
  void Touch(SegmentNo segment, uint32_t blocks);
  // What is behind its first `blocks` has become `rest`, as old as it.
  void Split(SegmentNo segment, uint32_t blocks, SegmentNo rest);
  void Forget(SegmentNo segment);

  // A request is over. Returns true if is_following_lru has changed.
  bool Count(uint64_t blocks_asked, uint64_t blocks_found, uint64_t lru_found);
  bool is_following_lru() const { return is_following_lru_; }

  size_t memory_bytes() const {
    return held_.memory_bytes() + blocks_.capacity() * sizeof(uint32_t);
  }

 private:
  void SetBlocks(SegmentNo segment, uint32_t blocks);
  void Trim();

  size_t capacity_ = 0;
  size_t held_blocks_ = 0;
  NumberList held_;               // What LRU would hold, oldest first.
  std::vector<uint32_t> blocks_;  // By segment, of those held.
  double asked_ = 0;
  double lead_ = 0;    // Blocks that LRU found more.
  double spread_ = 0;  // Sum of the squares of its steps.
  bool is_following_lru_ = false;
};

}  // namespace banyan::tiers
