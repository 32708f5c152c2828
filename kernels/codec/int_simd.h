// The arithmetic of the int codecs, for the best target of this processor.
// Format: docs/formats/codec_int.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane.h"

namespace banyan::codec {

struct IntShape {
  PlaneShape plane;
  uint32_t bits = 0;
  uint32_t group = 0;
  Axis axis = Axis::kDim;

  // Codes of `count` elements in one run.
  uint64_t RunBytes(uint32_t count) const {
    const uint32_t a_byte = 8 / bits;
    return (count + a_byte - 1) / a_byte;
  }

  // Groups of one unit.
  uint64_t Groups(uint32_t tokens) const {
    if (axis == Axis::kChannel) return plane.token_elements();
    return uint64_t{tokens} * plane.heads * ((plane.dim + group - 1) / group);
  }

  uint64_t RowCodeBytes() const {
    if (axis == Axis::kChannel) return RunBytes(plane.dim);
    return plane.dim / group * RunBytes(group) + RunBytes(plane.dim % group);
  }

  uint64_t UnitBytes(uint32_t tokens) const {
    return 4 * Groups(tokens) + uint64_t{tokens} * plane.heads * RowCodeBytes();
  }

  // Two floats a group and two keys of half their size, in whole vectors.
  uint64_t ScratchFloats(uint32_t tokens) const {
    return 3 * PaddedGroups(tokens);
  }
  uint64_t PaddedGroups(uint32_t tokens) const {
    return (Groups(tokens) + 15) / 16 * 16;
  }
};

// Encodes the plane's first `tokens` tokens as one unit. False if a value is
// not finite, or beyond fp16; `unit` is then meaningless.
bool EncodeIntUnit(const IntShape& shape, const PlaneSource& plane,
                   uint32_t tokens, float* scratch, std::byte* unit);

// The reverse. False if a scale or a minimum is not finite. Streamed: past the
// caches, which takes a plane that StoresOf allows it for.
bool DecodeIntUnit(const IntShape& shape, const std::byte* unit,
                   uint32_t tokens, Stores stores, float* scratch,
                   const PlaneTarget& plane);

}  // namespace banyan::codec
