#include "kernels/codec/fp8_simd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/fp8_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

using Floats = hn::CappedTag<float, 16>;
using Words = hn::CappedTag<uint16_t, 32>;
using OneFloat = hn::CappedTag<float, 1>;

// Calls body(tag, element) for whole vectors of a row, then for single lanes.
template <class Wide, class One, class Body>
HWY_INLINE void ForEachVector(uint32_t dim, const Body& body) {
  const Wide wide;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(wide));
  uint32_t at = 0;
  for (; at + lanes <= dim; at += lanes) body(wide, at);
  for (; at < dim; ++at) body(One(), at);
}

// Reads ahead of itself by this: what is read is cold as a rule.
constexpr uint32_t kFetchAheadBytes = 2048;

HWY_INLINE void FetchAhead(const std::byte* from, uint32_t bytes) {
  for (uint32_t at = 0; at < bytes; at += 64) {
    hwy::Prefetch(from + kFetchAheadBytes + at);
  }
}

// The largest bits of a row, without signs.
HWY_INLINE uint32_t MagnitudeBits(const std::byte* elements, uint32_t dim) {
  const auto* const row = reinterpret_cast<const uint16_t*>(elements);
  uint32_t result = 0;
  uint32_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Words wide;
  const auto magnitude = hn::Set(wide, 0x7FFF);
  auto most = hn::Zero(wide);
  for (; at + hn::Lanes(wide) <= dim; at += hn::Lanes(wide)) {
    most = hn::Max(most, hn::And(hn::LoadU(wide, row + at), magnitude));
  }
  const hn::Repartition<uint32_t, Words> pair;
  const auto pairs = hn::BitCast(pair, most);
  const auto larger =
      hn::Max(hn::ShiftRight<16>(pairs), hn::And(pairs, hn::Set(pair, 0xFFFF)));
  result = hn::GetLane(hn::MaxOfLanes(pair, larger));
#endif
  for (; at < dim; ++at) {
    result = HWY_MAX(result, static_cast<uint32_t>(row[at] & 0x7FFF));
  }
  return result;
}

template <ElementType kType>
float MagnitudeOfRow(const std::byte* row, uint32_t dim) {
  const auto bits = static_cast<uint16_t>(MagnitudeBits(row, dim));
  constexpr uint16_t kInfinity = kType == ElementType::kFp16 ? 0x7C00 : 0x7F80;
  if (bits >= kInfinity) return INFINITY;
  return hn::GetLane(LoadElements<kType>(
      OneFloat(), reinterpret_cast<const std::byte*>(&bits)));
}

template <ElementType kType>
void MagnitudesOfType(const PlaneShape& shape, const PlaneSource& plane,
                      float* magnitudes) {
  std::fill_n(magnitudes, shape.heads, 0.0f);
  for (uint32_t token = 0; token < plane.tokens; ++token) {
    for (uint32_t head = 0; head < shape.heads; ++head) {
      const std::byte* const row = plane.Row(token, head);
      FetchAhead(row, 2 * shape.dim);
      magnitudes[head] =
          HWY_MAX(magnitudes[head], MagnitudeOfRow<kType>(row, shape.dim));
    }
  }
}

void MagnitudesOfHeadsHere(const PlaneShape& shape, const PlaneSource& plane,
                           float* magnitudes) {
  shape.type == ElementType::kFp16
      ? MagnitudesOfType<ElementType::kFp16>(shape, plane, magnitudes)
      : MagnitudesOfType<ElementType::kBf16>(shape, plane, magnitudes);
}

