#include "kernels/codec/int_simd.h"

#include <cstring>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/int_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"
#include "kernels/codec/simd_ranges.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

// Up to 16 lanes: what a register of 64 bytes has.
using Floats = hn::CappedTag<float, 16>;
using Words = hn::CappedTag<uint16_t, 32>;

// ---- Smallest and largest ----

// Integers that are ordered as the elements whose bits they are made of.
template <class D>
HWY_INLINE hn::Vec<D> KeysOfBits(D du, hn::Vec<D> bits) {
  const hn::RebindToSigned<D> di;
  const auto sign = hn::ShiftRight<15>(hn::BitCast(di, bits));
  return hn::Xor(bits, hn::Or(hn::BitCast(du, sign), hn::Set(du, 0x8000)));
}

template <class D>
HWY_INLINE hn::Vec<D> BitsOfKeys(D du, hn::Vec<D> keys) {
  const hn::RebindToSigned<D> di;
  const auto sign = hn::ShiftRight<15>(hn::BitCast(di, keys));
  return hn::Xor(keys,
                 hn::Or(hn::BitCast(du, hn::Not(sign)), hn::Set(du, 0x8000)));
}

template <class D>
HWY_INLINE uint16_t MinLane(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > 8) {
    const hn::Half<D> half;
    // Unqualified: a target with one lane has no halves.
    return MinLane(half, hn::Min(LowerHalf(half, v), UpperHalf(half, v)));
  } else {
    return hn::GetLane(hn::MinOfLanes(d, v));
  }
}

// The keys of the range of `count` elements, 1 or more.
template <class D>
HWY_INLINE void RangeOfWords(D d, const uint16_t* bits, uint32_t count,
                             uint16_t& low, uint16_t& high) {
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  auto min = KeysOfBits(d, hn::LoadU(d, bits));
  auto max = min;
  for (uint32_t i = lanes; i < count; i += lanes) {
    const auto keys = KeysOfBits(d, hn::LoadU(d, bits + i));
    min = hn::Min(min, keys);
    max = hn::Max(max, keys);
  }
  low = MinLane(d, min);
  high = static_cast<uint16_t>(~MinLane(d, hn::Not(max)));
}

HWY_INLINE void RangeOfGroup(const std::byte* row, uint32_t count,
                             uint16_t& low, uint16_t& high) {
  const auto* const bits = reinterpret_cast<const uint16_t*>(row);
  const Words wide;
  if (count % hn::Lanes(wide) == 0) {
    RangeOfWords(wide, bits, count, low, high);
  } else {
    RangeOfWords(hn::CappedTag<uint16_t, 1>(), bits, count, low, high);
  }
}

// The same of each element over all tokens.
template <class D>
HWY_INLINE void RangeOfChannels(D d, const PlaneSource& plane, uint32_t tokens,
                                uint32_t head, uint32_t at, uint16_t* low,
                                uint16_t* high) {
  const auto load = [&](uint32_t token) BANYAN_INLINE_LAMBDA {
    return KeysOfBits(
        d, hn::LoadU(d, reinterpret_cast<const uint16_t*>(
                            plane.Row(token, head) + size_t{2} * at)));
  };
  auto min = load(0);
  auto max = min;
  for (uint32_t token = 1; token < tokens; ++token) {
    const auto keys = load(token);
    min = hn::Min(min, keys);
    max = hn::Max(max, keys);
  }
  hn::StoreU(min, d, low);
  hn::StoreU(max, d, high);
}

void RangesAlongDim(const IntShape& shape, const PlaneSource& plane,
                    uint32_t tokens, uint16_t* low, uint16_t* high) {
  const uint32_t dim = shape.plane.dim;
  for (uint32_t token = 0; token < tokens; ++token) {
    for (uint32_t head = 0; head < shape.plane.heads; ++head) {
      const std::byte* const row = plane.Row(token, head);
      for (uint32_t at = 0; at < dim; at += shape.group) {
        RangeOfGroup(row + size_t{2} * at, HWY_MIN(shape.group, dim - at),
                     *low++, *high++);
      }
    }
  }
}

