#include "kernels/codec/rotlm_simd.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/units.h"
#include "kernels/codec/rotation.h"
#include "kernels/codec/rotlm_levels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/rotlm_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"
#include "kernels/codec/simd_hadamard.h"
#include "kernels/codec/simd_rows.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

// Rows are coded on the stack; loops reach beyond their ends.
constexpr uint32_t kRowPadding = 64;
constexpr uint32_t kRowMax = kRotLmDimMax + kRowPadding;

// ---- Means and deviations ----

// Rounds values to fp16, where they lie and in `to`. False if one is beyond.
bool RoundToFp16(uint32_t dim, uint32_t padded_dim, float* values,
                 std::byte* to) {
  StoreRow<ElementType::kFp16>(values, dim, to);
  LoadRow<ElementType::kFp16>(to, dim, padded_dim, values);
  bool is_good = true;
  for (uint32_t i = 0; i < dim; ++i) is_good &= std::isfinite(values[i]);
  return is_good;
}

// Sums over all rows, in their order, then over their number.
template <bool kIsSquared>
void AverageRows(const float* rows, uint32_t tokens, uint32_t padded_dim,
                 float* average) {
  const Floats d;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  const auto count = hn::Set(d, static_cast<float>(tokens));
  for (uint32_t at = 0; at < padded_dim; at += lanes) {
    auto sum = hn::Zero(d);
    for (uint32_t token = 0; token < tokens; ++token) {
      const auto x = hn::LoadU(d, rows + size_t{token} * padded_dim + at);
      sum = hn::Add(sum, kIsSquared ? hn::Mul(x, x) : x);
    }
    const auto mean = hn::Div(sum, count);
    hn::StoreU(kIsSquared ? hn::Sqrt(mean) : mean, d, average + at);
  }
}

// rows[i] = (rows[i] - less) or rows[i] * times.
template <bool kIsSubtracted>
void ApplyToRows(float* rows, uint32_t tokens, uint32_t padded_dim,
                 const float* by) {
  const Floats d;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (uint32_t at = 0; at < padded_dim; at += lanes) {
    const auto factor = hn::LoadU(d, by + at);
    for (uint32_t token = 0; token < tokens; ++token) {
      float* const x = rows + size_t{token} * padded_dim + at;
      const auto v = hn::LoadU(d, x);
      hn::StoreU(kIsSubtracted ? hn::Sub(v, factor) : hn::Mul(v, factor), d, x);
    }
  }
}

// 1 over each value, 0 for 0.
void InvertValues(uint32_t padded_dim, float* values) {
  for (uint32_t i = 0; i < padded_dim; ++i) {
    values[i] = values[i] > 0 ? 1 / values[i] : 0;
  }
}

bool CentreRows(const RotLmShape& shape, uint32_t tokens, float* rows,
                float* values, std::byte* prefix) {
  const uint32_t dim = shape.plane.dim;
  if (shape.centre == Centre::kNone) return true;
  AverageRows<false>(rows, tokens, shape.padded_dim, values);
  if (!RoundToFp16(dim, shape.padded_dim, values, prefix)) return false;
  ApplyToRows<true>(rows, tokens, shape.padded_dim, values);
  if (shape.centre == Centre::kMean) return true;
  AverageRows<true>(rows, tokens, shape.padded_dim, values);
  if (!RoundToFp16(dim, shape.padded_dim, values, prefix + size_t{2} * dim)) {
    return false;
  }
  InvertValues(shape.padded_dim, values);
  ApplyToRows<false>(rows, tokens, shape.padded_dim, values);
  return true;
}

// ---- Levels ----

