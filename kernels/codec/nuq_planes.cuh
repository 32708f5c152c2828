// Levels of a calibration: what the kernels of nuq_planes.cu do to one element.
// The host's way is nuq_simd.cc.
// Format: docs/formats/codec_nuq.md.
#pragma once

#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

// What tells the elements of a token apart, as both sides see them: of the
// largest ones, and of the smallest, the one that is further out has the larger
// number. 0 is none.
enum NuqSide : uint32_t { kLargest = 0, kSmallest = 1 };

// Ordered as the values are; both zeros are one.
BANYAN_HD inline uint32_t KeyOfFloat(float x) {
  const uint32_t bits = BitsOfFloat(x + 0.0f);
  return bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFF : 0x80000000);
}

BANYAN_HD inline uint64_t NuqOrder(uint32_t side, float x, uint32_t channel) {
  const uint32_t key = KeyOfFloat(x);
  return side == kLargest ? uint64_t{key} << 32 | channel
                          : uint64_t{~key} << 32 | (0xFFFF - channel);
}

// The number of thresholds below z; they rise.
template <int kBits>
BANYAN_HD uint32_t NuqCodeOf(float z, const float* thresholds) {
  uint32_t code = 0;
  BANYAN_UNROLL
  for (uint32_t step = 1u << (kBits - 1); step > 0; step /= 2) {
    if (z > thresholds[code + step - 1]) code += step;
  }
  return code;
}

}  // namespace banyan::codec
