// e4m3 codes and back: what the kernels of fp8_planes.cu do to one element. The
// host's way is fp8_simd.cc.
// Format: docs/formats/codec_fp8.md.
#pragma once

#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

inline constexpr float kFp8Largest = 448;
inline constexpr float kFp8ScaleMin = 0x1p-100f;

// Of a head with the largest element that there is.
template <class Element>
inline constexpr float kFp8ScaleMax = Element::kLargest / kFp8Largest;

// Of a head whose largest magnitude is finite.
BANYAN_HD inline float Fp8ScaleOf(float magnitude) {
  const float exact = magnitude / kFp8Largest;
  return exact < kFp8ScaleMin ? 0 : exact;
}

// Requires: |v| < 464.
BANYAN_HD inline uint32_t Fp8OfFloat(float v) {
  const uint32_t bits = BitsOfFloat(v);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  const uint32_t odd = magnitude >> 20 & 1;
  const uint32_t normal = ((magnitude + odd + 0x7FFFF) >> 20) - (120 << 3);
  // Adding 2^14 leaves multiples of 2^-9 in the low bits, rounded.
  const float offset = 0x1p14f;
  const uint32_t subnormal =
      BitsOfFloat(FloatOfBits(magnitude) + offset) - BitsOfFloat(offset);
  const bool is_small = FloatOfBits(magnitude) < 0x1p-6f;
  return (is_small ? subnormal : normal) | (bits >> 24 & 0x80);
}

BANYAN_HD inline bool IsFp8Nan(uint32_t code) { return (code & 0x7F) == 0x7F; }

// The bits are those of a float that is 2^120 times smaller, subnormals too.
BANYAN_HD inline float FloatOfFp8(uint32_t code) {
  return FloatOfBits((code & 0x7F) << 20 | (code & 0x80) << 24) * 0x1p120f;
}

}  // namespace banyan::codec
