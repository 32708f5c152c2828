// Units of the cold codec: a matrix of floats, [token, channel], in no more
// than a number of bytes, and back. The cosine transform along the tokens is
// coded as products of a few rows and columns, as far as channels go together,
// and what is left of it; all in equal steps, the smallest that fit. So bits go
// where variance is, and where there is less than a step, none.
// Format:  docs/formats/codec_cold.md.
// Source:  after KVTC (ICLR 2026), with a basis of the unit itself instead of
//          a calibrated one, and odds that are learned instead of DEFLATE.
// Threads: immutable, thread-safe; scratch serves one thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace banyan::codec {

// Of an element's magnitude: fp16's largest.
inline constexpr float kColdMax = 65504;

// Of an exponent's 32nds of an octave. Requires: -832 <= exponent <= 768.
float ColdStepOf(int exponent);

class ColdUnits {
 public:
  // Of up to so many tokens. Requires: tokens_max <= 128.
  ColdUnits(uint32_t tokens_max, uint32_t width)
      : tokens_max_(tokens_max), width_(width) {}

  // The least that Encode can do with, whatever the elements are.
  static uint64_t BytesMin(uint64_t elements) { return elements / 8 + 64; }

  uint64_t ScratchFloats() const;

  // Where the elements of a unit are, in order, before Encode and after
  // Decode: at the front of the scratch.
  //
  // Returns what was written to `to`. Requires: magnitudes of kColdMax at most;
  // `to` is of BytesMin or more.
  uint64_t Encode(uint32_t tokens, absl::Span<float> scratch,
                  absl::Span<std::byte> to) const;

  // False if no encoder writes that.
  bool Decode(absl::Span<const std::byte> from, uint32_t tokens,
              absl::Span<float> scratch) const;

 private:
  struct Room;
  struct Plan;

  Room RoomIn(absl::Span<float> scratch, uint32_t tokens) const;
  uint32_t RankMax(uint32_t tokens) const;
  void FindFactors(const Room& room) const;
  uint32_t BestRank(const Room& room, float step) const;
  int StepFor(const Room& room, uint32_t rank, uint64_t bytes) const;
  uint64_t FitStep(const Room& room, absl::Span<std::byte> to,
                   Plan& plan) const;
  void AddFactors(const Room& room, uint32_t rank, const float* start,
                  float* to) const;
  uint64_t TryEncode(const Room& room, const Plan& plan,
                     absl::Span<std::byte> to) const;

  uint32_t tokens_max_;
  uint32_t width_;
};

}  // namespace banyan::codec
