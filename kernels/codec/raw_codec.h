// Rows as they are, one token after the other, in each the heads.
// Format: docs/formats/codec_block.md.
#pragma once

#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

class RawCodec final : public PlaneCodec {
 public:
  explicit RawCodec(const PlaneShape& shape) : shape_(shape) {}

  uint64_t PrefixBytes(uint32_t) const override { return 0; }
  uint32_t unit_tokens() const override { return 1; }
  uint64_t UnitBytes(uint32_t tokens) const override {
    return tokens * shape_.token_bytes();
  }
  uint64_t ScratchFloats(uint32_t) const override { return 0; }

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
