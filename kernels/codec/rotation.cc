#include "kernels/codec/rotation.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kPartMax = 256;

// The signs are the bits of a sequence of numbers, as SplitMix64 makes them.
uint64_t SignBits(uint64_t number) {
  uint64_t x = (number + 1) * 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<uint32_t> HadamardParts(uint32_t dim) {
  std::vector<uint32_t> parts;
  for (uint32_t left = dim; left > 0; left -= parts.back()) {
    uint32_t part = kPartMax;
    while (part > left) part /= 2;
    parts.push_back(part);
  }
  return parts;
}

std::vector<float> RotationSigns(uint32_t dim) {
  std::vector<float> signs(dim, 1);
  for (uint32_t i = 0; i < dim; ++i) {
    if (SignBits(i / 64) >> (i % 64) & 1) signs[i] = -1;
  }
  return signs;
}

}  // namespace banyan::codec
