#include "tiers/placement/lru_guard.h"

#include <algorithm>
#include <cmath>

namespace banyan::tiers {

void LruGuard::SetCapacity(size_t blocks) {
  capacity_ = blocks;
  Trim();
}

void LruGuard::Trim() {
  if (capacity_ == 0) return;  // Not known yet: nothing had to go.
  while (held_blocks_ > capacity_) {
    const SegmentNo oldest = held_.front();
    const size_t over = held_blocks_ - capacity_;
    if (over >= blocks_[oldest]) {
      Forget(oldest);
    } else {
      blocks_[oldest] -= static_cast<uint32_t>(over);
      held_blocks_ -= over;
    }
  }
}

void LruGuard::SetBlocks(SegmentNo segment, uint32_t blocks) {
  if (segment >= blocks_.size()) blocks_.resize(size_t{segment} + 1);
  blocks_[segment] = blocks;
}

void LruGuard::Touch(SegmentNo segment, uint32_t blocks) {
  Forget(segment);
  SetBlocks(segment, blocks);
  held_blocks_ += blocks;
  held_.PushBack(segment);
  Trim();
}

void LruGuard::Split(SegmentNo segment, uint32_t blocks, SegmentNo rest) {
  const uint32_t held = BlocksHeld(segment);
  if (held <= blocks) return;
  Forget(rest);
  SetBlocks(segment, blocks);
  SetBlocks(rest, held - blocks);
  held_.InsertBefore(segment, rest);
}

void LruGuard::Forget(SegmentNo segment) {
  if (!held_.Has(segment)) return;
  held_blocks_ -= blocks_[segment];
  held_.Erase(segment);
}

bool LruGuard::Count(uint64_t blocks_asked, uint64_t blocks_found,
                     uint64_t lru_found) {
  if (capacity_ == 0) return false;
  const double memory =
      kMemoryCapacities * static_cast<double>(std::max<size_t>(1, capacity_));
  const double fade = std::exp(-static_cast<double>(blocks_asked) / memory);
  const double step =
      static_cast<double>(lru_found) - static_cast<double>(blocks_found);
  asked_ = asked_ * fade + static_cast<double>(blocks_asked);
  lead_ = lead_ * fade + step;
  spread_ = spread_ * fade + step * step;
  const double least =
      std::max(kLeadMin * asked_, kLeadSigmas * std::sqrt(spread_));
  const bool was_following = is_following_lru_;
  is_following_lru_ = lead_ > (was_following ? least / 2 : least);
  return is_following_lru_ != was_following;
}

}  // namespace banyan::tiers
