// Which slot size serves a block size: a fixed grid, plus exact sizes that
// namespaces declare for the one block size they really use.
//
// The grid: multiples of 64 B up to 4 KiB; above, eight steps a doubling,
// rounded up to 4 KiB. So a slot of the grid is at most 1/8 larger than its
// block (beyond 32 KiB), and a declared size wastes less than 4 KiB.
//
// Threads: thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>

#include "absl/status/status.h"

namespace banyan::tiers {

// Declared sizes at most; further ones are served by the grid.
inline constexpr size_t kDeclaredSizesMax = 256;

class SizeClasses {
 public:
  // No slot is larger than `slot_bytes_max`.
  explicit SizeClasses(uint64_t slot_bytes_max);

  // The smallest slot that holds the block.
  // Requires: 0 < block_bytes <= slot_bytes_max.
  uint64_t SlotBytes(uint64_t block_bytes) const;

  // Declares a block size. A size that is known already does nothing.
  // Errors: kInvalidArgument    no block can have this size
  //         kResourceExhausted  kDeclaredSizesMax reached
  absl::Status Add(uint64_t block_bytes);

 private:
  const uint64_t slot_bytes_max_;
  std::set<uint64_t> declared_;
};

}  // namespace banyan::tiers