template <int kBits>
void LevelsOfCodes(const uint8_t* codes, uint32_t padded_dim, int8_t* levels) {
  HWY_ALIGN static constexpr std::array<int8_t, 16> kTable = [] {
    std::array<int8_t, 16> table{};
    for (int i = 0; i < 1 << kBits; ++i) table[i] = LevelsOf<kBits>().OfCode(i);
    return table;
  }();
#if HWY_TARGET == HWY_SCALAR
  for (uint32_t i = 0; i < padded_dim; ++i) levels[i] = kTable[codes[i]];
#else
  const Codes d;
  const hn::RebindToSigned<Codes> di;
  const auto table = hn::LoadDup128(di, kTable.data());
  for (uint32_t at = 0; at < padded_dim; at += hn::Lanes(d)) {
    const auto level = hn::TableLookupBytes(table, hn::LoadU(d, codes + at));
    hn::StoreU(hn::BitCast(di, level), di, levels + at);
  }
#endif
}

// Codes of so many elements of a rotated row, times `factor`.
template <int kBits>
void CodesOfRow(const float* row, uint32_t padded_count, float factor,
                uint8_t* codes) {
  constexpr const RotLmLevels& kLevels = LevelsOf<kBits>();
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint8_t, Floats> du8;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (uint32_t at = 0; at < padded_count; at += lanes) {
    const auto x = hn::LoadU(d, row + at);
    const auto q = hn::Mul(hn::Abs(x), hn::Set(d, factor));
    auto index = hn::Set(di, kLevels.count);
    for (int i = 0; i + 1 < kLevels.count; ++i) {
      const auto is_above = hn::Gt(q, hn::Set(d, kLevels.Threshold(i)));
      index = hn::Sub(index, hn::VecFromMask(di, hn::RebindMask(di, is_above)));
    }
    // Negative: count - 1 - (index - count).
    const auto mirrored = hn::Sub(hn::Set(di, 2 * kLevels.count - 1), index);
    const auto is_negative = hn::RebindMask(di, hn::Lt(x, hn::Zero(d)));
    const auto code = hn::IfThenElse(is_negative, mirrored, index);
    hn::StoreU(hn::TruncateTo(du8, hn::BitCast(du, code)), du8, codes + at);
  }
}

// ---- Lengths ----

float SquaredLength(const float* row, uint32_t padded_dim) {
  BlockSum sum;
  for (uint32_t at = 0; at < padded_dim; at += 16) sum.AddSquares(row + at);
  return sum.Total();
}

int32_t SquaredLength(const int8_t* levels, uint32_t padded_dim) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<int8_t, Floats> di8;
  auto sum = hn::Zero(di);
  for (uint32_t at = 0; at < padded_dim; at += hn::Lanes(d)) {
    const auto level = hn::PromoteTo(di, hn::LoadU(di8, levels + at));
    sum = hn::Add(sum, hn::Mul(level, level));
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

// ---- Rows ----

// Writes a row's scale and codes. False if the scale is beyond fp16.
template <int kBits>
bool EncodeRow(const RotLmShape& shape, float* row, std::byte* scale_to,
               std::byte* codes_to) {
  const uint32_t dim = shape.plane.dim;
  ApplyToRows<false>(row, 1, shape.padded_dim, shape.signs.data());
  const float length = std::sqrt(SquaredLength(row, shape.padded_dim));
  const float ratio =
      length > 0 ? std::sqrt(static_cast<float>(dim)) / length : 0;
  HWY_ALIGN uint8_t codes[kRowMax];
  uint32_t at = 0;
  for (const uint32_t part : shape.parts) {
    Hadamard(row + at, part);
    const float factor = LevelsOf<kBits>().unit * ratio *
                         (1 / std::sqrt(static_cast<float>(part)));
    CodesOfRow<kBits>(row + at, static_cast<uint32_t>(RoundUp(part, 16)),
                      factor, codes + at);
    at += part;
  }
  std::memset(codes + dim, 0, kRowPadding);
  HWY_ALIGN int8_t levels[kRowMax];
  LevelsOfCodes<kBits>(codes, shape.padded_dim, levels);
  std::memset(levels + dim, 0, shape.padded_dim - dim);
  PackRow<kBits>(codes, dim, codes_to);
  const auto squares =
      static_cast<float>(SquaredLength(levels, shape.padded_dim));
  const float scale = length / std::sqrt(squares) * 32;
  const OneFloat one;
  StoreElements<ElementType::kFp16>(one, hn::Set(one, scale), scale_to);
  // Beyond fp16 is infinity there; a NaN has no fp16 here.
  return scale < 65520;
}

struct RowTarget {
  const float* means;       // nullptr: none
  const float* deviations;  // Times the signs.
};

template <int kBits>
void DecodeRow(const RotLmShape& shape, const std::byte* codes_from,
               float scale, const RowTarget& target, float* row) {
  HWY_ALIGN uint8_t codes[kRowMax];
  HWY_ALIGN int8_t levels[kRowMax];
  HWY_ALIGN int16_t sums[kRowMax];
  std::memset(codes + shape.plane.dim, 0, kRowPadding);
  UnpackRow<kBits>(codes_from, shape.plane.dim, codes);
  LevelsOfCodes<kBits>(codes, shape.padded_dim, levels);
  const hn::ScalableTag<int16_t> wide16;
  const hn::Rebind<int8_t, decltype(wide16)> wide8;
  for (uint32_t i = 0; i < shape.padded_dim; i += hn::Lanes(wide16)) {
    hn::StoreU(hn::PromoteTo(wide16, hn::LoadU(wide8, levels + i)), wide16,
               sums + i);
  }
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<int16_t, Floats> di16;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  uint32_t at = 0;
  for (const uint32_t part : shape.parts) {
    Hadamard(sums + at, part);
    const float factor = scale * (1 / std::sqrt(static_cast<float>(part)) / 32);
    for (uint32_t i = at; i < at + part; i += lanes) {
      const auto sum =
          hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(di16, sums + i)));
      auto x = hn::Mul(hn::Mul(sum, hn::Set(d, factor)),
                       hn::LoadU(d, target.deviations + i));
      if (target.means != nullptr) {
        x = hn::Add(x, hn::LoadU(d, target.means + i));
      }
      hn::StoreU(x, d, row + i);
    }
    at += part;
  }
}

