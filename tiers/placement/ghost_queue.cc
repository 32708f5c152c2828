#include "tiers/placement/ghost_queue.h"

#include <algorithm>

namespace banyan::tiers {

bool GhostQueue::IsTaken(const Entry& entry) const {
  const auto found = rounds_.find(entry.id);
  return found == rounds_.end() || found->second != entry.round;
}

void GhostQueue::Trim(size_t capacity) {
  while (rounds_.size() > capacity) {
    if (!IsTaken(entries_.front())) rounds_.erase(entries_.front().id);
    entries_.pop_front();
  }
  // At most as many holes as entries, so sweeping costs O(1) an Add.
  if (entries_.size() <= 2 * rounds_.size() + 64) return;
  entries_.erase(
      std::remove_if(entries_.begin(), entries_.end(),
                     [this](const Entry& entry) { return IsTaken(entry); }),
      entries_.end());
}

void GhostQueue::Add(const BlockId& id) {
  entries_.push_back({.id = id.low, .round = ++round_});
  rounds_[id.low] = round_;
}

size_t GhostQueue::memory_bytes() const {
  return entries_.size() * sizeof(Entry) +
         rounds_.capacity() * (2 * sizeof(uint64_t) + 1);
}

}  // namespace banyan::tiers
