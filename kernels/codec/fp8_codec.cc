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

// Of a head with the largest element that there is. A larger one would make
// infinities of codes, and of zeros what is no number.
float ScaleMax(ElementType type) {
  const float element_max = type == ElementType::kFp16 ? 65504 : 0x1.FEp127f;
  return element_max / kFp8Max;
}

}  // namespace

absl::Status Fp8Codec::Encode(const PlaneSource& plane, const RopeTable*,
                              absl::Span<float> scratch,
                              absl::Span<std::byte> encoded) const {
  float* const of_heads = scratch.data();  // Magnitudes, then factors.
  MagnitudesOfHeads(shape_, plane, of_heads);
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    if (!std::isfinite(of_heads[head])) return UnfitValue();
    const float exact = of_heads[head] / kFp8Max;
    const float scale = exact < kScaleMin ? 0 : exact;
    StoreLe32(std::bit_cast<uint32_t>(scale), encoded.data() + 4 * head);
    of_heads[head] = scale > 0 ? 1 / scale : 0;
  }
  EncodeFp8Rows(shape_, plane, of_heads,
                encoded.data() + PrefixBytes(plane.tokens));
  return absl::OkStatus();
}

absl::Status Fp8Codec::Decode(absl::Span<const std::byte> prefix,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable*,
                              absl::Span<float> scratch,
                              const PlaneTarget& plane) const {
  float* const scales = scratch.data();
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    scales[head] = std::bit_cast<float>(LoadLe32(prefix.data() + 4 * head));
    // False for NaN.
    const bool is_good =
        scales[head] >= 0 && scales[head] <= ScaleMax(shape_.type);
    if (!is_good) return BadCode();
  }
  const auto tokens = static_cast<uint32_t>(units.size() / UnitBytes(1));
  const bool is_good =
      DecodeFp8Rows(shape_, units.data(), scales, tokens,
                    StoresOf(shape_, plane), plane.From(first_token));
  return is_good ? absl::OkStatus() : BadCode();
}

}  // namespace banyan::codec
