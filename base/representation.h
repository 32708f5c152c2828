// What the codec field of a block header says: whether the payload is encoded,
// and how far it is from what was written, as it was measured when it was
// encoded. A block that was decoded again keeps that distance.
//
// Format: docs/formats/block_header.md.
#pragma once

#include <cstdint>

namespace banyan {

struct Representation {
  // Layers in the form of docs/formats/codec_block.md, a piece each.
  bool is_encoded = false;
  // 0: what was written, to the bit. Otherwise the squared error over the
  // squared size of the block is at most 2^(-error_class / 4).
  uint8_t error_class = 0;

  friend bool operator==(const Representation&,
                         const Representation&) = default;

  // Inverse of each other for all that Packed returns.
  uint16_t Packed() const;
  static Representation Of(uint16_t codec);
};

// The class of such an error: of a lossy codec, so never 0.
// Requires: 0 <= error <= kErrorMax.
inline constexpr double kErrorMax = 0.5;
uint8_t ErrorClassOf(double error);

// The largest error of a class; 0 of class 0.
double ErrorBound(uint8_t error_class);

}  // namespace banyan
