// What the searches through a trellis share, the plain one and that with vectors.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/codec/coefficient_coder.h"
#include "kernels/codec/trellis.h"

namespace banyan::codec {

using TrellisModel = CoefficientModel<kQuantizers>;

// The largest magnitude whose level is not above the size.
inline uint32_t MagnitudeBelow(float size, uint32_t quantizer) {
  return static_cast<uint32_t>(quantizer == 0 ? size : size + 0.5f);
}

// What a magnitude takes beyond the steps that have costs.
inline float BitsBeyond(uint32_t magnitude) {
  if (magnitude < kCoefficientSteps) return 0;
  const uint32_t rest = magnitude - kCoefficientSteps + 1;
  return static_cast<float>(2 * std::bit_width(rest) - 1);
}

// ChooseMagnitudes a number at a time, for processors without vectors.
void ChoosePlainly(const TrellisRow& row, uint32_t state, uint8_t* trace,
                   float* magnitudes);

}  // namespace banyan::codec
