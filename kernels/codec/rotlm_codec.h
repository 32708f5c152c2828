// Rows rotated by a Hadamard matrix with fixed signs, whose elements are then
// nearly Gaussian, and coded with the levels that are best for a Gaussian; the
// length of each row is kept. Keys may be coded without their rotary embedding,
// less each channel's mean and over its deviation, which are taken from the
// plane itself. Nothing is calibrated.
// Format: docs/formats/codec_rotlm.md.
// Error:  of rows like those above, 0.0095, 0.0345 or 0.1175 of their squared
//         length for 4, 3 or 2 bits; lengths are off by 2^-10 at most.
#pragma once

#include "kernels/codec/plane_codec.h"
#include "kernels/codec/rotlm_simd.h"

namespace banyan::codec {

class RotLmCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16.
  RotLmCodec(const PlaneSpec& spec, const PlaneShape& shape)
      : shape_(spec, shape) {}

  uint64_t PrefixBytes(uint32_t) const override {
    return shape_.plane.heads * shape_.HeadPrefixBytes();
  }
  uint32_t unit_tokens() const override { return 1; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return tokens * shape_.TokenBytes();
  }
  uint64_t ScratchFloats(uint32_t tokens) const override {
    return shape_.ScratchFloats(tokens);
  }

  absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                      absl::Span<float> scratch,
                      absl::Span<std::byte> encoded) const override;
  absl::Status Decode(absl::Span<const std::byte> prefix,
                      absl::Span<const std::byte> units, uint32_t first_token,
                      const RopeTable* rope, absl::Span<float> scratch,
                      const PlaneTarget& plane) const override;

 private:
  RotLmShape shape_;
};

}  // namespace banyan::codec
