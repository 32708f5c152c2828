#include "kernels/codec/cold_codec.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/codec/codec_errors.h"
#include "kernels/codec/cold_basis.h"
#include "kernels/codec/cold_matrix.h"
#include "kernels/codec/token_simd.h"

namespace banyan::codec {
namespace {

// Tokens go together far, but products of tokens with each other grow as the
// square of their number.
constexpr uint32_t kUnitTokensMax = 128;
constexpr uint64_t kUnitElementsMax = 1 << 20;

constexpr uint64_t kSizeBytes = 4;  // Of a unit, in the prefix.

// A unit takes so much less than its bits: its size, and a plane's share of the
// head of a layer and of what stands behind it in a piece.
constexpr uint64_t kAroundBytes = 76;

uint32_t UnitTokens(const PlaneShape& shape) {
  uint32_t tokens = kUnitTokensMax;
  while (tokens > 1 && tokens * shape.token_elements() > kUnitElementsMax) {
    tokens /= 2;
  }
  return tokens;
}

bool AreWithin(const float* x, uint32_t count, float most) {
  bool are = true;
  for (uint32_t i = 0; i < count; ++i) are &= std::fabs(x[i]) <= most;
  return are;
}

}  // namespace

ColdCodec::ColdCodec(uint8_t bits, const PlaneShape& shape,
                     const ColdTables* tables)
    : bits_(tables == nullptr ? bits * kBitPart : tables->bits),
      shape_(shape),
      width_(static_cast<uint32_t>(shape.token_elements())),
      unit_tokens_(UnitTokens(shape)),
      units_(unit_tokens_, width_) {
  BANYAN_CHECK(shape.token_elements() <= kColdTokenMax);
  if (tables == nullptr) return;
  means_ = tables->means;
  basis_ = tables->basis;
  inverse_ = InverseBases(shape.dim, basis_);
}

uint64_t ColdCodec::PrefixBytes(uint32_t tokens) const {
  return (uint64_t{tokens} + unit_tokens_ - 1) / unit_tokens_ * kSizeBytes;
}

uint64_t ColdCodec::UnitBytes(uint32_t tokens) const {
  const uint64_t elements = uint64_t{tokens} * width_;
  const uint64_t bytes = elements * bits_ / (8 * kBitPart);
  return std::max(bytes - std::min(bytes, kAroundBytes),
                  ColdUnits::BytesMin(elements));
}

uint64_t ColdCodec::SizedUnitBytes(absl::Span<const std::byte> prefix,
                                   uint32_t first_token, uint32_t) const {
  return LoadLe32(&prefix[first_token / unit_tokens_ * kSizeBytes]);
}

uint64_t ColdCodec::ScratchFloats(uint32_t) const {
  const uint64_t turned =
      basis_.empty() ? 0 : uint64_t{unit_tokens_} * shape_.dim;
  return units_.ScratchFloats() + turned;
}

void ColdCodec::TurnHeads(const std::vector<float>& matrices, uint32_t tokens,
                          absl::Span<float> scratch) const {
  const uint32_t dim = shape_.dim;
  float* const turned = scratch.data() + units_.ScratchFloats();
  for (uint32_t head = 0; head < shape_.heads; ++head) {
    float* const rows = scratch.data() + size_t{head} * dim;
    SumRows({.factors = rows,
             .row_stride = width_,
             .stride = 1,
             .count = dim,
             .from = &matrices[size_t{head} * dim * dim],
             .width = dim,
             .to = turned},
            tokens);
    for (uint32_t i = 0; i < tokens; ++i) {
      std::copy_n(turned + size_t{i} * dim, dim, rows + size_t{i} * width_);
    }
  }
}

void ColdCodec::ToComponents(uint32_t tokens, absl::Span<float> scratch) const {
  if (basis_.empty()) return;
  for (size_t i = 0; i < size_t{tokens} * width_; ++i) {
    scratch[i] -= means_[i % width_];
  }
  TurnHeads(inverse_, tokens, scratch);
}

void ColdCodec::FromComponents(uint32_t tokens,
                               absl::Span<float> scratch) const {
  if (basis_.empty()) return;
  TurnHeads(basis_, tokens, scratch);
  for (size_t i = 0; i < size_t{tokens} * width_; ++i) {
    scratch[i] += means_[i % width_];
  }
}

absl::Status ColdCodec::Encode(const PlaneSource&, const RopeTable*,
                               absl::Span<float>, absl::Span<std::byte>) const {
  return MakeError(absl::StatusCode::kFailedPrecondition, "SIZE",
                   "codec: cold planes have no fixed size.");
}

absl::StatusOr<uint64_t> ColdCodec::EncodeSized(
    const PlaneSource& plane, const RopeTable* rope, absl::Span<float> scratch,
    absl::Span<std::byte> encoded) const {
  uint64_t at = PrefixBytes(plane.tokens);
  for (uint32_t first = 0; first < plane.tokens; first += unit_tokens_) {
    const uint32_t tokens = std::min(unit_tokens_, plane.tokens - first);
    for (uint32_t i = 0; i < tokens; ++i) {
      float* const token = scratch.data() + size_t{i} * width_;
      LoadToken(shape_, plane, first + i, rope, token);
      if (!AreWithin(token, width_, kColdMax)) return UnfitValue();
    }
    ToComponents(tokens, scratch);
    if (!AreWithin(scratch.data(), tokens * width_, kColdMax)) {
      return UnfitValue();
    }
    const uint64_t bytes =
        units_.Encode(tokens, scratch, encoded.subspan(at, UnitBytes(tokens)));
    BANYAN_CHECK(bytes > 0);
    StoreLe32(static_cast<uint32_t>(bytes),
              &encoded[first / unit_tokens_ * kSizeBytes]);
    at += bytes;
  }
  return at;
}

absl::Status ColdCodec::Decode(absl::Span<const std::byte>,
                               absl::Span<const std::byte> units,
                               uint32_t first_token, const RopeTable* rope,
                               absl::Span<float> scratch,
                               const PlaneTarget& plane) const {
  const uint32_t tokens = std::min(unit_tokens_, plane.tokens - first_token);
  if (!units_.Decode(units, tokens, scratch)) return BadCode();
  FromComponents(tokens, scratch);
  for (uint32_t i = 0; i < tokens; ++i) {
    float* const token = scratch.data() + size_t{i} * width_;
    StoreToken(shape_, token, first_token + i, rope, plane);
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
