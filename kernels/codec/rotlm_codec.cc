#include "kernels/codec/rotlm_codec.h"

#include "kernels/codec/codec_errors.h"

namespace banyan::codec {

absl::Status RotLmCodec::Encode(const PlaneSource& plane, const RopeTable* rope,
                                absl::Span<float> scratch,
                                absl::Span<std::byte> encoded) const {
  std::byte* const units = encoded.data() + PrefixBytes(plane.tokens);
  for (uint32_t head = 0; head < shape_.plane.heads; ++head) {
    if (!EncodeRotLmHead(shape_, plane, head, rope, scratch.data(),
                         encoded.data() + head * shape_.HeadPrefixBytes(),
                         units)) {
      return UnfitValue();
    }
  }
  return absl::OkStatus();
}

absl::Status RotLmCodec::Decode(absl::Span<const std::byte> prefix,
                                absl::Span<const std::byte> units,
                                uint32_t first_token, const RopeTable* rope,
                                absl::Span<float> scratch,
                                const PlaneTarget& plane) const {
  const auto tokens = static_cast<uint32_t>(units.size() / UnitBytes(1));
  for (uint32_t head = 0; head < shape_.plane.heads; ++head) {
    if (!DecodeRotLmHead(shape_,
                         prefix.data() + head * shape_.HeadPrefixBytes(),
                         units.data(), head, first_token, tokens, rope,
                         scratch.data(), plane)) {
      return BadCode();
    }
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
