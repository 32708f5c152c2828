// What the codec field of a block header says: whether the payload is encoded,
// and how far it is from what was written, as it was measured when it was
// encoded. A block that was decoded again keeps that distance.
//
// Format: docs/formats/block_header.md.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

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

// How far from what was written a block may be for its reader. By itself: as far
// as it is.
class QualityFloor {
 public:
  QualityFloor() = default;

  // Blocks that are known to be no farther off than this, in classes of error: one
  // whose class allows for more is refused, although it may be nearer. 0: what was
  // written, to the bit.
  // Errors: kInvalidArgument reason QUALITY: not in [0, kErrorMax].
  static absl::StatusOr<QualityFloor> AtMost(double error_max);

  // As it travels: 0 takes any block, 1 to 255 the classes from there on, 256 what
  // was written only. Inverse of each other.
  // Errors: kInvalidArgument reason QUALITY.
  uint16_t Packed() const { return packed_; }
  static absl::StatusOr<QualityFloor> Of(uint32_t packed);

  bool is_any() const { return packed_ == 0; }
  // AtMost of it is this floor again. Requires: not Of(1), Of(2) or Of(3), which
  // nothing else returns; !is_any().
  double error_max() const;

  // Whether a block of this class will do. No class: nobody has measured it.
  bool Admits(std::optional<uint8_t> error_class) const;

  friend bool operator==(const QualityFloor&, const QualityFloor&) = default;

 private:
  explicit QualityFloor(uint16_t packed) : packed_(packed) {}

  uint16_t packed_ = 0;
};

}  // namespace banyan
