#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>

#include "kernels/codec/trellis_search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/trellis_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"

// What all targets share: how costs lie, and what a search leaves behind.
#ifndef BANYAN_KERNELS_TRELLIS_SHARED
#define BANYAN_KERNELS_TRELLIS_SHARED
namespace banyan::codec {

// Costs are looked up two magnitudes at a time, the last of which stand for all
// above: a class has as many as a power of two, its last one twice.
inline constexpr uint32_t kCostsShift = 4;
inline constexpr uint32_t kCostsStride = 1 << kCostsShift;
inline constexpr uint32_t kCostsOfQuantizer =
    kCoefficientClasses * kCostsStride;
static_assert(TrellisModel::kCosts + 1 == kCostsStride);

struct CostTable {
  explicit CostTable(const float* costs) {
    for (uint32_t i = 0; i < kQuantizers * kCoefficientClasses; ++i) {
      float* const of_class = all + i * kCostsStride;
      std::copy_n(costs + i * TrellisModel::kCosts, TrellisModel::kCosts,
                  of_class);
      of_class[TrellisModel::kCosts] = of_class[TrellisModel::kCosts - 1];
    }
  }

  alignas(64) float all[kQuantizers * kCostsOfQuantizer];
};

// Behind each number, a bit a state: the even choice of that state is 0, and the
// best way into that state is the second one.
struct TrellisTrace {
  uint8_t zeros;
  uint8_t seconds;
};
static_assert(sizeof(TrellisTrace) <= kTrellisStates);

}  // namespace banyan::codec
#endif

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void ChooseHere(const TrellisRow& row, uint32_t state, uint8_t* trace,
                float* magnitudes) {
  ChoosePlainly(row, state, trace, magnitudes);
}

#else

// A lane a state: the first two are of quantizer 0, the others of 1.
using FloatTag = hn::FixedTag<float, kTrellisStates>;
using IntTag = hn::FixedTag<int32_t, kTrellisStates>;
using PairTag = hn::FixedTag<float, 2>;
using Floats = hn::Vec<FloatTag>;
using Ints = hn::Vec<IntTag>;
using Mask = hn::Mask<FloatTag>;
static_assert(kTrellisStates == 4 && kQuantizers == 2);

HWY_INLINE Floats OfQuantizers(float first, float second) {
  alignas(16) const float lanes[] = {first, first, second, second};
  return hn::Load(FloatTag(), lanes);
}

// What may become of a number: the magnitude below its size or the one above,
// one of which is even, or 0. Errors are squared.
struct Choices {
  uint32_t below[kQuantizers];
  Mask is_below_odd;
  Floats even;
  Floats odd;
  Floats even_error;
  Floats odd_error;
  Floats zero_error;
};

HWY_INLINE Choices ChoicesOf(float number) {
  const FloatTag f;
  const IntTag i;
  const Floats size = hn::Set(f, number);
  const Floats shift = OfQuantizers(0, 0.5f);
  const Ints below_int = hn::ConvertTo(i, hn::Add(size, shift));
  const Floats below = hn::ConvertTo(f, below_int);
  const Floats above = hn::Add(below, hn::Set(f, 1.0f));
  const Floats under =
      hn::Sub(size, hn::Max(hn::Sub(below, shift), hn::Zero(f)));
  const Floats over = hn::Sub(size, hn::Sub(above, shift));
  const Floats under_error = hn::Mul(under, under);
  const Floats over_error = hn::Mul(over, over);
  const Mask is_odd = hn::RebindMask(f, hn::TestBit(below_int, hn::Set(i, 1)));
  return {.below = {MagnitudeBelow(number, 0), MagnitudeBelow(number, 1)},
          .is_below_odd = is_odd,
          .even = hn::IfThenElse(is_odd, above, below),
          .odd = hn::IfThenElse(is_odd, below, above),
          .even_error = hn::IfThenElse(is_odd, over_error, under_error),
          .odd_error = hn::IfThenElse(is_odd, under_error, over_error),
          .zero_error = hn::Mul(size, size)};
}

