// fp16 and bf16 to float and back, rounded to nearest even, in loops that compilers turn
// into vector code. Subnormals, infinities and NaNs are kept.
#pragma once

#include <bit>
#include <cstdint>

namespace banyan::ctl {

inline float FloatOfFp16(uint16_t half) {
  const uint32_t magnitude = half & 0x7FFFu;
  // The exponent's bias is 15, not 127; a multiplication takes care of
  // subnormals, too.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  uint32_t bits = std::bit_cast<uint32_t>(scaled);
  if (magnitude >= 0x7C00) bits = (magnitude << 13) | 0x7F800000;
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

inline uint16_t Fp16OfFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  uint32_t half = 0;
  if (magnitude > 0x7F800000) {
    half = 0x7E00;
  } else if (magnitude > 0x477FEFFF) {  // 65520 and more.
    half = 0x7C00;
  } else if (magnitude < 0x38800000) {  // Below 2^-14.
    // Adding 1/2 leaves multiples of 2^-24 in the low bits, rounded.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(shifted) - 0x3F000000;
  } else {
    const uint32_t is_odd = magnitude >> 13 & 1;
    half = (magnitude - (112u << 23) + 0xFFF + is_odd) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

inline float FloatOfBf16(uint16_t half) {
  return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
}

inline uint16_t Bf16OfFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) {
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  }
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace banyan::ctl
