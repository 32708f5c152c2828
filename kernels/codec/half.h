// fp16 of one float, and back; as simd_elements.h does it for vectors.
#pragma once

#include <bit>
#include <cstdint>

namespace banyan::codec {

inline float HalfValue(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7FFFu;
  if (magnitude < 0x0400) {  // 0 and subnormals.
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  const uint32_t bias = magnitude < 0x7C00 ? 112u << 23 : 224u << 23;
  return std::bit_cast<float>(((magnitude << 13) + bias) | sign);
}

// Nearest, ties to even; beyond fp16 an infinity. Domain: no NaN.
inline uint16_t HalfBits(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;
  if (magnitude < 113u << 23) {  // Adding 1/2 rounds to multiples of 2^-24.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(
        sign | (std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return static_cast<uint16_t>(
      sign | ((magnitude - (112u << 23) + 0xFFF + odd) >> 13));
}

}  // namespace banyan::codec
