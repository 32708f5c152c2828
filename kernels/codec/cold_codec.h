// The cold tier's codec: keys or values of many tokens in 4, 3, 2 or 1 bits an
// element, all that they take included, whatever they are: the error is what
// such a size allows. Slower than the others by far, and of much less error at
// equal size where tokens, or channels of whatever heads, go together. Keys may
// be coded without their rotary embedding. Nothing is calibrated.
// Format: docs/formats/codec_cold.md.
#pragma once

#include "kernels/codec/cold_unit.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

// Elements of a token.
inline constexpr uint64_t kColdTokenMax = 64 * 1024;

class ColdCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16; shape.token_elements() <= kColdTokenMax.
  ColdCodec(uint8_t bits, const PlaneShape& shape);

  bool has_fixed_size() const override { return false; }
  uint64_t PrefixBytes(uint32_t tokens) const override;
  uint32_t unit_tokens() const override { return unit_tokens_; }
  uint64_t UnitBytes(uint32_t tokens) const override;
  uint64_t SizedUnitBytes(absl::Span<const std::byte> prefix,
                          uint32_t first_token, uint32_t tokens) const override;
  uint64_t ScratchFloats(uint32_t tokens) const override;

  absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                      absl::Span<float> scratch,
                      absl::Span<std::byte> encoded) const override;
  absl::StatusOr<uint64_t> EncodeSized(
      const PlaneSource& plane, const RopeTable* rope,
      absl::Span<float> scratch, absl::Span<std::byte> encoded) const override;
  absl::Status Decode(absl::Span<const std::byte> prefix,
                      absl::Span<const std::byte> units, uint32_t first_token,
                      const RopeTable* rope, absl::Span<float> scratch,
                      const PlaneTarget& plane) const override;

 private:
  uint8_t bits_;
  PlaneShape shape_;
  uint32_t width_;
  uint32_t unit_tokens_;
  ColdUnits units_;
};

}  // namespace banyan::codec
