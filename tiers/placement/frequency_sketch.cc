#include "tiers/placement/frequency_sketch.h"

#include <algorithm>

namespace banyan::tiers {
namespace {

constexpr size_t kColumnsMin = 64;
constexpr uint8_t kCountMax = 15;
constexpr size_t kColumnsPerBlock = 4;
constexpr size_t kSeenPerBlock = 10;  // Before counters are halved.

}  // namespace

FrequencySketch::FrequencySketch()
    : columns_(kColumnsMin), counters_(kColumnsMin * kRows) {}

void FrequencySketch::Fit(size_t capacity_blocks) {
  while (columns_ < capacity_blocks * kColumnsPerBlock) {
    // What fell together so far is counted in both places.
    counters_.resize(2 * columns_ * kRows);
    std::copy_n(counters_.begin(), columns_ * kRows,
                counters_.begin() + columns_ * kRows);
    columns_ *= 2;
  }
}

void FrequencySketch::Add(const BlockId& id) {
  const uint32_t least = Estimate(id);
  if (least < kCountMax) {
    for (int row = 0; row < kRows; ++row) {
      uint8_t& counter = counters_[At(id, row)];
      if (counter == least) ++counter;
    }
  }
  if (++seen_ >= columns_ / kColumnsPerBlock * kSeenPerBlock) Halve();
}

uint32_t FrequencySketch::Estimate(const BlockId& id) const {
  uint8_t least = kCountMax;
  for (int row = 0; row < kRows; ++row) {
    least = std::min(least, counters_[At(id, row)]);
  }
  return least;
}

void FrequencySketch::Halve() {
  for (uint8_t& counter : counters_) counter /= 2;
  seen_ /= 2;
}

}  // namespace banyan::tiers