void RangesAlongTokens(const IntShape& shape, const PlaneSource& plane,
                       uint32_t tokens, uint16_t* low, uint16_t* high) {
  const uint32_t dim = shape.plane.dim;
  const Words wide;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(wide));
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    uint32_t at = 0;
    for (; at + lanes <= dim; at += lanes) {
      RangeOfChannels(wide, plane, tokens, head, at, low + at, high + at);
    }
    for (; at < dim; ++at) {
      RangeOfChannels(hn::CappedTag<uint16_t, 1>(), plane, tokens, head, at,
                      low + at, high + at);
    }
    low += dim;
    high += dim;
  }
}

// ---- Scales and minimums ----

// Turns the keys of ranges into fp16 scales and minimums, stored where the
// unit has them, and into the floats that codes are made with: minimums and
// inverse scales. Handles whole vectors: arrays are padded.
template <ElementType kType>
bool Parameters(uint32_t levels, size_t groups, const uint16_t* low,
                const uint16_t* high, std::byte* unit, float* minimums,
                float* inverses) {
  const Floats d;
  const hn::Rebind<uint16_t, Floats> du16;
  const size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  const auto value_max = hn::Set(d, kRangeValueMax);
  const auto load = [&](const uint16_t* keys) BANYAN_INLINE_LAMBDA {
    const auto bits = BitsOfKeys(du16, hn::LoadU(du16, keys));
    HWY_ALIGN uint16_t aligned[16];
    hn::Store(bits, du16, aligned);
    const auto v =
        LoadElements<kType>(d, reinterpret_cast<const std::byte*>(aligned));
    return hn::Add(v, zero);  // -0 becomes 0.
  };
  bool is_good = true;
  HWY_ALIGN uint16_t scale_bits[16] = {};
  HWY_ALIGN uint16_t minimum_bits[16] = {};
  for (size_t i = 0; i < groups; i += lanes) {
    const auto min = load(low + i);
    const auto max = load(high + i);
    is_good &= hn::AllTrue(
        d, hn::And(hn::Ge(min, hn::Neg(value_max)), hn::Le(max, value_max)));
    const auto range = RangeOf(d, min, max, static_cast<float>(levels));
    hn::Store(range.minimum_bits, du16, minimum_bits);
    hn::Store(range.scale_bits, du16, scale_bits);
    hn::StoreU(range.minimum, d, minimums + i);
    hn::StoreU(range.inverse, d, inverses + i);
    const size_t count = HWY_MIN(lanes, groups - i);
    std::memcpy(unit + 2 * i, scale_bits, 2 * count);
    std::memcpy(unit + 2 * (groups + i), minimum_bits, 2 * count);
  }
  return is_good;
}

// Scales and minimums of a unit as floats.
bool LoadParameters(size_t groups, const std::byte* unit, float* scales,
                    float* minimums) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const auto limit = hn::Set(d, 65504.0f);
  bool is_good = true;
  const auto load = [&](const std::byte* from, size_t count,
                        float* to) BANYAN_INLINE_LAMBDA {
    HWY_ALIGN std::byte padded[32] = {};
    const bool is_whole = count >= lanes;
    if (!is_whole) std::memcpy(padded, from, 2 * count);
    const auto v = LoadFp16(d, is_whole ? from : padded);
    is_good &= hn::AllTrue(d, hn::Le(hn::Abs(v), limit));  // False for NaN.
    hn::StoreU(v, d, to);
  };
  for (size_t i = 0; i < groups; i += lanes) {
    load(unit + 2 * i, groups - i, scales + i);
    load(unit + 2 * (groups + i), groups - i, minimums + i);
  }
  return is_good;
}

// ---- Codes ----

// One value for all elements of a run, or one for each; runs of a row follow
// each other in `at`.
struct SameForAll {
  static constexpr bool kIsForUnit = true;  // Rows go on where others end.
  const float* at;

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t /*element*/) const {
    return hn::Set(d, *at);
  }
  HWY_INLINE SameForAll Skip(size_t /*elements*/) const { return {at + 1}; }
};
struct OneForEach {
  static constexpr bool kIsForUnit = false;
  const float* at;

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t element) const {
    return hn::LoadU(d, at + element);
  }
  HWY_INLINE OneForEach Skip(size_t elements) const { return {at + elements}; }
};

