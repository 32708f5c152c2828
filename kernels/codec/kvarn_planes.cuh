// Balanced tiles: what the kernels of kvarn_planes.cu do to one sum, one
// deviation or one factor. The host's way is kvarn_simd.cc.
// Format: docs/formats/codec_kvarn.md.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

inline constexpr int kKvarnBalanceSteps = 16;

// What rotated elements must be within, so that their squares do not overflow.
inline constexpr float kKvarnRotatedMax = 0x1p30f;

// So much of a tile's size goes into its factors.
inline constexpr float kKvarnSizeMax = 1024;

// Sums of elements, and of their squares.
struct Moments {
  float sum = 0;
  float squares = 0;

  // Zeros change nothing.
  static constexpr bool kTakesZeros = true;

  BANYAN_HD void Add(float x) {
    sum = sum + x;
    squares = squares + x * x;
  }
  BANYAN_HD void Join(const Moments& other) {
    sum = sum + other.sum;
    squares = squares + other.squares;
  }
};

// Of so many elements. 0 also where rounding leaves no variance.
__device__ __forceinline__ float DeviationOf(const Moments& moments,
                                             float count) {
  const float mean = moments.sum / count;
  const float variance = moments.squares / count - mean * mean;
  return variance > 0 ? __fsqrt_rn(variance) : 0;
}

// A deviation is a factor as far as it is within e^-0.3 and e^10.
BANYAN_HD inline float FactorOf(float deviation) {
  constexpr float kMin = 0.7408182f;
  constexpr float kMax = 22026.465f;
  const float bounded = deviation < kMax ? deviation : kMax;
  return deviation > kMin ? bounded : kMin;
}

// The smallest and the largest of some numbers; none is a NaN.
struct FloatRange {
  float low = INFINITY;
  float high = -INFINITY;

  static constexpr bool kTakesZeros = false;

  BANYAN_HD void Add(float x) { Join({x, x}); }
  BANYAN_HD void Join(const FloatRange& other) {
    low = other.low < low ? other.low : low;
    high = other.high > high ? other.high : high;
  }
};

}  // namespace banyan::codec
