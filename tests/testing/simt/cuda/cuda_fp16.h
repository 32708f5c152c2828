// Stands in for CUDA's header of half floats, see cuda_runtime.h.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// NOLINTBEGIN: the names are CUDA's.

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline uint16_t __half_as_ushort(__half half) { return half.bits; }

inline float __half2float(__half half) {
  const uint32_t sign = uint32_t{half.bits & 0x8000u} << 16;
  const uint32_t exponent = half.bits >> 10 & 31u;
  const uint32_t mantissa = half.bits & 1023u;
  if (exponent == 31) {
    const uint32_t quiet = mantissa != 0 ? 0x00400000u : 0;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | mantissa << 13);
  }
  if (exponent != 0) {
    return std::bit_cast<float>(sign | (exponent + 112u) << 23 |
                                mantissa << 13);
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

inline __half __float2half_rn(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const auto half = [](uint32_t b) { return __half{static_cast<uint16_t>(b)}; };
  if (magnitude > 0x7f800000u) return half(0x7fff);  // The device's NaN.
  if (magnitude >= 0x477ff000u) return half(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // Subnormal.
    const float units = std::bit_cast<float>(magnitude) * 0x1p24f;
    return half(sign | static_cast<uint32_t>(std::nearbyint(units)));
  }
  const uint32_t to_even = 0xfffu + (magnitude >> 13 & 1u);
  return half(sign | (magnitude + to_even - 0x38000000u) >> 13);
}

// NOLINTEND
