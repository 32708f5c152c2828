// e4m3 floats of 8 bits, with one scale for each head of a plane.
// Format: docs/formats/codec_fp8.md.
// Error:  |decoded - x| <= 2^-4 |x| + 2^-10 scale + the rounding of the element
//         type; the scale is the head's largest magnitude over 448.
#pragma once

#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

class Fp8Codec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16.
  explicit Fp8Codec(const PlaneShape& shape) : shape_(shape) {}

  uint64_t PrefixBytes(uint32_t) const override {
    return uint64_t{4} * shape_.heads;
  }
  uint32_t unit_tokens() const override { return 1; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return tokens * shape_.token_elements();
  }
  uint64_t ScratchFloats(uint32_t) const override { return shape_.heads; }

  absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                      absl::Span<float> scratch,
                      absl::Span<std::byte> encoded) const override;
  absl::Status Decode(absl::Span<const std::byte> prefix,
                      absl::Span<const std::byte> units, uint32_t first_token,
                      const RopeTable* rope, absl::Span<float> scratch,
                      const PlaneTarget& plane) const override;

 private:
  PlaneShape shape_;
};

}  // namespace banyan::codec
