// Whole numbers, mostly small, in rows whose columns resemble those above:
// each is coded by odds that are learned from numbers of about the same size
// around it. Numbers are floats, whole and below kCoefficientEnd. Those of
// several sets learn apart, and share what is usual around them.
// Format:  docs/formats/codec_cold.md.
// Threads: thread-compatible. Nothing is allocated.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "kernels/codec/range_coder.h"

namespace banyan::codec {

inline constexpr float kCoefficientEnd = 0x1p23f;

inline constexpr uint32_t kCoefficientClasses = 28;
inline constexpr uint32_t kCoefficientSteps = 14;  // One by one up to here.

// Of a number, from what is usual around it: half an octave each, from 1/32 on.
inline uint32_t CoefficientClass(float column_level, float row_level) {
  constexpr uint32_t kFirst = std::bit_cast<uint32_t>(0x1p-5f) >> 22;
  const float level = column_level + column_level + row_level;
  const uint32_t half_octaves = std::bit_cast<uint32_t>(level) >> 22;
  return half_octaves < kFirst
             ? 0
             : std::min(half_octaves - kFirst + 1, kCoefficientClasses - 1);
}

// What is usual in a row, brought up to date.
inline float NextRowLevel(float row_level, float magnitude) {
  return row_level + (magnitude - row_level) * 0.125f;
}

// What has been learned of numbers of one kind.
template <uint32_t kSets = 1>
class CoefficientModel {
 public:
  // Around a number: what is usual in its row and in its column.
  void StartRow() { row_level_ = 0; }

  // Numbers around this one say how large it may be; `column_level` is that
  // of the column, 0 at first, and is brought up to date.
  void Put(float number, float& column_level, RangeEncoder& encoder,
           uint32_t set = 0) {
    const float magnitude = number < 0 ? -number : number;
    PutMagnitude(static_cast<uint32_t>(magnitude), OddsOf(set, column_level),
                 encoder);
    if (magnitude > 0) encoder.PutEven(number < 0);
    Learn(magnitude, column_level);
  }

  // False if no encoder writes that.
  bool Take(float& column_level, RangeDecoder& decoder, float& number,
            uint32_t set = 0) {
    uint32_t magnitude = 0;
    if (!TakeMagnitude(OddsOf(set, column_level), decoder, magnitude)) {
      return false;
    }
    number = static_cast<float>(magnitude);
    Learn(number, column_level);
    if (magnitude > 0 && decoder.TakeEven()) number = -number;
    return true;
  }

  // About what magnitudes from 0 to kCoefficientSteps take of a bit's worth,
  // [set, class, magnitude], with their signs: all as it is learned by now.
  static constexpr uint32_t kCosts = kCoefficientSteps + 1;
  static constexpr uint32_t kCostsOfSet = kCoefficientClasses * kCosts;
  void FillCosts(float bit_worth, float* costs) const {
    for (const auto& odds : odds_) {
      for (const auto& steps : odds) {
        float before = 0;
        for (uint32_t m = 0; m < kCoefficientSteps; ++m) {
          *costs++ = before + bit_worth * steps[m].bits(false);
          if (m == 0) before = bit_worth;  // The sign.
          before += bit_worth * steps[m].bits(true);
        }
        *costs++ = before;
      }
    }
  }

 private:
  static constexpr uint32_t kSteps = kCoefficientSteps;
  static constexpr uint32_t kLengths = 24;  // Of what is beyond, in bits.
  using Steps = std::array<AdaptiveBit, kSteps>;

  Steps& OddsOf(uint32_t set, float column_level) {
    return odds_[set][CoefficientClass(column_level, row_level_)];
  }

  void Learn(float magnitude, float& column_level) {
    column_level += (magnitude - column_level) * 0.25f;
    row_level_ = NextRowLevel(row_level_, magnitude);
  }

  void PutMagnitude(uint32_t magnitude, Steps& steps, RangeEncoder& encoder) {
    for (uint32_t step = 0; step < kSteps; ++step) {
      encoder.Put(steps[step], magnitude > step);
      if (magnitude == step) return;
    }
    const uint32_t rest = magnitude - kSteps + 1;
    const auto length = static_cast<uint32_t>(std::bit_width(rest)) - 1;
    for (uint32_t i = 0; i < length; ++i) encoder.Put(lengths_[i], true);
    if (length < kLengths) encoder.Put(lengths_[length], false);
    for (uint32_t i = length; i-- > 0;) encoder.PutEven(rest >> i & 1);
  }

  bool TakeMagnitude(Steps& steps, RangeDecoder& decoder, uint32_t& magnitude) {
    for (magnitude = 0; magnitude < kSteps; ++magnitude) {
      if (!decoder.Take(steps[magnitude])) return true;
    }
    uint32_t length = 0;
    while (length < kLengths && decoder.Take(lengths_[length])) ++length;
    uint32_t rest = 1;
    for (uint32_t i = 0; i < length; ++i) rest = rest * 2 + decoder.TakeEven();
    magnitude = rest + kSteps - 1;
    return static_cast<float>(magnitude) < kCoefficientEnd;
  }

  float row_level_ = 0;
  std::array<std::array<Steps, kCoefficientClasses>, kSets> odds_;
  std::array<AdaptiveBit, kLengths> lengths_;
};

}  // namespace banyan::codec