// CoefficientClass of each lane, as the place of its costs.
HWY_INLINE Ints PlacesOf(Floats twice_column_level, Floats row_level) {
  const IntTag i;
  constexpr int32_t kFirst = std::bit_cast<uint32_t>(0x1p-5f) >> 22;
  const Floats level = hn::Add(twice_column_level, row_level);
  const Ints octaves = hn::Sub(hn::ShiftRight<22>(hn::BitCast(i, level)),
                               hn::Set(i, kFirst - 1));
  const Ints last = hn::Set(i, kCoefficientClasses - 1);
  return hn::ShiftLeft<kCostsShift>(
      hn::Max(hn::Min(octaves, last), hn::Zero(i)));
}

HWY_INLINE Floats NextRowLevels(Floats row_level, Floats magnitude) {
  const FloatTag f;
  const Floats change =
      hn::Mul(hn::Sub(magnitude, row_level), hn::Set(f, 0.125f));
  return hn::Add(row_level, change);
}

struct Costs {
  Floats even;
  Floats odd;
  Floats zero;
};

// Of the number's choices alone; kIsFar: some may be beyond the table.
template <bool kIsFar>
HWY_INLINE Costs CostsOf(const Choices& choices, Ints places,
                         const CostTable& table, float bit_worth) {
  const FloatTag f;
  const PairTag pair;
  const hn::FixedTag<uint64_t, 2> wide;
  const auto in_pairs = hn::BitCast(wide, places);
  const uint64_t of_first = hn::GetLane(in_pairs);
  const uint64_t of_second = hn::ExtractLane(in_pairs, 1);
  const float* const at[] = {
      table.all + static_cast<uint32_t>(of_first), table.all + (of_first >> 32),
      table.all + kCostsOfQuantizer + static_cast<uint32_t>(of_second),
      table.all + kCostsOfQuantizer + (of_second >> 32)};
  uint32_t below[] = {choices.below[0], choices.below[1]};
  if constexpr (kIsFar) {
    for (uint32_t& x : below) x = std::min(x, kCostsStride - 2);
  }
  const auto load = [&](uint32_t first,
                        uint32_t magnitude) BANYAN_INLINE_LAMBDA {
    return hn::Combine(f, hn::LoadU(pair, at[first + 1] + magnitude),
                       hn::LoadU(pair, at[first] + magnitude));
  };
  const Floats near_first = load(0, below[0]);
  const Floats near_second = load(2, below[1]);
  const Floats zero = hn::ConcatEven(f, load(2, 0), load(0, 0));
  Floats of_below = hn::ConcatEven(f, near_second, near_first);
  Floats of_above = hn::ConcatOdd(f, near_second, near_first);
  if constexpr (kIsFar) {
    const auto beyond = [&](uint32_t more) BANYAN_INLINE_LAMBDA {
      return OfQuantizers(bit_worth * BitsBeyond(choices.below[0] + more),
                          bit_worth * BitsBeyond(choices.below[1] + more));
    };
    of_below = hn::Add(of_below, beyond(0));
    of_above = hn::Add(of_above, beyond(1));
  }
  const Mask is_odd = choices.is_below_odd;
  return {.even = hn::Add(choices.even_error,
                          hn::IfThenElse(is_odd, of_above, of_below)),
          .odd = hn::Add(choices.odd_error,
                         hn::IfThenElse(is_odd, of_below, of_above)),
          .zero = hn::Add(choices.zero_error, zero)};
}

// The best way into each state.
struct Paths {
  Floats costs;
  Floats row_levels;
  Ints places;  // Of the next number's costs.
};

// Into states 0 and 1 lead an even number from states 0 and 2 and an odd one from
// 1 and 3; into 2 and 3 the others.
template <class D>
HWY_INLINE hn::Vec<D> FirstWays(D d, hn::Vec<D> even, hn::Vec<D> odd) {
  return hn::ConcatEven(d, odd, even);
}
template <class D>
HWY_INLINE hn::Vec<D> SecondWays(D d, hn::Vec<D> even, hn::Vec<D> odd) {
  return hn::ConcatOdd(d, even, odd);
}

