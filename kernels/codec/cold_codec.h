// The cold tier's codec: keys or values of many tokens in 4, 3, 2 or 1 bits an
// element, all that they take included, whatever they are: the error is what
// such a size allows. Slower than the others by far, and of much less error at
// equal size where tokens, or channels of whatever heads, go together. Keys may
// be coded without their rotary embedding. Nothing need be calibrated; with a
// calibration, errors are weighed as it says.
// Format: docs/formats/codec_cold.md.
#pragma once

#include <vector>

#include "kernels/codec/calibration.h"
#include "kernels/codec/cold_unit.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

// Elements of a token.
inline constexpr uint64_t kColdTokenMax = 64 * 1024;

class ColdCodec final : public PlaneCodec {
 public:
  // Requires: fp16 or bf16; shape.token_elements() <= kColdTokenMax.
  // `tables` are copied, and fit the shape; nullptr: all errors weigh alike, and
  // an element takes `bits`.
  ColdCodec(uint8_t bits, const PlaneShape& shape,
            const ColdTables* tables = nullptr);

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
  // The elements of a unit, at the front of the scratch, as what is coded of
  // them, and back.
  void ToComponents(uint32_t tokens, absl::Span<float> scratch) const;
  void FromComponents(uint32_t tokens, absl::Span<float> scratch) const;
  void TurnHeads(const std::vector<float>& matrices, uint32_t tokens,
                 absl::Span<float> scratch) const;

  uint16_t bits_;  // Of an element, in kBitPart parts.
  PlaneShape shape_;
  uint32_t width_;
  uint32_t unit_tokens_;
  ColdUnits units_;
  // Of a calibration; empty: elements are coded as they are.
  std::vector<float> means_;
  std::vector<float> basis_;    // [head, row, element]
  std::vector<float> inverse_;  // [head, element, row]
};

}  // namespace banyan::codec
