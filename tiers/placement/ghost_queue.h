// Remembers which blocks went last: names only, oldest forgotten first.
//
// Threads: not thread-safe.
// Cost:    about 40 bytes a block at most.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/container/flat_hash_map.h"
#include "base/block_id.h"

namespace banyan::tiers {

class GhostQueue {
 public:
  size_t size() const { return rounds_.size(); }

  // Forgets the oldest ones beyond `capacity`.
  void Trim(size_t capacity);
  // A block known already becomes the youngest.
  void Add(const BlockId& id);
  // True if the block was known; then it is forgotten.
  bool Take(const BlockId& id) { return rounds_.erase(id.low) > 0; }

  size_t memory_bytes() const;

 private:
  // Ids are hashes: half of one is as good a name as the whole.
  struct Entry {
    uint64_t id = 0;
    uint64_t round = 0;
  };
  bool IsTaken(const Entry& entry) const;

  uint64_t round_ = 0;
  std::deque<Entry> entries_;  // Old to young, with some that were taken.
  absl::flat_hash_map<uint64_t, uint64_t> rounds_;  // Id to its valid entry.
};

}  // namespace banyan::tiers