// Requires: |v| < 464.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> Fp8OfFloat(D d, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, v);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto odd = hn::And(hn::ShiftRight<20>(magnitude), hn::Set(du, 1));
  const auto normal =
      hn::Sub(hn::ShiftRight<20>(
                  hn::Add(magnitude, hn::Add(odd, hn::Set(du, 0x7FFFF)))),
              hn::Set(du, 120 << 3));
  // Adding 2^14 leaves multiples of 2^-9 in the low bits, rounded.
  const auto offset = hn::Set(d, 0x1p14f);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, magnitude), offset)),
              hn::BitCast(du, offset));
  const auto is_small = hn::Lt(hn::BitCast(d, magnitude), hn::Set(d, 0x1p-6f));
  const auto code =
      hn::IfThenElse(hn::RebindMask(du, is_small), subnormal, normal);
  return hn::Or(code, hn::And(hn::ShiftRight<24>(bits), hn::Set(du, 0x80)));
}

template <class D>
HWY_INLINE hn::Vec<D> FloatOfFp8(D d, hn::Vec<hn::RebindToSigned<D>> code) {
  const hn::RebindToSigned<D> di;
  const auto magnitude = hn::And(code, hn::Set(di, 0x7F));
  const auto normal = hn::BitCast(
      d, hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(di, 120 << 23)));
  const auto subnormal =
      hn::Mul(hn::ConvertTo(d, magnitude), hn::Set(d, 0x1p-9f));
  const auto is_small = hn::Lt(magnitude, hn::Set(di, 8));
  const auto unsigned_value =
      hn::IfThenElse(hn::RebindMask(d, is_small), subnormal, normal);
  const auto sign = hn::ShiftLeft<24>(hn::And(code, hn::Set(di, 0x80)));
  return hn::Or(unsigned_value, hn::BitCast(d, sign));
}

template <ElementType kType>
void EncodeRow(const std::byte* row, uint32_t dim, float factor,
               std::byte* codes) {
  ForEachVector<Floats, OneFloat>(
      dim, [&](auto d, uint32_t at) BANYAN_INLINE_LAMBDA {
        const hn::Rebind<uint8_t, decltype(d)> du8;
        const auto x = LoadElements<kType>(d, row + size_t{2} * at);
        const auto code = Fp8OfFloat(d, hn::Mul(x, hn::Set(d, factor)));
        hn::StoreU(hn::TruncateTo(du8, code), du8,
                   reinterpret_cast<uint8_t*>(codes + at));
      });
}

template <ElementType kType>
void EncodeType(const PlaneShape& shape, const PlaneSource& plane,
                const float* factors, std::byte* codes) {
  for (uint32_t token = 0; token < plane.tokens; ++token) {
    for (uint32_t head = 0; head < shape.heads; ++head) {
      EncodeRow<kType>(plane.Row(token, head), shape.dim, factors[head], codes);
      codes += shape.dim;
    }
  }
}

// A code is the upper byte of an fp16 that is 2^8 times smaller, one bit to the
// left of where it has to be.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> Fp16BitsOfFp8(D d16,
                                                          hn::Vec<D> code) {
  const hn::RebindToUnsigned<D> du16;
  const auto shifted = hn::ShiftRight<1>(hn::ShiftLeft<8>(code));
  (void)d16;
  return hn::And(hn::BitCast(du16, shifted), hn::Set(du16, 0xBF80));
}