// Element e of a run of n lies in byte e % stride, at bit kBits * (e / stride),
// where stride is RunBytes(n): so lanes are neighbours in both.
//
// Requires: lanes divide the stride; with more than one, count is a multiple
// of it.
template <ElementType kType, int kBits, class D, class P>
HWY_INLINE void EncodeRun(D d, const std::byte* row, uint32_t count,
                          uint32_t stride, P minimums, P inverses,
                          std::byte* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint8_t, D> du8;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  // The sum with 2^23 has the rounded code in its lowest byte; what is above
  // that is cut in the end.
  const auto magic = hn::Set(d, 0x1p23f);
  const auto code_bits = [&](uint32_t e) BANYAN_INLINE_LAMBDA {
    const auto x = LoadElements<kType>(d, row + size_t{2} * e);
    const auto scaled =
        hn::Mul(hn::Sub(x, minimums.Load(d, e)), inverses.Load(d, e));
    return hn::BitCast(du, hn::Add(scaled, magic));
  };
  const auto with_lanes = [&](uint32_t e) { return lanes > 1 || e < count; };
  for (uint32_t at = 0; at < stride; at += lanes) {
    auto byte = code_bits(at);
    if constexpr (kBits == 4) {
      if (with_lanes(at + stride)) {
        byte = hn::Add(byte, hn::ShiftLeft<4>(code_bits(at + stride)));
      }
    }
    if constexpr (kBits == 2) {
      if (with_lanes(at + stride)) {
        byte = hn::Add(byte, hn::ShiftLeft<2>(code_bits(at + stride)));
      }
      if (with_lanes(at + 2 * stride)) {
        byte = hn::Add(byte, hn::ShiftLeft<4>(code_bits(at + 2 * stride)));
      }
      if (with_lanes(at + 3 * stride)) {
        byte = hn::Add(byte, hn::ShiftLeft<6>(code_bits(at + 3 * stride)));
      }
    }
    hn::StoreU(hn::TruncateTo(du8, byte), du8,
               reinterpret_cast<uint8_t*>(to + at));
  }
}

// Calls store(element, codes) for each vector of codes that lies in `bytes`.
template <int kBits, class D, class V, class Store>
HWY_INLINE void ForEachField(D di, V bytes, uint32_t at, uint32_t stride,
                             const Store& store) {
  const auto mask = hn::Set(di, (1 << kBits) - 1);
  store(at, hn::And(bytes, mask));
  if constexpr (kBits == 4) {
    store(at + stride, hn::ShiftRight<4>(bytes));
  }
  if constexpr (kBits == 2) {
    store(at + stride, hn::And(hn::ShiftRight<2>(bytes), mask));
    store(at + 2 * stride, hn::And(hn::ShiftRight<4>(bytes), mask));
    store(at + 3 * stride, hn::ShiftRight<6>(bytes));
  }
}

template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> LoadCodes(D /*d*/,
                                                    const std::byte* from) {
  const hn::Rebind<uint8_t, D> du8;
  return hn::PromoteTo(hn::RebindToSigned<D>(),
                       hn::LoadU(du8, reinterpret_cast<const uint8_t*>(from)));
}

template <ElementType kType, int kBits, class D, class P>
HWY_INLINE void DecodeRun(D d, const std::byte* from, uint32_t count,
                          uint32_t stride, P scales, P minimums,
                          std::byte* row) {
  const hn::RebindToSigned<D> di;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  const auto store = [&](uint32_t e, auto code) BANYAN_INLINE_LAMBDA {
    if (lanes == 1 && e >= count) return;
    const auto x = hn::Add(hn::Mul(hn::ConvertTo(d, code), scales.Load(d, e)),
                           minimums.Load(d, e));
    StoreElements<kType>(d, x, row + size_t{2} * e);
  };
  for (uint32_t at = 0; at < stride; at += lanes) {
    ForEachField<kBits>(di, LoadCodes(d, from + at), at, stride, store);
  }
}