// ---- Heads ----

template <ElementType kType, int kBits>
bool EncodeHead(const RotLmShape& shape, const PlaneSource& plane,
                uint32_t head, const RopeTable* rope, float* scratch,
                std::byte* prefix, std::byte* units) {
  float* const rows = scratch + size_t{4} * shape.padded_dim;
  for (uint32_t token = 0; token < plane.tokens; ++token) {
    float* const row = rows + size_t{token} * shape.padded_dim;
    LoadRow<kType>(plane.Row(token, head), shape.plane.dim, shape.padded_dim,
                   row);
    if (rope != nullptr) RotateRow(*rope, token, row);
  }
  if (!CentreRows(shape, plane.tokens, rows, scratch, prefix)) return false;
  const uint64_t scales_bytes = uint64_t{2} * shape.plane.heads;
  for (uint32_t token = 0; token < plane.tokens; ++token) {
    std::byte* const unit = units + token * shape.TokenBytes();
    if (!EncodeRow<kBits>(shape, rows + size_t{token} * shape.padded_dim,
                          unit + size_t{2} * head,
                          unit + scales_bytes + head * shape.RowBytes())) {
      return false;
    }
  }
  return true;
}

// Means, and deviations times signs, as floats.
bool LoadPrefix(const RotLmShape& shape, const std::byte* prefix, float* means,
                float* deviations) {
  const uint32_t dim = shape.plane.dim;
  std::memcpy(deviations, shape.signs.data(), 4 * size_t{shape.padded_dim});
  if (shape.centre == Centre::kNone) return true;
  LoadRow<ElementType::kFp16>(prefix, dim, shape.padded_dim, means);
  if (shape.centre == Centre::kWhiten) {
    LoadRow<ElementType::kFp16>(prefix + size_t{2} * dim, dim, shape.padded_dim,
                                deviations);
    ApplyToRows<false>(deviations, 1, shape.padded_dim, shape.signs.data());
  }
  bool is_good = true;
  for (uint32_t i = 0; i < dim; ++i) {
    is_good &= std::isfinite(means[i]) && std::isfinite(deviations[i]);
  }
  return is_good;
}

