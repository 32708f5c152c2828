// What codecs must know of a model: for each layer, nuq the levels of its keys
// and values, and the range of each channel; weighted cold a basis in which
// errors matter alike, and what keys and values share bits by. Made once from samples
// (calibrate.h), kept as a file, and named by a digest in every layer that is
// encoded with it.
//
// Format:  docs/formats/codec_calibration.md.
// Threads: immutable, thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::codec {

inline constexpr uint32_t kBitPart = 64;  // Of ColdTables::bits.

// Channels of a layer; their numbers are 16 bits.
inline constexpr uint32_t kNuqWidthMax = 65535;

// Of the keys, or the values, of one layer.
struct NuqTables {
  std::vector<float> levels;  // 2^bits of them, rising, about -1 to 1.
  // Q-Norm: a level l is decoded as l * norm_scale + norm_shift.
  float norm_scale = 1;
  float norm_shift = 0;
  // fp16 values, lower < upper, of each channel; empty where each token has
  // its own range.
  std::vector<float> lower;
  std::vector<float> upper;

  friend bool operator==(const NuqTables&, const NuqTables&) = default;
};

// Of one plane of a weighted cold codec. What is coded of a head are the factors
// of its basis' rows, whose sum is what its elements are above their means.
struct ColdTables {
  uint16_t bits = 0;         // Of an element, in 64ths.
  std::vector<float> means;  // fp16 values, of each channel.
  std::vector<float> basis;  // fp16 values, [head, row, element].

  friend bool operator==(const ColdTables&, const ColdTables&) = default;
};

// Those that the plane's spec wants; nothing in the others.
struct PlaneTables {
  NuqTables nuq;
  ColdTables cold;

  friend bool operator==(const PlaneTables&, const PlaneTables&) = default;
};

class Calibration {
 public:
  // What it is for. Specs are those of the codec, except that has_q_norm is
  // false; a spec that wants none has no tables.
  struct Shape {
    uint32_t layers = 0;
    uint32_t width = 0;  // Channels: heads times dim.
    uint32_t dim = 0;    // Where a basis is; else 0.
    PlaneSpec keys;
    PlaneSpec values;
    uint64_t rope_digest = 0;  // Of the keys' embedding; 0 if it is left on.

    friend bool operator==(const Shape&, const Shape&) = default;
  };
  using Layer = std::array<PlaneTables, 2>;  // Keys, values.

  // Errors: kInvalidArgument reason CALIBRATION: nothing to calibrate, or not
  // so.
  static absl::Status Validate(const Shape& shape);

  // Errors: kInvalidArgument reason CALIBRATION: tables that do not fit the
  // shape, or are not as above.
  static absl::StatusOr<Calibration> Make(const Shape& shape,
                                          std::vector<Layer> layers);

  // Errors: kDataLoss reason CALIBRATION: bytes that Serialize never returns.
  static absl::StatusOr<Calibration> Parse(absl::Span<const std::byte> bytes);

  std::vector<std::byte> Serialize() const;

  const Shape& shape() const { return shape_; }

  // Requires: layer < shape().layers.
  const Layer& layer(uint32_t layer) const { return layers_[layer]; }

  // Whether it is for such blocks, but for the rotary embedding.
  bool Fits(const BlockSpec& spec, uint32_t planes, uint64_t width) const;

  // Names what a layer is encoded with: equal only if that is.
  uint64_t digest(uint32_t layer) const { return digests_[layer]; }

 private:
  Calibration(const Shape& shape, std::vector<Layer> layers);

  Shape shape_;
  std::vector<Layer> layers_;
  std::vector<uint64_t> digests_;
};

}  // namespace banyan::codec
