// Rows that are rotated part by part, as rotation.h and simd_hadamard.h do it for
// the host: random signs, a Hadamard transform, one over the root of the part. A
// warp has a part, each lane some elements that follow each other.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

// Elements of the longest row, and of the longest part of it.
inline constexpr uint32_t kRotatedDimMax = 1024;
inline constexpr uint32_t kRotatedPartMax = 256;

// Elements of the next part, of so many that are left.
BANYAN_HD inline uint32_t PartOf(uint32_t left) {
  uint32_t part = kRotatedPartMax;
  while (part > left) part /= 2;
  return part;
}

// 1 / sqrt(part), both rounded. Of odd powers of two it is 1 / sqrt(2), scaled.
BANYAN_HD inline float InverseRoot(uint32_t part) {
  float root = 1;
  for (; part > 2; part /= 4) root *= 0.5f;
  return part == 2 ? root * 0x1.6a09e6p-1f : root;
}

// With its sign turned if the bit is 1.
BANYAN_HD inline float WithSign(float x, uint32_t bit) {
  return FloatOfBits(BitsOfFloat(x) ^ bit << 31);
}

// Of each element of a row a bit: 1 turns its sign.
struct RotationBits {
  uint64_t words[kRotatedDimMax / 64];

  // From this element on, its own lowest; as many as a lane has.
  BANYAN_HD uint32_t From(uint32_t element) const {
    return static_cast<uint32_t>(words[element / 64] >> (element % 64));
  }
  BANYAN_HD uint32_t Of(uint32_t element) const { return From(element) & 1; }
};

// A sequence of numbers, as SplitMix64 makes them.
inline RotationBits MakeRotationBits() {
  RotationBits bits;
  for (uint64_t i = 0; i < kRotatedDimMax / 64; ++i) {
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    bits.words[i] = x ^ (x >> 31);
  }
  return bits;
}

// The levels of a transform whose pairs lie in one lane.
template <int kCount, class T>
BANYAN_HD void HadamardInLane(T (&x)[kCount]) {
  BANYAN_UNROLL
  for (int distance = 1; distance < kCount; distance *= 2) {
    BANYAN_UNROLL
    for (int i = 0; i < kCount; ++i) {
      if ((i & distance) != 0) continue;
      const T a = x[i];
      const T b = x[i + distance];
      x[i] = a + b;
      x[i + distance] = a - b;
    }
  }
}

// Elements lie kCount a lane; `lanes` of the warp, a power of two, have some.
// All lanes of the warp are there.
template <int kCount, class T>
__device__ __forceinline__ void Hadamard(uint32_t lanes, T (&x)[kCount]) {
  HadamardInLane(x);
  for (uint32_t step = 1; step < lanes; step *= 2) {
    const bool is_second = (threadIdx.x & step) != 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const T other = __shfl_xor_sync(~0u, x[i], static_cast<int>(step));
      x[i] = is_second ? other - x[i] : other + x[i];
    }
  }
}

// Calls run(count) with the elements a lane has of a part, as a constant.
template <class Run>
__device__ __forceinline__ void WithElementsOfLane(uint32_t part,
                                                   const Run& run) {
  if (part == 256) {
    run(Constant<8>());
  } else if (part == 128) {
    run(Constant<4>());
  } else if (part == 64) {
    run(Constant<2>());
  } else {
    run(Constant<1>());
  }
}

}  // namespace banyan::codec
