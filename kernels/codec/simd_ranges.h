// The range of a group of numbers as an fp16 scale and an fp16 minimum, between
// which codes of equal steps lie. Included once for each target of Highway.
#include "hwy/highway.h"

// Highway flips its toggle for each target.
#if defined(BANYAN_KERNELS_SIMD_RANGES) == defined(HWY_TARGET_TOGGLE)
#ifdef BANYAN_KERNELS_SIMD_RANGES
#undef BANYAN_KERNELS_SIMD_RANGES
#else
#define BANYAN_KERNELS_SIMD_RANGES
#endif

#include "kernels/codec/simd_elements.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

// Of what a range may hold: less than fp16's largest by what rounding the scale
// up may add.
inline constexpr float kRangeValueMax = 65024.0f;

// fp16 bits next to these, towards more or less, where the mask says so.
template <class D, class M>
HWY_INLINE hn::Vec<D> StepFp16Bits(D du, hn::Vec<D> bits, M is_off,
                                   bool is_up) {
  const auto is_negative = hn::TestBit(bits, hn::Set(du, 0x8000));
  const auto one = hn::Set(du, 1);
  const auto away = hn::Add(bits, one);
  const auto back = hn::Sub(bits, one);
  const auto stepped = is_up ? hn::IfThenElse(is_negative, back, away)
                             : hn::IfThenElse(is_negative, away, back);
  return hn::IfThenElse(is_off, stepped, bits);
}

template <class D>
struct Range {
  hn::Vec<hn::Rebind<uint16_t, D>> minimum_bits;
  hn::Vec<hn::Rebind<uint16_t, D>> scale_bits;
  hn::Vec<D> minimum;
  hn::Vec<D> inverse;  // 1 over the scale; 0 for 0.
};

// The largest minimum and the smallest scale that hold everything from min to
// max in `levels` steps: (x - minimum) * inverse is 0 to levels, rounded.
// Domain: within kRangeValueMax; min is no -0.
template <class D>
HWY_INLINE Range<D> RangeOf(D d, hn::Vec<D> min, hn::Vec<D> max, float levels) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> du16;
  Range<D> range;
  auto bits = Fp16BitsOfFloat(d, min);
  bits = StepFp16Bits(du, bits,
                      hn::RebindMask(du, hn::Gt(FloatOfFp16Bits(d, bits), min)),
                      false);
  range.minimum_bits = hn::TruncateTo(du16, bits);
  range.minimum = FloatOfFp16Bits(d, bits);
  const auto exact = hn::Div(hn::Sub(max, range.minimum), hn::Set(d, levels));
  bits = Fp16BitsOfFloat(d, exact);
  bits = StepFp16Bits(
      du, bits, hn::RebindMask(du, hn::Lt(FloatOfFp16Bits(d, bits), exact)),
      true);
  range.scale_bits = hn::TruncateTo(du16, bits);
  const auto scale = FloatOfFp16Bits(d, bits);
  const auto one = hn::Set(d, 1.0f);
  const auto is_some = hn::Gt(scale, hn::Zero(d));
  range.inverse = hn::IfThenElseZero(
      is_some, hn::Div(one, hn::IfThenElse(is_some, scale, one)));
  return range;
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
