// Levels of rotated elements: what the kernels of rotlm_planes.cu do to one. The
// host's way is rotlm_simd.cc.
// Format: docs/formats/codec_rotlm.md.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/codec/device_elements.cuh"
#include "kernels/codec/rotlm_levels.h"

namespace banyan::codec {

// Positive levels, a byte each.
template <int kBits>
inline constexpr uint64_t kPackedLevels = [] {
  uint64_t packed = 0;
  for (int i = 0; i < LevelsOf<kBits>().count; ++i) {
    packed |= static_cast<uint64_t>(LevelsOf<kBits>().levels[i]) << (8 * i);
  }
  return packed;
}();

template <int kBits>
inline constexpr uint32_t kLevelCount = LevelsOf<kBits>().count;
template <int kBits>
inline constexpr float kLevelUnit = LevelsOf<kBits>().unit;
template <int kBits, int kIndex>
inline constexpr float kLevelThreshold = LevelsOf<kBits>().Threshold(kIndex);

// The magnitude of a code's level.
template <int kBits>
BANYAN_HD uint32_t LevelMagnitude(uint32_t code) {
  constexpr uint32_t kCount = kLevelCount<kBits>;
  const uint32_t index = code < kCount ? kCount - 1 - code : code - kCount;
  return static_cast<uint32_t>(kPackedLevels<kBits> >> (8 * index)) & 0xFF;
}

template <int kBits>
BANYAN_HD int32_t LevelOf(uint32_t code) {
  const auto magnitude = static_cast<int32_t>(LevelMagnitude<kBits>(code));
  return code < kLevelCount<kBits> ? -magnitude : magnitude;
}

template <int kBits, int... kIndices>
BANYAN_HD uint32_t
ThresholdsBelow(float q, std::integer_sequence<int, kIndices...> /*indices*/) {
  return (0u + ... + (q > kLevelThreshold<kBits, kIndices> ? 1u : 0u));
}

// Of a rotated element; `factor` makes its magnitude comparable with levels.
template <int kBits>
BANYAN_HD uint32_t RotLmCodeOf(float x, float factor) {
  constexpr uint32_t kCount = kLevelCount<kBits>;
  const float magnitude = FloatOfBits(BitsOfFloat(x) & 0x7FFFFFFF);
  const uint32_t index = ThresholdsBelow<kBits>(
      magnitude * factor, std::make_integer_sequence<int, kCount - 1>());
  return x < 0 ? kCount - 1 - index : kCount + index;
}

}  // namespace banyan::codec
