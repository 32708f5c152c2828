// Integer codes of 8, 4 or 2 bits for groups of elements, each with a scale and
// a minimum: groups along the head, or along the tokens of one channel.
// Format: docs/formats/codec_int.md.
// Error:  |decoded - x| <= 0.5001 scale + the rounding of the element type; the
//         scale is (max - min) / (2^bits - 1) of the group, rounded up to fp16.
#pragma once

#include "kernels/codec/int_simd.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

class IntCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16.
  IntCodec(const PlaneSpec& spec, const PlaneShape& shape);

  uint64_t PrefixBytes(uint32_t) const override { return 0; }
  uint32_t unit_tokens() const override { return unit_tokens_; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return shape_.UnitBytes(tokens);
  }
  uint64_t ScratchFloats(uint32_t) const override {
    return shape_.ScratchFloats(unit_tokens_);
  }

  absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                      absl::Span<float> scratch,
                      absl::Span<std::byte> encoded) const override;
  absl::Status Decode(absl::Span<const std::byte> prefix,
                      absl::Span<const std::byte> units, uint32_t first_token,
                      const RopeTable* rope, absl::Span<float> scratch,
                      const PlaneTarget& plane) const override;

 private:
  IntShape shape_;
  uint32_t unit_tokens_;
};

}  // namespace banyan::codec
