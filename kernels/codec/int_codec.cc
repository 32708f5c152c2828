#include "kernels/codec/int_codec.h"

#include <algorithm>

#include "kernels/codec/codec_errors.h"

namespace banyan::codec {
namespace {

// Enough groups for whole vectors of scales, and few enough rows that they are
// still in the first cache when they are read again.
constexpr uint32_t kDimUnitTokens = 16;

}  // namespace

IntCodec::IntCodec(const PlaneSpec& spec, const PlaneShape& shape)
    : shape_{.plane = shape,
             .bits = spec.bits,
             .group = spec.group,
             .axis = spec.axis},
      unit_tokens_(spec.axis == Axis::kChannel ? spec.group : kDimUnitTokens) {}

absl::Status IntCodec::Encode(const PlaneSource& plane, const RopeTable*,
                              absl::Span<float> scratch,
                              absl::Span<std::byte> encoded) const {
  std::byte* unit = encoded.data();
  for (uint32_t token = 0; token < plane.tokens; token += unit_tokens_) {
    const uint32_t tokens = std::min(unit_tokens_, plane.tokens - token);
    if (!EncodeIntUnit(shape_, plane.From(token), tokens, scratch.data(),
                       unit)) {
      return UnfitValue();
    }
    unit += UnitBytes(tokens);
  }
  return absl::OkStatus();
}

absl::Status IntCodec::Decode(absl::Span<const std::byte>,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable*,
                              absl::Span<float> scratch,
                              const PlaneTarget& plane) const {
  const std::byte* unit = units.data();
  const std::byte* const end = unit + units.size();
  const Stores stores = StoresOf(shape_.plane, plane);
  for (uint32_t token = first_token; unit < end; token += unit_tokens_) {
    const uint32_t tokens = std::min(unit_tokens_, plane.tokens - token);
    if (!DecodeIntUnit(shape_, unit, tokens, stores, scratch.data(),
                       plane.From(token))) {
      return BadCode();
    }
    unit += UnitBytes(tokens);
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
