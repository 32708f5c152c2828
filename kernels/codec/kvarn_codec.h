// Codes of 4, 3 or 2 bits for tiles of 128 tokens of one head, rotated by a
// Hadamard matrix: of keys with a scale and a minimum for each channel, of values
// for each token. Rows and channels are balanced before, so that no token and no
// channel is much coarser than others; one factor across the groups is kept for
// that. Nothing is calibrated.
// Format: docs/formats/codec_kvarn.md.
// Source: KVarN (arXiv 2606.03458).
// Error:  |decoded - x| of a rotated element <= 0.5001 scale times its factor;
//         the scale is the range of its group over 2^bits - 1, rounded up to
//         fp16.
#pragma once

#include "kernels/codec/kvarn_simd.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

class KvarnCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16.
  KvarnCodec(const PlaneSpec& spec, const PlaneShape& shape)
      : shape_(spec, shape) {}

  uint64_t PrefixBytes(uint32_t) const override { return 0; }
  uint32_t unit_tokens() const override { return kKvarnTileTokens; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return shape_.UnitBytes(tokens);
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
  KvarnShape shape_;
};

}  // namespace banyan::codec
