#include "kernels/codec/fp8_codec.h"

#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "kernels/codec/codec_errors.h"
#include "kernels/codec/fp8_simd.h"

namespace banyan::codec {
namespace {

constexpr float kFp8Max = 448;

// A head whose scale would be below is stored as zeros.
constexpr float kScaleMin = 0x1p-100f;

// No bf16 is so large that its head has a larger scale.
constexpr float kScaleEnd = 0x1p120f;

}  // namespace

absl::Status Fp8Codec::Encode(const PlaneSource& plane, const RopeTable*,
                              absl::Span<float>,
                              absl::Span<std::byte> encoded) const {
  std::byte* const codes = encoded.data() + PrefixBytes(plane.tokens);
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    const float magnitude = MagnitudeOfHead(shape_, plane, head);
    if (!std::isfinite(magnitude)) return UnfitValue();
    const float exact = magnitude / kFp8Max;
    const float scale = exact < kScaleMin ? 0 : exact;
    StoreLe32(std::bit_cast<uint32_t>(scale), encoded.data() + 4 * head);
    EncodeFp8Head(shape_, plane, head, scale > 0 ? 1 / scale : 0,
                  codes + size_t{head} * shape_.dim);
  }
  return absl::OkStatus();
}

absl::Status Fp8Codec::Decode(absl::Span<const std::byte> prefix,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable*,
                              absl::Span<float>,
                              const PlaneTarget& plane) const {
  const auto tokens = static_cast<uint32_t>(units.size() / UnitBytes(1));
  const Stores stores = StoresOf(shape_, plane);
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    const auto scale = std::bit_cast<float>(LoadLe32(prefix.data() + 4 * head));
    if (!(scale >= 0 && scale < kScaleEnd) ||
        !DecodeFp8Head(shape_, units.data() + size_t{head} * shape_.dim, head,
                       scale, tokens, stores, plane.From(first_token))) {
      return BadCode();
    }
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
