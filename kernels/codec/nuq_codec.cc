#include "kernels/codec/nuq_codec.h"

#include "kernels/codec/codec_errors.h"

namespace banyan::codec {

absl::Status NuqCodec::Encode(const PlaneSource& plane, const RopeTable* rope,
                              absl::Span<float> scratch,
                              absl::Span<std::byte> encoded) const {
  for (uint32_t token = 0; token < plane.tokens; ++token) {
    if (!EncodeNuqToken(shape_, plane, token, rope, scratch.data(),
                        encoded.data() + token * UnitBytes(1))) {
      return UnfitValue();
    }
  }
  return absl::OkStatus();
}

absl::Status NuqCodec::Decode(absl::Span<const std::byte>,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable* rope,
                              absl::Span<float> scratch,
                              const PlaneTarget& plane) const {
  const auto tokens = static_cast<uint32_t>(units.size() / UnitBytes(1));
  for (uint32_t i = 0; i < tokens; ++i) {
    if (!DecodeNuqToken(shape_, units.data() + i * UnitBytes(1),
                        first_token + i, rope, scratch.data(), plane)) {
      return BadCode();
    }
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
