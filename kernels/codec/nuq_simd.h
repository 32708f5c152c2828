// The arithmetic of the nuq codecs, for the best target of this processor.
// Format: docs/formats/codec_nuq.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/packed_bytes.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

// Of a token of so many elements: 1 % of them, rounded up.
inline uint32_t NuqSlotsASide(uint32_t width) {
  return width < 4 ? 0 : width / 200 + 1;
}

// What a plane is coded with. Arrays of channels have every head's row padded
// with zeros to padded_dim.
struct NuqShape {
  // Requires: tables fit the spec, and the width of the plane.
  NuqShape(const PlaneSpec& spec, const PlaneShape& plane,
           const NuqTables& tables);

  PlaneShape plane;
  uint32_t bits;
  Axis axis;
  bool is_dense;
  uint32_t padded_dim;
  std::vector<float> thresholds;  // Midway between levels.
  std::vector<float> levels;      // 16, as they are decoded; zeros behind.
  // Of each channel; empty if each token has its own.
  std::vector<float> centres;
  std::vector<float> scales;
  std::vector<float> inverses;

  uint32_t width() const { return plane.heads * plane.dim; }
  uint32_t padded_width() const { return plane.heads * padded_dim; }

  // Elements that are kept as they are: so many of the largest, and as many of
  // the smallest.
  uint32_t SlotsASide() const { return is_dense ? 0 : NuqSlotsASide(width()); }
  uint64_t RangeBytes() const { return axis == Axis::kDim ? 4 : 0; }
  uint64_t SlotBytes() const { return uint64_t{8} * SlotsASide(); }
  uint64_t RowBytes() const { return PackedBytes(plane.dim, bits); }
  uint64_t TokenBytes() const {
    return RangeBytes() + SlotBytes() + plane.heads * RowBytes();
  }
  uint64_t ScratchFloats() const;
};

// Encodes one token. False if a value is not finite, or a range or what is kept
// is beyond fp16.
bool EncodeNuqToken(const NuqShape& shape, const PlaneSource& plane,
                    uint32_t token, const RopeTable* rope, float* scratch,
                    std::byte* unit);

// The reverse. False if no encoder writes that.
bool DecodeNuqToken(const NuqShape& shape, const std::byte* unit,
                    uint32_t token, const RopeTable* rope, float* scratch,
                    const PlaneTarget& plane);

}  // namespace banyan::codec