// The same, two vectors at a time.
// Requires: twice the lanes divide the stride, and the stride the count.
template <ElementType kType, int kBits, bool kIsStreamed, class D, class P>
HWY_INLINE void DecodeRunByTwo(D d, const std::byte* from, uint32_t stride,
                               P scales, P minimums, std::byte* row) {
  const hn::RebindToSigned<D> di;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  const auto value = [&](uint32_t e, auto code) BANYAN_INLINE_LAMBDA {
    return hn::Add(hn::Mul(hn::ConvertTo(d, code), scales.Load(d, e)),
                   minimums.Load(d, e));
  };
  for (uint32_t at = 0; at < stride; at += 2 * lanes) {
    hn::Vec<D> firsts[8 / kBits];
    int field = 0;
    ForEachField<kBits>(di, LoadCodes(d, from + at), at, stride,
                        [&](uint32_t e, auto code) BANYAN_INLINE_LAMBDA {
                          firsts[field++] = value(e, code);
                        });
    field = 0;
    ForEachField<kBits>(di, LoadCodes(d, from + at + lanes), at, stride,
                        [&](uint32_t e, auto code) BANYAN_INLINE_LAMBDA {
                          StoreTwo<kType, kIsStreamed>(d, firsts[field++],
                                                       value(e + lanes, code),
                                                       row + size_t{2} * e);
                        });
  }
}

// How the rows of a shape fall into runs: whole ones, then maybe a shorter one.
struct Runs {
  uint32_t count;
  uint32_t stride;
  uint32_t tail_count;
  uint32_t tail_stride;

  explicit Runs(const IntShape& shape)
      : count(shape.axis == Axis::kChannel ? shape.plane.dim : shape.group),
        stride(static_cast<uint32_t>(shape.RunBytes(count))),
        tail_count(shape.plane.dim % count),
        tail_stride(static_cast<uint32_t>(shape.RunBytes(tail_count))) {}
};

// Calls run(tag) with as many lanes as whole runs allow.
template <int kBits, class Run>
HWY_INLINE void WithLanes(const Runs& runs, const Run& run) {
  const Floats wide;
  const hn::CappedTag<float, 8> middle;
  const bool is_full = runs.count == runs.stride * (8 / kBits);
  if (is_full && runs.stride % hn::Lanes(wide) == 0) {
    run(wide);
  } else if (is_full && runs.stride % hn::Lanes(middle) == 0) {
    run(middle);
  } else {
    run(hn::CappedTag<float, 1>());
  }
}

template <ElementType kType, int kBits, class D, class P>
void EncodeRows(D d, const IntShape& shape, const PlaneSource& plane,
                uint32_t tokens, P minimums, P inverses, std::byte* to) {
  const Runs runs(shape);
  const uint32_t whole_end = shape.plane.dim - runs.tail_count;
  const P first_minimum = minimums;
  const P first_inverse = inverses;
  for (uint32_t token = 0; token < tokens; ++token) {
    if (!P::kIsForUnit) {
      minimums = first_minimum;
      inverses = first_inverse;
    }
    for (uint32_t head = 0; head < shape.plane.heads; ++head) {
      const std::byte* const row = plane.Row(token, head);
      // The next unit is looked at next.
      const std::byte* const next = row + tokens * plane.token_stride_bytes;
      for (uint32_t at = 0; at < 2 * shape.plane.dim; at += 64) {
        hwy::Prefetch(next + at);
      }
      for (uint32_t at = 0; at < whole_end; at += runs.count) {
        EncodeRun<kType, kBits>(d, row + size_t{2} * at, runs.count,
                                runs.stride, minimums, inverses, to);
        minimums = minimums.Skip(runs.count);
        inverses = inverses.Skip(runs.count);
        to += runs.stride;
      }
      if (runs.tail_count == 0) continue;
      EncodeRun<kType, kBits>(hn::CappedTag<float, 1>(),
                              row + size_t{2} * whole_end, runs.tail_count,
                              runs.tail_stride, minimums, inverses, to);
      minimums = minimums.Skip(runs.tail_count);
      inverses = inverses.Skip(runs.tail_count);
      to += runs.tail_stride;
    }
  }
}

// How a run is stored: a vector at a time, or two; through the caches, or not.
enum class Steps { kSingle, kTwo, kStreamed };

