// fp16 and bf16 elements to float lanes and back, the same on every target:
// rounded to nearest even, subnormals kept. Included once for each target of
// Highway.
//
// Domain: stored lanes are no NaN.
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/codec/plane.h"

// Highway flips its toggle for each target.
#if defined(BANYAN_KERNELS_SIMD_ELEMENTS) == defined(HWY_TARGET_TOGGLE)
#ifdef BANYAN_KERNELS_SIMD_ELEMENTS
#undef BANYAN_KERNELS_SIMD_ELEMENTS
#else
#define BANYAN_KERNELS_SIMD_ELEMENTS
#endif

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Compilers would call lambdas with vectors through memory.
#ifndef BANYAN_INLINE_LAMBDA
#define BANYAN_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))
#endif

// Highway's own conversions are exact where the processor has them.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
inline constexpr bool kHasFp16 = true;
#else
inline constexpr bool kHasFp16 = false;
#endif

template <class D>
HWY_INLINE hn::Vec<D> FloatOfFp16Bits(D d, hn::Vec<hn::RebindToUnsigned<D>> h) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto magnitude = hn::And(h, hn::Set(du, 0x7FFF));
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000)));
  const auto normal =
      hn::Add(hn::ShiftLeft<13>(magnitude), hn::Set(du, 112u << 23));
  const auto special = hn::Or(normal, hn::Set(du, 0x7F800000));
  const auto subnormal =
      hn::BitCast(du, hn::Mul(hn::ConvertTo(d, hn::BitCast(di, magnitude)),
                              hn::Set(d, 0x1p-24f)));
  const auto signed_magnitude = hn::BitCast(di, magnitude);
  auto bits = hn::IfThenElse(
      hn::RebindMask(du, hn::Lt(signed_magnitude, hn::Set(di, 0x0400))),
      subnormal, normal);
  bits = hn::IfThenElse(
      hn::RebindMask(du, hn::Gt(signed_magnitude, hn::Set(di, 0x7BFF))),
      special, bits);
  return hn::BitCast(d, hn::Or(bits, sign));
}

template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> Fp16BitsOfFloat(D d, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(du, v);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto sign = hn::ShiftRight<16>(hn::And(bits, hn::Set(du, 0x80000000)));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1));
  const auto rounded = hn::Add(magnitude, hn::Add(odd, hn::Set(du, 0xFFF)));
  const auto normal =
      hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 112u << 23)));
  // Adding 1/2 leaves multiples of 2^-24 in the low bits, rounded.
  const auto half = hn::Set(d, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, magnitude), half)),
              hn::BitCast(du, half));
  const auto signed_magnitude = hn::BitCast(di, magnitude);
  auto result = hn::IfThenElse(
      hn::RebindMask(du, hn::Lt(signed_magnitude, hn::Set(di, 113 << 23))),
      subnormal, normal);
  result = hn::IfThenElse(
      hn::RebindMask(du, hn::Gt(signed_magnitude, hn::Set(di, 0x477FEFFF))),
      hn::Set(du, 0x7C00), result);
  return hn::Or(result, sign);
}

template <class D>
HWY_INLINE hn::Vec<D> FloatOfFp16(D d, hn::Vec<hn::Rebind<uint16_t, D>> bits) {
  if constexpr (kHasFp16) {
    const hn::Rebind<hwy::float16_t, D> dh;
    return hn::PromoteTo(d, hn::BitCast(dh, bits));
  } else {
    return FloatOfFp16Bits(d, hn::PromoteTo(hn::RebindToUnsigned<D>(), bits));
  }
}

template <class D>
HWY_INLINE hn::Vec<D> LoadFp16(D d, const std::byte* from) {
  const hn::Rebind<uint16_t, D> du16;
  return FloatOfFp16(d,
                     hn::LoadU(du16, reinterpret_cast<const uint16_t*>(from)));
}

// The bits of floats as fp16 or bf16.
template <ElementType kType, class D>
HWY_INLINE hn::Vec<hn::Rebind<uint16_t, D>> ElementBits(D d, hn::Vec<D> v) {
  const hn::Rebind<uint16_t, D> du16;
  if constexpr (kType == ElementType::kFp16) {
    if constexpr (kHasFp16) {
      const hn::Rebind<hwy::float16_t, D> dh;
      return hn::BitCast(du16, hn::DemoteTo(dh, v));
    } else {
      return hn::TruncateTo(du16, Fp16BitsOfFloat(d, v));
    }
  } else {
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
    return hn::TruncateTo(du16, hn::ShiftRight<16>(rounded));
  }
}

// Lanes(d) elements at a time; kType is kFp16 or kBf16.
template <ElementType kType, class D>
HWY_INLINE hn::Vec<D> LoadElements(D d, const std::byte* from) {
  if constexpr (kType == ElementType::kFp16) {
    return LoadFp16(d, from);
  } else {
    const hn::Rebind<uint16_t, D> du16;
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::LoadU(du16, reinterpret_cast<const uint16_t*>(from));
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  }
}

template <ElementType kType, class D>
HWY_INLINE void StoreElements(D d, hn::Vec<D> v, std::byte* to) {
  const hn::Rebind<uint16_t, D> du16;
  hn::StoreU(ElementBits<kType>(d, v), du16, reinterpret_cast<uint16_t*>(to));
}

// Two vectors, the second behind the first, in one store.
// Requires: `to` is aligned to it if it goes past the caches.
template <ElementType kType, bool kIsStreamed, class D>
HWY_INLINE void StoreTwo(D d, hn::Vec<D> first, hn::Vec<D> second,
                         std::byte* to) {
#if HWY_TARGET == HWY_SCALAR
  StoreElements<kType>(d, first, to);
  StoreElements<kType>(d, second, to + 2);
#else
  const hn::Repartition<uint16_t, D> du16;
  const auto both = hn::Combine(du16, ElementBits<kType>(d, second),
                                ElementBits<kType>(d, first));
  auto* const out = reinterpret_cast<uint16_t*>(to);
  if constexpr (kIsStreamed) {
    hn::Stream(both, du16, out);
  } else {
    hn::StoreU(both, du16, out);
  }
#endif
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
