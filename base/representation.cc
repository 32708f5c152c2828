#include "base/representation.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"

namespace banyan {
namespace {

constexpr uint16_t kExactOnly = 256;

absl::Status BadFloor(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "QUALITY", message);
}

}  // namespace

uint16_t Representation::Packed() const {
  return static_cast<uint16_t>((is_encoded ? 1 : 0) | error_class << 8);
}

Representation Representation::Of(uint16_t codec) {
  return {.is_encoded = (codec & 1) != 0,
          .error_class = static_cast<uint8_t>(codec >> 8)};
}

uint8_t ErrorClassOf(double error) {
  BANYAN_CHECK(error >= 0 && error <= kErrorMax);
  const double octaves = std::max(-std::log2(error), 0.0);  // Infinity for 0.
  auto error_class = static_cast<uint8_t>(std::min(4 * octaves, 255.0));
  // The logarithm is rounded; the bound must hold.
  while (ErrorBound(error_class) < error) --error_class;
  return error_class;
}

double ErrorBound(uint8_t error_class) {
  return error_class == 0 ? 0 : std::exp2(-error_class / 4.0);
}

absl::StatusOr<QualityFloor> QualityFloor::AtMost(double error_max) {
  if (!(error_max >= 0 && error_max <= kErrorMax)) {
    return BadFloor(absl::StrCat("error_max: ", error_max, "; want 0 to ",
                                 kErrorMax,
                                 ". Leave it out to take any block."));
  }
  uint16_t packed = 1;
  while (packed < kExactOnly &&
         ErrorBound(static_cast<uint8_t>(packed)) > error_max) {
    ++packed;
  }
  return QualityFloor(packed);
}

absl::StatusOr<QualityFloor> QualityFloor::Of(uint32_t packed) {
  if (packed <= kExactOnly) return QualityFloor(static_cast<uint16_t>(packed));
  return BadFloor(
      absl::StrCat("quality: ", packed, "; want 0 to ", kExactOnly, "."));
}

double QualityFloor::error_max() const {
  return packed_ >= kExactOnly ? 0 : ErrorBound(static_cast<uint8_t>(packed_));
}

bool QualityFloor::Admits(std::optional<uint8_t> error_class) const {
  if (is_any()) return true;
  if (!error_class.has_value()) return false;
  return *error_class == 0 || *error_class >= packed_;
}

}  // namespace banyan