template <ElementType kType, int kBits, Steps kSteps, class D, class P>
void DecodeRows(D d, const IntShape& shape, const std::byte* from,
                uint32_t tokens, P scales, P minimums,
                const PlaneTarget& plane) {
  const Runs runs(shape);
  const uint32_t whole_end = shape.plane.dim - runs.tail_count;
  const P first_scale = scales;
  const P first_minimum = minimums;
  for (uint32_t token = 0; token < tokens; ++token) {
    if (!P::kIsForUnit) {
      scales = first_scale;
      minimums = first_minimum;
    }
    for (uint32_t head = 0; head < shape.plane.heads; ++head) {
      std::byte* const row = plane.Row(token, head);
      for (uint32_t at = 0; at < whole_end; at += runs.count) {
        std::byte* const to = row + size_t{2} * at;
        if constexpr (kSteps == Steps::kSingle) {
          DecodeRun<kType, kBits>(d, from, runs.count, runs.stride, scales,
                                  minimums, to);
        } else {
          DecodeRunByTwo<kType, kBits, kSteps == Steps::kStreamed>(
              d, from, runs.stride, scales, minimums, to);
        }
        scales = scales.Skip(runs.count);
        minimums = minimums.Skip(runs.count);
        from += runs.stride;
      }
      if (runs.tail_count == 0) continue;
      DecodeRun<kType, kBits>(hn::CappedTag<float, 1>(), from, runs.tail_count,
                              runs.tail_stride, scales, minimums,
                              row + size_t{2} * whole_end);
      scales = scales.Skip(runs.tail_count);
      minimums = minimums.Skip(runs.tail_count);
      from += runs.tail_stride;
    }
  }
}

template <ElementType kType, int kBits, class P>
void EncodeCodes(const IntShape& shape, const PlaneSource& plane,
                 uint32_t tokens, P minimums, P inverses, std::byte* to) {
  WithLanes<kBits>(Runs(shape), [&](auto d) HWY_ATTR {
    EncodeRows<kType, kBits>(d, shape, plane, tokens, minimums, inverses, to);
  });
}

template <ElementType kType, int kBits, class P>
void DecodeCodes(const IntShape& shape, const std::byte* from, uint32_t tokens,
                 P scales, P minimums, const PlaneTarget& plane,
                 bool is_streamed) {
  const Runs runs(shape);
  WithLanes<kBits>(runs, [&](auto d) HWY_ATTR {
    const auto decode = [&](auto steps) HWY_ATTR {
      DecodeRows<kType, kBits, steps()>(d, shape, from, tokens, scales,
                                        minimums, plane);
    };
    const size_t lanes = hn::Lanes(d);
    if (lanes == 1 || runs.stride % (2 * lanes) != 0) {
      decode(std::integral_constant<Steps, Steps::kSingle>());
    } else if (!is_streamed) {
      decode(std::integral_constant<Steps, Steps::kTwo>());
    } else {
      decode(std::integral_constant<Steps, Steps::kStreamed>());
    }
  });
  if (is_streamed) hwy::FlushStream();
}

// ---- Units ----

template <ElementType kType, int kBits>
bool EncodeUnit(const IntShape& shape, const PlaneSource& plane,
                uint32_t tokens, float* scratch, std::byte* unit) {
  const size_t groups = shape.Groups(tokens);
  const size_t padded = shape.PaddedGroups(tokens);
  float* const minimums = scratch;
  float* const inverses = minimums + padded;
  auto* const low = reinterpret_cast<uint16_t*>(inverses + padded);
  uint16_t* const high = low + padded;
  for (size_t i = groups; i < padded; ++i) low[i] = high[i] = 0x8000;
  const bool is_channel = shape.axis == Axis::kChannel;
  is_channel ? RangesAlongTokens(shape, plane, tokens, low, high)
             : RangesAlongDim(shape, plane, tokens, low, high);
  if (!Parameters<kType>((1u << kBits) - 1, groups, low, high, unit, minimums,
                         inverses)) {
    return false;
  }
  std::byte* const codes = unit + 4 * groups;
  is_channel
      ? EncodeCodes<kType, kBits>(shape, plane, tokens, OneForEach{minimums},
                                  OneForEach{inverses}, codes)
      : EncodeCodes<kType, kBits>(shape, plane, tokens, SameForAll{minimums},
                                  SameForAll{inverses}, codes);
  return true;
}