template <ElementType kType, bool kIsStreamed>
bool DecodeRow(const std::byte* codes, uint32_t dim, float scale,
               std::byte* row) {
  const auto* const from = reinterpret_cast<const uint8_t*>(codes);
  bool is_good = true;
  uint32_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::Repartition<int16_t, Floats> d16;
  const hn::Rebind<uint8_t, decltype(d16)> du8;
  const hn::Rebind<uint16_t, Floats> half;
  const auto nan = hn::Set(d16, 0x7F);
  const auto factor = hn::Set(d, scale * 0x1p8f);
  auto most = hn::Zero(d16);
  for (; at + hn::Lanes(d16) <= dim; at += hn::Lanes(d16)) {
    const auto code = hn::PromoteTo(d16, hn::LoadU(du8, from + at));
    most = hn::Max(most, hn::And(code, nan));
    const auto bits = Fp16BitsOfFp8(d16, code);
    const auto first = FloatOfFp16(d, hn::LowerHalf(half, bits));
    const auto second = FloatOfFp16(d, hn::UpperHalf(half, bits));
    StoreTwo<kType, kIsStreamed>(d, hn::Mul(first, factor),
                                 hn::Mul(second, factor), row + size_t{2} * at);
  }
  is_good = hn::AllFalse(d16, hn::Eq(most, nan));
#endif
  const OneFloat one;
  const hn::CappedTag<int32_t, 1> one32;
  const hn::CappedTag<uint8_t, 1> one8;
  for (; at < dim; ++at) {
    const auto code = hn::PromoteTo(one32, hn::LoadU(one8, from + at));
    is_good &= (from[at] & 0x7F) != 0x7F;
    StoreElements<kType>(one,
                         hn::Mul(FloatOfFp8(one, code), hn::Set(one, scale)),
                         row + size_t{2} * at);
  }
  return is_good;
}

template <ElementType kType, bool kIsStreamed>
bool DecodeType(const PlaneShape& shape, const std::byte* codes,
                const float* scales, uint32_t tokens,
                const PlaneTarget& plane) {
  bool is_good = true;
  for (uint32_t token = 0; token < tokens; ++token) {
    for (uint32_t head = 0; head < shape.heads; ++head) {
      FetchAhead(codes, shape.dim);
      is_good &= DecodeRow<kType, kIsStreamed>(codes, shape.dim, scales[head],
                                               plane.Row(token, head));
      codes += shape.dim;
    }
  }
  if (kIsStreamed) hwy::FlushStream();
  return is_good;
}

template <ElementType kType>
bool DecodeTo(const PlaneShape& shape, const std::byte* codes,
              const float* scales, uint32_t tokens, Stores stores,
              const PlaneTarget& plane) {
  return stores == Stores::kStreamed
             ? DecodeType<kType, true>(shape, codes, scales, tokens, plane)
             : DecodeType<kType, false>(shape, codes, scales, tokens, plane);
}

void EncodeFp8RowsHere(const PlaneShape& shape, const PlaneSource& plane,
                       const float* factors, std::byte* codes) {
  shape.type == ElementType::kFp16
      ? EncodeType<ElementType::kFp16>(shape, plane, factors, codes)
      : EncodeType<ElementType::kBf16>(shape, plane, factors, codes);
}

bool DecodeFp8RowsHere(const PlaneShape& shape, const std::byte* codes,
                       const float* scales, uint32_t tokens, Stores stores,
                       const PlaneTarget& plane) {
  return shape.type == ElementType::kFp16
             ? DecodeTo<ElementType::kFp16>(shape, codes, scales, tokens,
                                            stores, plane)
             : DecodeTo<ElementType::kBf16>(shape, codes, scales, tokens,
                                            stores, plane);
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {

HWY_EXPORT(MagnitudesOfHeadsHere);
HWY_EXPORT(EncodeFp8RowsHere);
HWY_EXPORT(DecodeFp8RowsHere);

void MagnitudesOfHeads(const PlaneShape& shape, const PlaneSource& plane,
                       float* magnitudes) {
  HWY_DYNAMIC_DISPATCH(MagnitudesOfHeadsHere)(shape, plane, magnitudes);
}

void EncodeFp8Rows(const PlaneShape& shape, const PlaneSource& plane,
                   const float* factors, std::byte* codes) {
  HWY_DYNAMIC_DISPATCH(EncodeFp8RowsHere)(shape, plane, factors, codes);
}

bool DecodeFp8Rows(const PlaneShape& shape, const std::byte* codes,
                   const float* scales, uint32_t tokens, Stores stores,
                   const PlaneTarget& plane) {
  return HWY_DYNAMIC_DISPATCH(DecodeFp8RowsHere)(shape, codes, scales, tokens,
                                                 stores, plane);
}

}  // namespace banyan::codec
#endif