template <bool kIsFar>
HWY_INLINE Paths GoOn(const Paths& paths, const Choices& choices,
                      const CostTable& table, float bit_worth,
                      float next_column_level, TrellisTrace& trace) {
  const FloatTag f;
  const IntTag i;
  const Costs costs = CostsOf<kIsFar>(choices, paths.places, table, bit_worth);
  const Floats zero = hn::Add(paths.costs, costs.zero);
  Floats even = hn::Add(paths.costs, costs.even);
  const Floats odd = hn::Add(paths.costs, costs.odd);
  const Mask is_zero = hn::Lt(zero, even);
  even = hn::IfThenElse(is_zero, zero, even);
  const Floats first = FirstWays(f, even, odd);
  const Floats second = SecondWays(f, even, odd);
  const Mask is_second = hn::Lt(second, first);
  hn::StoreMaskBits(f, is_zero, &trace.zeros);
  hn::StoreMaskBits(f, is_second, &trace.seconds);

  // All that may be next is there before it is known which.
  const Floats column = hn::Set(f, next_column_level + next_column_level);
  const Floats row_of_zero = NextRowLevels(paths.row_levels, hn::Zero(f));
  const Floats row_of_near = NextRowLevels(paths.row_levels, choices.even);
  const Floats row_of_odd = NextRowLevels(paths.row_levels, choices.odd);
  const Floats row_of_even = hn::IfThenElse(is_zero, row_of_zero, row_of_near);
  const Ints place_of_odd = PlacesOf(column, row_of_odd);
  const Ints place_of_even =
      hn::IfThenElse(hn::RebindMask(i, is_zero), PlacesOf(column, row_of_zero),
                     PlacesOf(column, row_of_near));
  return {.costs = hn::IfThenElse(is_second, second, first),
          .row_levels =
              hn::IfThenElse(is_second, SecondWays(f, row_of_even, row_of_odd),
                             FirstWays(f, row_of_even, row_of_odd)),
          .places = hn::IfThenElse(hn::RebindMask(i, is_second),
                                   SecondWays(i, place_of_even, place_of_odd),
                                   FirstWays(i, place_of_even, place_of_odd))};
}

// Returns the state that the best path ends in.
template <bool kIsFar>
HWY_INLINE uint32_t Search(const TrellisRow& row, uint32_t state,
                           TrellisTrace* trace) {
  const FloatTag f;
  const CostTable table(row.costs);
  alignas(16) float costs[kTrellisStates];
  std::fill_n(costs, kTrellisStates, std::numeric_limits<float>::infinity());
  costs[state] = 0;
  const Floats column = hn::Set(f, row.column_levels[0] + row.column_levels[0]);
  Paths paths{.costs = hn::Load(f, costs),
              .row_levels = hn::Zero(f),
              .places = PlacesOf(column, hn::Zero(f))};
  for (uint32_t c = 0; c < row.width; ++c) {
    const uint32_t next = std::min(c + 1, row.width - 1);
    paths = GoOn<kIsFar>(paths, ChoicesOf(row.sizes[c]), table, row.bit_worth,
                         row.column_levels[next], trace[c]);
  }
  hn::Store(paths.costs, f, costs);
  return static_cast<uint32_t>(std::min_element(costs, costs + kTrellisStates) -
                               costs);
}

// Back along the path that ends in `state`.
void Follow(const TrellisRow& row, uint32_t state, const TrellisTrace* trace,
            float* magnitudes) {
  for (uint32_t c = row.width; c-- > 0;) {
    const uint32_t is_second = trace[c].seconds >> state & 1;
    const uint32_t is_even = (state < 2) != (is_second != 0);
    state = state % 2 * 2 + is_second;
    const uint32_t is_zero = is_even & (trace[c].zeros >> state);
    const uint32_t below = MagnitudeBelow(row.sizes[c], QuantizerOf(state));
    const uint32_t magnitude = below + ((below ^ is_even ^ 1) & 1);
    magnitudes[c] = is_zero != 0 ? 0.0f : static_cast<float>(magnitude);
  }
}

void ChooseHere(const TrellisRow& row, uint32_t state, uint8_t* trace_bytes,
                float* magnitudes) {
  auto* const trace = reinterpret_cast<TrellisTrace*>(trace_bytes);
  const bool is_far = row.size_max + 2 > static_cast<float>(kCoefficientSteps);
  const uint32_t last = is_far ? Search<true>(row, state, trace)
                               : Search<false>(row, state, trace);
  Follow(row, last, trace, magnitudes);
}

#endif

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {
namespace {

HWY_EXPORT(ChooseHere);

}  // namespace

void ChooseMagnitudes(const TrellisRow& row, uint32_t state, uint8_t* trace,
                      float* magnitudes) {
  HWY_DYNAMIC_DISPATCH(ChooseHere)(row, state, trace, magnitudes);
}

}  // namespace banyan::codec
#endif
