// A BlockId is the store's own name of a block: a keyed 128-bit hash of
// (node secret, namespace, salt, key). Tenants cannot choose or predict it, so
// they can neither collide with each other nor flood one hash bucket. It never
// leaves the node, and it is not trusted alone: a read compares the full
// identity in the block's header.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/block_key.h"

namespace banyan {

struct BlockId {
  uint64_t low = 0;
  uint64_t high = 0;

  friend bool operator==(const BlockId&, const BlockId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const BlockId& id) {
    return H::combine(std::move(h), id.low);  // Already a hash.
  }
};

// Derives the ids of one (namespace, salt).
// Threads: immutable after construction, thread-safe.
class BlockIdHasher {
 public:
  // `bits` < 128 truncates ids: tests force collisions with it.
  BlockIdHasher(absl::string_view node_secret, absl::string_view namespace_id,
                absl::string_view salt, int bits = 128);

  BlockId operator()(absl::string_view key) const;

  // Ids of all keys of the run, in order, into `out` (cleared first).
  void HashRun(const KeyRun& run, std::vector<BlockId>& out) const;

 private:
  // XXH3 takes a secret of 136 bytes or more; its default size is 192.
  std::array<std::byte, 192> secret_;
  uint64_t low_mask_ = ~uint64_t{0};
  uint64_t high_mask_ = ~uint64_t{0};
};

}  // namespace banyan
