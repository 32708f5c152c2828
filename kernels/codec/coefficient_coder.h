// Whole numbers, mostly small, in rows whose columns resemble those above:
// each is coded by odds that are learned from numbers of about the same size
// around it. Numbers are floats, whole and below kCoefficientEnd.
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

// What has been learned of numbers of one kind.
class CoefficientModel {
 public:
  // Around a number: what is usual in its row and in its column.
  void StartRow() { row_level_ = 0; }

  // Numbers around this one say how large it may be; `column_level` is that
  // of the column, 0 at first, and is brought up to date.
  void Put(float number, float& column_level, RangeEncoder& encoder) {
    const float magnitude = number < 0 ? -number : number;
    PutMagnitude(static_cast<uint32_t>(magnitude), ClassOf(column_level),
                 encoder);
    if (magnitude > 0) encoder.PutEven(number < 0);
    Learn(magnitude, column_level);
  }

  // False if no encoder writes that.
  bool Take(float& column_level, RangeDecoder& decoder, float& number) {
    uint32_t magnitude = 0;
    if (!TakeMagnitude(ClassOf(column_level), decoder, magnitude)) return false;
    number = static_cast<float>(magnitude);
    Learn(number, column_level);
    if (magnitude > 0 && decoder.TakeEven()) number = -number;
    return true;
  }

 private:
  static constexpr uint32_t kClasses = 28;
  static constexpr uint32_t kSteps = 14;    // One by one up to here.
  static constexpr uint32_t kLengths = 24;  // Of what is beyond, in bits.

  // Half an octave each, from 1/32 on.
  uint32_t ClassOf(float column_level) const {
    constexpr uint32_t kFirst = std::bit_cast<uint32_t>(0x1p-5f) >> 22;
    const float level = column_level + column_level + row_level_;
    const uint32_t half_octaves = std::bit_cast<uint32_t>(level) >> 22;
    return half_octaves < kFirst
               ? 0
               : std::min(half_octaves - kFirst + 1, kClasses - 1);
  }

  void Learn(float magnitude, float& column_level) {
    column_level += (magnitude - column_level) * 0.25f;
    row_level_ += (magnitude - row_level_) * 0.125f;
  }

  void PutMagnitude(uint32_t magnitude, uint32_t of, RangeEncoder& encoder) {
    for (uint32_t step = 0; step < kSteps; ++step) {
      encoder.Put(steps_[of][step], magnitude > step);
      if (magnitude == step) return;
    }
    const uint32_t rest = magnitude - kSteps + 1;
    const auto length = static_cast<uint32_t>(std::bit_width(rest)) - 1;
    for (uint32_t i = 0; i < length; ++i) encoder.Put(lengths_[i], true);
    if (length < kLengths) encoder.Put(lengths_[length], false);
    for (uint32_t i = length; i-- > 0;) encoder.PutEven(rest >> i & 1);
  }

  bool TakeMagnitude(uint32_t of, RangeDecoder& decoder, uint32_t& magnitude) {
    for (magnitude = 0; magnitude < kSteps; ++magnitude) {
      if (!decoder.Take(steps_[of][magnitude])) return true;
    }
    uint32_t length = 0;
    while (length < kLengths && decoder.Take(lengths_[length])) ++length;
    uint32_t rest = 1;
    for (uint32_t i = 0; i < length; ++i) rest = rest * 2 + decoder.TakeEven();
    magnitude = rest + kSteps - 1;
    return static_cast<float>(magnitude) < kCoefficientEnd;
  }

  float row_level_ = 0;
  std::array<std::array<AdaptiveBit, kSteps>, kClasses> steps_;
  std::array<AdaptiveBit, kLengths> lengths_;
};

}  // namespace banyan::codec