template <ElementType kType, int kBits>
bool DecodeUnit(const IntShape& shape, const std::byte* unit, uint32_t tokens,
                Stores stores, float* scratch, const PlaneTarget& plane) {
  // Runs that are no lines would not be aligned.
  const bool is_streamed =
      stores == Stores::kStreamed && Runs(shape).count % 32 == 0;
  const size_t groups = shape.Groups(tokens);
  float* const scales = scratch;
  float* const minimums = scratch + shape.PaddedGroups(tokens);
  if (!LoadParameters(groups, unit, scales, minimums)) return false;
  const std::byte* const codes = unit + 4 * groups;
  shape.axis == Axis::kChannel
      ? DecodeCodes<kType, kBits>(shape, codes, tokens, OneForEach{scales},
                                  OneForEach{minimums}, plane, is_streamed)
      : DecodeCodes<kType, kBits>(shape, codes, tokens, SameForAll{scales},
                                  SameForAll{minimums}, plane, is_streamed);
  return true;
}

template <ElementType kType>
bool EncodeUnitOfType(const IntShape& shape, const PlaneSource& plane,
                      uint32_t tokens, float* scratch, std::byte* unit) {
  switch (shape.bits) {
    case 8:
      return EncodeUnit<kType, 8>(shape, plane, tokens, scratch, unit);
    case 4:
      return EncodeUnit<kType, 4>(shape, plane, tokens, scratch, unit);
    default:
      return EncodeUnit<kType, 2>(shape, plane, tokens, scratch, unit);
  }
}

template <ElementType kType>
bool DecodeUnitOfType(const IntShape& shape, const std::byte* unit,
                      uint32_t tokens, Stores stores, float* scratch,
                      const PlaneTarget& plane) {
  switch (shape.bits) {
    case 8:
      return DecodeUnit<kType, 8>(shape, unit, tokens, stores, scratch, plane);
    case 4:
      return DecodeUnit<kType, 4>(shape, unit, tokens, stores, scratch, plane);
    default:
      return DecodeUnit<kType, 2>(shape, unit, tokens, stores, scratch, plane);
  }
}

bool EncodeIntUnitHere(const IntShape& shape, const PlaneSource& plane,
                       uint32_t tokens, float* scratch, std::byte* unit) {
  return shape.plane.type == ElementType::kFp16
             ? EncodeUnitOfType<ElementType::kFp16>(shape, plane, tokens,
                                                    scratch, unit)
             : EncodeUnitOfType<ElementType::kBf16>(shape, plane, tokens,
                                                    scratch, unit);
}

bool DecodeIntUnitHere(const IntShape& shape, const std::byte* unit,
                       uint32_t tokens, Stores stores, float* scratch,
                       const PlaneTarget& plane) {
  return shape.plane.type == ElementType::kFp16
             ? DecodeUnitOfType<ElementType::kFp16>(shape, unit, tokens, stores,
                                                    scratch, plane)
             : DecodeUnitOfType<ElementType::kBf16>(shape, unit, tokens, stores,
                                                    scratch, plane);
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {

HWY_EXPORT(EncodeIntUnitHere);
HWY_EXPORT(DecodeIntUnitHere);

bool EncodeIntUnit(const IntShape& shape, const PlaneSource& plane,
                   uint32_t tokens, float* scratch, std::byte* unit) {
  return HWY_DYNAMIC_DISPATCH(EncodeIntUnitHere)(shape, plane, tokens, scratch,
                                                 unit);
}

bool DecodeIntUnit(const IntShape& shape, const std::byte* unit,
                   uint32_t tokens, Stores stores, float* scratch,
                   const PlaneTarget& plane) {
  return HWY_DYNAMIC_DISPATCH(DecodeIntUnitHere)(shape, unit, tokens, stores,
                                                 scratch, plane);
}

}  // namespace banyan::codec
#endif
