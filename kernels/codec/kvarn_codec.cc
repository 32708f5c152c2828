#include "kernels/codec/kvarn_codec.h"

#include <algorithm>

#include "kernels/codec/codec_errors.h"

namespace banyan::codec {

absl::Status KvarnCodec::Encode(const PlaneSource& plane, const RopeTable*,
                                absl::Span<float> scratch,
                                absl::Span<std::byte> encoded) const {
  std::byte* unit = encoded.data();
  for (uint32_t token = 0; token < plane.tokens; token += kKvarnTileTokens) {
    const uint32_t tokens = std::min(kKvarnTileTokens, plane.tokens - token);
    if (!EncodeKvarnUnit(shape_, plane.From(token), tokens, scratch.data(),
                         unit)) {
      return UnfitValue();
    }
    unit += UnitBytes(tokens);
  }
  return absl::OkStatus();
}

absl::Status KvarnCodec::Decode(absl::Span<const std::byte>,
                                absl::Span<const std::byte> units,
                                uint32_t first_token, const RopeTable*,
                                absl::Span<float> scratch,
                                const PlaneTarget& plane) const {
  const std::byte* unit = units.data();
  const std::byte* const end = unit + units.size();
  for (uint32_t token = first_token; unit < end; token += kKvarnTileTokens) {
    const uint32_t tokens = std::min(kKvarnTileTokens, plane.tokens - token);
    if (!DecodeKvarnUnit(shape_, unit, tokens, scratch.data(),
                         plane.From(token))) {
      return BadCode();
    }
    unit += UnitBytes(tokens);
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