template <ElementType kType, int kBits>
bool DecodeHead(const RotLmShape& shape, const std::byte* prefix,
                const std::byte* units, uint32_t head, uint32_t first_token,
                uint32_t tokens, const RopeTable* rope, float* scratch,
                const PlaneTarget& plane) {
  float* const means = scratch;
  float* const deviations = means + shape.padded_dim;
  float* const row = deviations + shape.padded_dim;
  if (!LoadPrefix(shape, prefix, means, deviations)) return false;
  const RowTarget target{
      .means = shape.centre == Centre::kNone ? nullptr : means,
      .deviations = deviations};
  const uint64_t scales_bytes = uint64_t{2} * shape.plane.heads;
  const OneFloat one;
  for (uint32_t i = 0; i < tokens; ++i) {
    const std::byte* const unit = units + i * shape.TokenBytes();
    const float scale = hn::GetLane(LoadFp16(one, unit + size_t{2} * head));
    if (!std::isfinite(scale)) return false;
    DecodeRow<kBits>(shape, unit + scales_bytes + head * shape.RowBytes(),
                     scale, target, row);
    if (rope != nullptr) RotateRow(*rope, first_token + i, row);
    StoreDecodedRow<kType>(row, shape.plane.dim,
                           plane.Row(first_token + i, head));
  }
  return true;
}

bool EncodeRotLmHeadHere(const RotLmShape& shape, const PlaneSource& plane,
                         uint32_t head, const RopeTable* rope, float* scratch,
                         std::byte* prefix, std::byte* units) {
  return WithTypeAndBits(shape.plane.type, shape.bits,
                         [&](auto type, auto bits) BANYAN_INLINE_LAMBDA {
                           return EncodeHead<type(), bits()>(shape, plane, head,
                                                             rope, scratch,
                                                             prefix, units);
                         });
}

bool DecodeRotLmHeadHere(const RotLmShape& shape, const std::byte* prefix,
                         const std::byte* units, uint32_t head,
                         uint32_t first_token, uint32_t tokens,
                         const RopeTable* rope, float* scratch,
                         const PlaneTarget& plane) {
  return WithTypeAndBits(shape.plane.type, shape.bits,
                         [&](auto type, auto bits) BANYAN_INLINE_LAMBDA {
                           return DecodeHead<type(), bits()>(
                               shape, prefix, units, head, first_token, tokens,
                               rope, scratch, plane);
                         });
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {
RotLmShape::RotLmShape(const PlaneSpec& spec, const PlaneShape& plane_shape)
    : plane(plane_shape),
      bits(spec.bits),
      centre(spec.centre),
      padded_dim(0),
      parts(HadamardParts(plane.dim)) {
  uint32_t at = 0;
  for (const uint32_t part : parts) {
    // A part is handled in whole vectors, and may begin inside one.
    const uint32_t end = at + std::max(part, 16u);
    padded_dim = std::max(padded_dim, static_cast<uint32_t>(RoundUp(end, 16)));
    at += part;
  }
  signs = RotationSigns(plane.dim);
  signs.resize(padded_dim, 1);
}

HWY_EXPORT(EncodeRotLmHeadHere);
HWY_EXPORT(DecodeRotLmHeadHere);

bool EncodeRotLmHead(const RotLmShape& shape, const PlaneSource& plane,
                     uint32_t head, const RopeTable* rope, float* scratch,
                     std::byte* prefix, std::byte* units) {
  return HWY_DYNAMIC_DISPATCH(EncodeRotLmHeadHere)(shape, plane, head, rope,
                                                   scratch, prefix, units);
}

bool DecodeRotLmHead(const RotLmShape& shape, const std::byte* prefix,
                     const std::byte* units, uint32_t head,
                     uint32_t first_token, uint32_t tokens,
                     const RopeTable* rope, float* scratch,
                     const PlaneTarget& plane) {
  return HWY_DYNAMIC_DISPATCH(DecodeRotLmHeadHere)(
      shape, prefix, units, head, first_token, tokens, rope, scratch, plane);
}

}  // namespace banyan::codec
#endif
