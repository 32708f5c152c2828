// The levels of the rotlm codecs: those with the least mean square error for a
// Gaussian of deviation `unit`, rounded to integers that make sums of 256 of
// them fit 16 bits. A magnitude is coded as the number of thresholds below it;
// thresholds are midway between levels.
#pragma once

#include <array>
#include <cstdint>

namespace banyan::codec {

struct RotLmLevels {
  float unit;
  int count;                     // Of positive levels.
  std::array<int8_t, 8> levels;  // Positive ones, rising.

  constexpr float Threshold(int i) const {
    return static_cast<float>(levels[i] + levels[i + 1]) / 2;
  }

  // The level of a code. Codes rise with levels, negative ones first.
  constexpr int8_t OfCode(int code) const {
    return static_cast<int8_t>(code < count ? -levels[count - 1 - code]
                                            : levels[code - count]);
  }
};

inline constexpr RotLmLevels kRotLmLevels2{79.46f, 2, {36, 120}};
inline constexpr RotLmLevels kRotLmLevels3{40.9f, 4, {10, 31, 55, 88}};
inline constexpr RotLmLevels kRotLmLevels4{
    38.14f, 8, {5, 15, 25, 36, 48, 62, 79, 104}};

template <int kBits>
constexpr const RotLmLevels& LevelsOf() {
  if constexpr (kBits == 2) {
    return kRotLmLevels2;
  } else if constexpr (kBits == 3) {
    return kRotLmLevels3;
  } else {
    return kRotLmLevels4;
  }
}

}  // namespace banyan::codec
