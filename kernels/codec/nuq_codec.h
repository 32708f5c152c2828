// Codes of 4, 3 or 2 bits for levels that fit the model: of keys by the range
// of each channel, of values by the range of each token. The 1 % of elements
// that are furthest out are kept as they are. Levels and ranges of channels
// come from a calibration.
// Format: docs/formats/codec_nuq.md.
// Source: KVQuant, NeurIPS 2024 (arXiv 2401.18079).
#pragma once

#include "kernels/codec/nuq_simd.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

class NuqCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16; tables fit the spec and the shape; of heads times
  // dim kNuqWidthMax at most.
  NuqCodec(const PlaneSpec& spec, const PlaneShape& shape,
           const NuqTables& tables)
      : shape_(spec, shape, tables) {}

  uint64_t PrefixBytes(uint32_t) const override { return 0; }
  uint32_t unit_tokens() const override { return 1; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return tokens * shape_.TokenBytes();
  }
  uint64_t ScratchFloats(uint32_t) const override {
    return shape_.ScratchFloats();
  }

  absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                      absl::Span<float> scratch,
                      absl::Span<std::byte> encoded) const override;
  absl::Status Decode(absl::Span<const std::byte> prefix,
                      absl::Span<const std::byte> units, uint32_t first_token,
                      const RopeTable* rope, absl::Span<float> scratch,
                      const PlaneTarget& plane) const override;

 private:
  NuqShape shape_;
};

}  // namespace banyan::codec
