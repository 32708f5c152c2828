// How often a block was seen lately, by and large: a count-min sketch of small
// counters (Cormode and Muthukrishnan) whose counters are halved now and then,
// as in TinyLFU (Einziger et al., 2017). An estimate is never too low but for
// the halving, and at most 15.
//
// Threads: not thread-safe.
// Cost:    16 bytes for each block of the capacity, rounded up to a power of 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/block_id.h"

namespace banyan::tiers {

class FrequencySketch {
 public:
  FrequencySketch();

  // Makes it fit for so many blocks, if it is too small. Keeps its counts.
  void Fit(size_t capacity_blocks);
  void Add(const BlockId& id);
  uint32_t Estimate(const BlockId& id) const;

  size_t memory_bytes() const { return counters_.capacity(); }

 private:
  static constexpr int kRows = 4;

  size_t At(const BlockId& id, int row) const {
    return ((id.low + row * (id.high | 1)) & (columns_ - 1)) * kRows + row;
  }
  void Halve();

  size_t columns_ = 0;  // Power of two.
  size_t seen_ = 0;     // Since the last halving.
  std::vector<uint8_t> counters_;
};

}  // namespace banyan::tiers
