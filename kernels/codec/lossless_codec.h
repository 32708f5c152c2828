// Rows in fewer bytes, and back to the bit: the bytes of elements are taken
// apart, so that exponents, which are much alike, are next to each other, and
// each kind of byte is coded by how often its values occur; kept as it is where
// that saves nothing. Of 16 bits of keys and values, 3 to 5 are saved.
// Format: docs/formats/codec_lossless.md.
#pragma once

#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

// Elements of a token.
inline constexpr uint64_t kLosslessTokenMax = 64 * 1024;

class LosslessCodec final : public PlaneCodec {
 public:
  // Requires: shape.token_elements() <= kLosslessTokenMax.
  explicit LosslessCodec(const PlaneShape& shape);

  bool has_fixed_size() const override { return false; }
  uint64_t PrefixBytes(uint32_t tokens) const override;
  uint32_t unit_tokens() const override { return unit_tokens_; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return tokens * shape_.token_bytes();
  }
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
  uint64_t SizesAt(uint32_t first_token) const;

  PlaneShape shape_;
  uint32_t unit_tokens_;
};

}  // namespace banyan::codec
