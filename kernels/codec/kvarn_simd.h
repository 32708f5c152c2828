// The arithmetic of the kvarn codecs, for the best target of this processor.
// Format: docs/formats/codec_kvarn.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/codec/codec_spec.h"
#include "kernels/codec/packed_bytes.h"
#include "kernels/codec/plane.h"

namespace banyan::codec {

// Of a tile: one head of so many tokens.
inline constexpr uint32_t kKvarnTileTokens = 128;

// Rows of a tile are coded in groups, each with a scale and a minimum: channels
// (keys), or tokens (values). What is across them, tokens or channels, has a
// factor each.
struct KvarnShape {
  KvarnShape(const PlaneSpec& spec, const PlaneShape& plane);

  PlaneShape plane;
  uint32_t bits;
  Axis axis;                    // kChannel: groups are channels.
  uint32_t padded_dim;          // Whole vectors.
  std::vector<uint32_t> parts;  // A row is rotated in powers of two.
  // Of each element, zeros behind: its sign, and that over the root of its part.
  std::vector<float> signs;
  std::vector<float> turns;

  bool has_channel_groups() const { return axis == Axis::kChannel; }
  uint32_t Groups(uint32_t tokens) const {
    return has_channel_groups() ? plane.dim : tokens;
  }
  uint32_t Factors(uint32_t tokens) const {
    return has_channel_groups() ? tokens : plane.dim;
  }
  uint64_t RowBytes() const { return PackedBytes(plane.dim, bits); }
  uint64_t UnitBytes(uint32_t tokens) const {
    return plane.heads * (uint64_t{4} * Groups(tokens) +
                          uint64_t{2} * Factors(tokens) + tokens * RowBytes());
  }
  uint64_t ScratchFloats(uint32_t tokens) const;
};

// Encodes the plane's first `tokens` tokens, kKvarnTileTokens at most, as one
// unit. False if a value is not finite, or a range is beyond fp16; `unit` then
// means nothing.
bool EncodeKvarnUnit(const KvarnShape& shape, const PlaneSource& plane,
                     uint32_t tokens, float* scratch, std::byte* unit);

// The reverse. False if a scale, a minimum or a factor is not finite.
bool DecodeKvarnUnit(const KvarnShape& shape, const std::byte* unit,
                     uint32_t tokens, float* scratch, const PlaneTarget& plane);

}  // namespace banyan::codec
