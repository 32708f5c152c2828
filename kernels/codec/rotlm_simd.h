// The arithmetic of the rotlm codecs, for the best target of this processor.
// Format: docs/formats/codec_rotlm.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/codec/codec_spec.h"
#include "kernels/codec/packed_bytes.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

inline constexpr uint32_t kRotLmDimMax = 1024;

// Requires: dim <= kRotLmDimMax.
struct RotLmShape {
  RotLmShape(const PlaneSpec& spec, const PlaneShape& plane);

  PlaneShape plane;
  uint32_t bits;
  Centre centre;
  uint32_t padded_dim;       // Whole vectors.
  std::vector<float> signs;  // 1 or -1, of each element.
  // A row is rotated in parts that are powers of two.
  std::vector<uint32_t> parts;

  uint64_t HeadPrefixBytes() const {
    return uint64_t{2} * plane.dim * static_cast<uint32_t>(centre);
  }
  uint64_t RowBytes() const { return PackedBytes(plane.dim, bits); }
  uint64_t TokenBytes() const { return plane.heads * (2 + RowBytes()); }

  // All rows of one head, and some rows on the way.
  uint64_t ScratchFloats(uint32_t tokens) const {
    return (uint64_t{tokens} + 4) * padded_dim;
  }
};

// Encodes one head: its part of the prefix, and its scale and codes in each
// unit. False if a value is not finite, or a mean, a deviation or a length is
// beyond fp16.
bool EncodeRotLmHead(const RotLmShape& shape, const PlaneSource& plane,
                     uint32_t head, const RopeTable* rope, float* scratch,
                     std::byte* prefix, std::byte* units);

// The reverse, of so many tokens. False if a mean, a deviation or a scale is
// not finite.
bool DecodeRotLmHead(const RotLmShape& shape, const std::byte* prefix,
                     const std::byte* units, uint32_t head,
                     uint32_t first_token, uint32_t tokens,
                     const RopeTable* rope, float* scratch,
                     const PlaneTarget& plane);

}  // namespace banyan::codec
