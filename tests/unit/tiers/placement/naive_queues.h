// Queues of block numbers as plain vectors, old to young: for naive models of
// policies, which must share no code with the policies themselves.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::tiers::testing {

using NaiveQueue = std::vector<uint32_t>;

inline bool Has(const NaiveQueue& queue, uint32_t block) {
  return std::find(queue.begin(), queue.end(), block) != queue.end();
}

// True if the block was there.
inline bool Drop(NaiveQueue& queue, uint32_t block) {
  const auto end = std::remove(queue.begin(), queue.end(), block);
  const bool was_there = end != queue.end();
  queue.erase(end, queue.end());
  return was_there;
}

inline uint32_t PopOldest(NaiveQueue& queue) {
  const uint32_t block = queue.front();
  queue.erase(queue.begin());
  return block;
}

inline void TrimOldest(NaiveQueue& queue, size_t size) {
  while (queue.size() > size) queue.erase(queue.begin());
}

}  // namespace banyan::tiers::testing
