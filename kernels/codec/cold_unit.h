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

// Steps are 2^(exponent / 32): those of exponents 0 to 31.
inline constexpr double kColdOctaveParts[] = {0x1p0,
                                              0x1.059b0d3158574p0,
                                              0x1.0b5586cf9890fp0,
                                              0x1.11301d0125b51p0,
                                              0x1.172b83c7d517bp0,
                                              0x1.1d4873168b9aap0,
                                              0x1.2387a6e756238p0,
                                              0x1.29e9df51fdee1p0,
                                              0x1.306fe0a31b715p0,
                                              0x1.371a7373aa9cbp0,
                                              0x1.3dea64c123422p0,
                                              0x1.44e086061892dp0,
                                              0x1.4bfdad5362a27p0,
                                              0x1.5342b569d4f82p0,
                                              0x1.5ab07dd485429p0,
                                              0x1.6247eb03a5585p0,
                                              0x1.6a09e667f3bcdp0,
                                              0x1.71f75e8ec5f74p0,
                                              0x1.7a11473eb0187p0,
                                              0x1.82589994cce13p0,
                                              0x1.8ace5422aa0dbp0,
                                              0x1.93737b0cdc5e5p0,
                                              0x1.9c49182a3f090p0,
                                              0x1.a5503b23e255dp0,
                                              0x1.ae89f995ad3adp0,
                                              0x1.b7f76f2fb5e47p0,
                                              0x1.c199bdd85529cp0,
                                              0x1.cb720dcef9069p0,
                                              0x1.d5818dcfba487p0,
                                              0x1.dfc97337b9b5fp0,
                                              0x1.ea4afa2a490dap0,
                                              0x1.f50765b6e4540p0};

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
