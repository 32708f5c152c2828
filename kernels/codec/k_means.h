// Levels with the least weighted squared error for some numbers: k-means in one
// dimension, by Lloyd's steps over sorted numbers and sums of their beginnings.
#pragma once

#include <cstddef>
#include <vector>

namespace banyan::codec {

struct WeightedNumber {
  float x = 0;
  float weight = 1;
};

// So many levels, strictly rising; where there are fewer different numbers,
// the other levels are next to them. Without numbers, evenly from -1 to 1.
//
// Requires: numbers are finite, weights are not negative; count is 2 or more.
// Cost: numbers are sorted; each of up to 2000 steps takes count searches.
std::vector<float> KMeans(std::vector<WeightedNumber> numbers, size_t count);

}  // namespace banyan::codec
