// Trellis-coded quantization: two quantizers take turns, one with the whole
// steps, one with the halves between them and 0. Which is next follows from the
// numbers before, by a machine of four states that their parities drive; so of
// each pair of neighbouring levels only one can be said, and the points that can
// be said lie farther apart in many dimensions than on a grid of as many bits.
// A Viterbi search finds the numbers with the least of squared error and bits.
//
// Format:  docs/formats/codec_cold.md.
// Source:  Schwarz et al., Hybrid Video Encoding with Trellis-Coded
//          Quantization (DCC 2019); the four states are VVC's.
// Threads: functions between buffers; nothing is allocated.
#pragma once

#include <cstdint>

namespace banyan::codec {

inline constexpr uint32_t kTrellisStates = 4;
inline constexpr uint32_t kQuantizers = 2;

// Of the number that is next: 0 has 0, 1, 2 ... steps, 1 has 0, 1/2, 3/2 ...
constexpr uint32_t QuantizerOf(uint32_t state) { return state / 2; }

constexpr uint32_t NextState(uint32_t state, uint32_t magnitude) {
  constexpr uint8_t kNext[kTrellisStates][2] = {{0, 2}, {2, 0}, {1, 3}, {3, 1}};
  return kNext[state][magnitude % 2];
}

// What a magnitude stands for, in steps.
constexpr float LevelOf(uint32_t quantizer, float magnitude) {
  return quantizer == 0 || magnitude == 0 ? magnitude : magnitude - 0.5f;
}

struct TrellisRow {
  const float* sizes;          // In steps, not negative.
  float size_max;              // The largest of them.
  const float* column_levels;  // As of CoefficientModel.
  uint32_t width;
  const float*
      costs;  // Of CoefficientModel<kQuantizers>, in squares of a step.
  float bit_worth;
};

// Sets the magnitudes of a row that begins in this state. `trace` is of
// kTrellisStates * width. Requires: sizes below kCoefficientEnd - 1.
void ChooseMagnitudes(const TrellisRow& row, uint32_t state, uint8_t* trace,
                      float* magnitudes);

}  // namespace banyan::codec
