#include "kernels/codec/nuq_simd.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/units.h"
#include "kernels/codec/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/nuq_simd.cc"
#include "hwy/foreach_target.h"
#include "kernels/codec/simd_elements.h"
#include "kernels/codec/simd_rows.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

// To [head, padded_dim].
template <ElementType kType>
void LoadToken(const PlaneShape& shape, uint32_t padded_dim,
               const PlaneSource& plane, uint32_t token, const RopeTable* rope,
               float* to) {
  for (uint32_t head = 0; head < shape.heads; ++head, to += padded_dim) {
    LoadRow<kType>(plane.Row(token, head), shape.dim, padded_dim, to);
    if (rope != nullptr) RotateRow(*rope, token, to);
  }
}

// to[i] = (x[i] - centre) * inverse, of one head, by channel or all alike.
template <class Of>
void Normalise(const float* x, uint32_t padded_dim, const Of& of, float* to) {
  const Floats d;
  for (uint32_t i = 0; i < padded_dim; i += hn::Lanes(d)) {
    const auto v = hn::Sub(hn::LoadU(d, x + i), of.centre(d, i));
    hn::StoreU(hn::Mul(v, of.inverse(d, i)), d, to + i);
  }
}

struct ByChannel {
  const float* centres;
  const float* inverses;

  template <class D>
  HWY_INLINE hn::Vec<D> centre(D d, uint32_t i) const {
    return hn::LoadU(d, centres + i);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> inverse(D d, uint32_t i) const {
    return hn::LoadU(d, inverses + i);
  }
};

struct ByToken {
  float of_centre;
  float of_inverse;

  template <class D>
  HWY_INLINE hn::Vec<D> centre(D d, uint32_t /*i*/) const {
    return hn::Set(d, of_centre);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> inverse(D d, uint32_t /*i*/) const {
    return hn::Set(d, of_inverse);
  }
};

// How many thresholds are below each value.
template <int kBits>
void CodesOf(const float* x, uint32_t padded_dim, const float* thresholds,
             uint8_t* codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint8_t, Floats> du8;
  for (uint32_t at = 0; at < padded_dim; at += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x + at);
    auto code = hn::Zero(di);
    for (int i = 0; i + 1 < 1 << kBits; ++i) {
      const auto is_above = hn::Gt(v, hn::Set(d, thresholds[i]));
      code = hn::Sub(code, hn::VecFromMask(di, hn::RebindMask(di, is_above)));
    }
    hn::StoreU(hn::TruncateTo(du8, hn::BitCast(du, code)), du8, codes + at);
  }
}

// x[i] = level * scale + centre.
template <class Of>
void Restore(const uint8_t* codes, uint32_t padded_dim, const float* levels,
             const Of& of, float* x) {
  const Floats d;
  for (uint32_t i = 0; i < padded_dim; ++i) x[i] = levels[codes[i]];
  for (uint32_t i = 0; i < padded_dim; i += hn::Lanes(d)) {
    const auto v = hn::Mul(hn::LoadU(d, x + i), of.inverse(d, i));
    hn::StoreU(hn::Add(v, of.centre(d, i)), d, x + i);
  }
}

// ---- Extremes ----

// The largest of the values it has seen, in the order of values, then of
// indexes; `kSign` -1: the smallest, in the reverse order.
template <int kSign>
class Extremes {
 public:
  // `indexes` has room for `count`. Only values beyond `bar` count.
  Extremes(uint32_t count, float bar, const float* x, uint32_t* indexes)
      : count_(count), bar_(bar), x_(x), indexes_(indexes) {}

  // In rising order of indexes.
  HWY_INLINE void Add(uint32_t index) {
    const float x = x_[index];
    // A later one is the larger of equal ones, and not the smaller.
    const bool is_in =
        kSign > 0 ? (is_full() ? x >= bar_ : x > bar_) : x < bar_;
    if (is_in) Insert(index);
  }

  uint32_t size() const { return size_; }
  // Most extreme first.
  uint32_t operator[](uint32_t i) const { return indexes_[i]; }

 private:
  bool is_full() const { return size_ == count_; }

  bool IsBeyond(float x, float other) const {
    return kSign > 0 ? x >= other : x < other;
  }

  void Insert(uint32_t index) {
    if (count_ == 0) return;
    uint32_t at = is_full() ? size_ - 1 : size_++;
    for (; at > 0 && IsBeyond(x_[index], x_[indexes_[at - 1]]); --at) {
      indexes_[at] = indexes_[at - 1];
    }
    indexes_[at] = index;
    if (is_full()) bar_ = x_[indexes_[size_ - 1]];
  }

  uint32_t count_;
  uint32_t size_ = 0;
  float bar_;
  const float* x_;
  uint32_t* indexes_;
};

// Adds every element that is no padding.
template <class A, class B>
void FindExtremes(const NuqShape& shape, A& largest, B& smallest) {
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    const uint32_t first = head * shape.padded_dim;
    for (uint32_t i = first; i < first + shape.plane.dim; ++i) {
      largest.Add(i);
      smallest.Add(i);
    }
  }
}

// ---- Slots ----

constexpr uint16_t kEmpty = 0xFFFF;

uint32_t ChannelOf(const NuqShape& shape, uint32_t padded_index) {
  return padded_index / shape.padded_dim * shape.plane.dim +
         padded_index % shape.padded_dim;
}

uint32_t PaddedIndexOf(const NuqShape& shape, uint32_t channel) {
  return channel / shape.plane.dim * shape.padded_dim +
         channel % shape.plane.dim;
}

// An element's bits are those of a number.
template <ElementType kType>
bool IsFiniteElement(uint16_t bits) {
  constexpr uint16_t kExponent = kType == ElementType::kFp16 ? 0x7C00 : 0x7F80;
  return (bits & kExponent) != kExponent;
}

// Slots in rising order of channels: channels, then elements.
template <ElementType kType>
bool WriteSlots(const NuqShape& shape, const float* x, uint32_t* kept,
                uint32_t count, std::byte* to) {
  const uint32_t slots = 2 * shape.SlotsASide();
  std::sort(kept, kept + count);
  std::byte* const elements = to + size_t{2} * slots;
  const OneFloat one;
  for (uint32_t i = 0; i < slots; ++i) {
    const bool is_used = i < count;
    StoreLe16(
        is_used ? static_cast<uint16_t>(ChannelOf(shape, kept[i])) : kEmpty,
        to + size_t{2} * i);
    std::byte* const element = elements + size_t{2} * i;
    StoreLe16(0, element);
    if (!is_used) continue;
    StoreElements<kType>(one, hn::Set(one, x[kept[i]]), element);
    if (!IsFiniteElement<kType>(LoadLe16(element))) return false;
  }
  return true;
}

// Puts what slots keep into x.
template <ElementType kType>
bool ReadSlots(const NuqShape& shape, const std::byte* from, float* x) {
  const uint32_t slots = 2 * shape.SlotsASide();
  const std::byte* const elements = from + size_t{2} * slots;
  const OneFloat one;
  int64_t last = -1;
  for (uint32_t i = 0; i < slots; ++i) {
    const uint16_t channel = LoadLe16(from + size_t{2} * i);
    const uint16_t element = LoadLe16(elements + size_t{2} * i);
    if (channel == kEmpty) {
      // Only ranges of channels may have nothing beyond them.
      if (shape.axis == Axis::kDim || element != 0) return false;
    } else if (channel >= shape.width() || channel <= last ||
               !IsFiniteElement<kType>(element)) {
      return false;
    } else {
      x[PaddedIndexOf(shape, channel)] =
          hn::GetLane(LoadElements<kType>(one, elements + size_t{2} * i));
    }
    last = channel;
  }
  return true;
}

// ---- Tokens ----

// The scratch of a token.
struct Token {
  float* x;           // [head, padded_dim]
  float* normalised;  // The same.
  uint32_t* kept;     // Slots, and one more a side.
  uint8_t* codes;     // Of one head.

  Token(const NuqShape& shape, float* scratch)
      : x(scratch),
        normalised(x + shape.padded_width()),
        kept(reinterpret_cast<uint32_t*>(normalised + shape.padded_width())),
        codes(reinterpret_cast<uint8_t*>(kept + 2 * shape.SlotsASide() + 2)) {}
};

template <int kBits, class Of>
void EncodeRow(const NuqShape& shape, const Token& token, uint32_t head,
               const Of& of, std::byte* to) {
  float* const row = token.normalised + size_t{head} * shape.padded_dim;
  Normalise(token.x + size_t{head} * shape.padded_dim, shape.padded_dim, of,
            row);
  CodesOf<kBits>(row, shape.padded_dim, shape.thresholds.data(), token.codes);
  std::memset(token.codes + shape.plane.dim, 0, kCodePadding);
  PackRow<kBits>(token.codes, shape.plane.dim, to);
}

ByChannel ChannelsOf(const NuqShape& shape, const float* inverses,
                     uint32_t head) {
  const size_t at = size_t{head} * shape.padded_dim;
  return {shape.centres.data() + at, inverses + at};
}

// Codes by the ranges of channels; what is beyond them is kept.
template <ElementType kType, int kBits>
bool EncodeByChannel(const NuqShape& shape, const Token& token,
                     std::byte* unit) {
  std::byte* const codes = unit + shape.SlotBytes();
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    EncodeRow<kBits>(shape, token, head,
                     ChannelsOf(shape, shape.inverses.data(), head),
                     codes + head * shape.RowBytes());
  }
  const uint32_t slots = shape.SlotsASide();
  if (slots == 0) return true;
  Extremes<1> largest(slots, 1, token.normalised, token.kept);
  Extremes<-1> smallest(slots, -1, token.normalised, token.kept + slots);
  FindExtremes(shape, largest, smallest);
  std::copy_n(token.kept + slots, smallest.size(), token.kept + largest.size());
  return WriteSlots<kType>(shape, token.x, token.kept,
                           largest.size() + smallest.size(), unit);
}

// Keeps the extremes; codes by the range of the others.
template <ElementType kType, int kBits>
bool EncodeByToken(const NuqShape& shape, const Token& token, std::byte* unit) {
  const uint32_t slots = shape.SlotsASide();
  uint32_t* const small = token.kept + slots + 1;
  Extremes<1> largest(slots + 1, -INFINITY, token.x, token.kept);
  Extremes<-1> smallest(slots + 1, INFINITY, token.x, small);
  FindExtremes(shape, largest, smallest);
  const float high = token.x[largest[slots]];
  const float low = token.x[smallest[slots]];
  const float centre = (high + low) * 0.5f;
  const float scale = (high - low) * 0.5f;
  if (!(std::fabs(centre) <= 65504 && scale <= 65504)) return false;
  StoreLe16(HalfBits(centre), unit);
  StoreLe16(HalfBits(scale), unit + 2);
  const float stored = HalfValue(HalfBits(scale));
  const ByToken range{HalfValue(HalfBits(centre)), stored > 0 ? 1 / stored : 0};
  std::byte* const codes = unit + shape.RangeBytes() + shape.SlotBytes();
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    EncodeRow<kBits>(shape, token, head, range,
                     codes + head * shape.RowBytes());
  }
  std::copy_n(small, slots, token.kept + slots);
  return WriteSlots<kType>(shape, token.x, token.kept, 2 * slots,
                           unit + shape.RangeBytes());
}

template <ElementType kType, int kBits>
bool DecodeToken(const NuqShape& shape, const std::byte* unit, uint32_t index,
                 const RopeTable* rope, float* scratch,
                 const PlaneTarget& plane) {
  const Token token(shape, scratch);
  const std::byte* const slots = unit + shape.RangeBytes();
  const std::byte* codes = slots + shape.SlotBytes();
  ByToken range{0, 0};
  if (shape.axis == Axis::kDim) {
    range = {HalfValue(LoadLe16(unit)), HalfValue(LoadLe16(unit + 2))};
    // False for NaN.
    if (!(std::fabs(range.of_centre) <= 65504 && range.of_inverse >= 0 &&
          range.of_inverse <= 65504)) {
      return false;
    }
  }
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    float* const row = token.x + size_t{head} * shape.padded_dim;
    UnpackRow<kBits>(codes, shape.plane.dim, token.codes);
    std::memset(token.codes + shape.plane.dim, 0, kCodePadding);
    if (shape.axis == Axis::kDim) {
      Restore(token.codes, shape.padded_dim, shape.levels.data(), range, row);
    } else {
      Restore(token.codes, shape.padded_dim, shape.levels.data(),
              ChannelsOf(shape, shape.scales.data(), head), row);
    }
    codes += shape.RowBytes();
  }
  if (!ReadSlots<kType>(shape, slots, token.x)) return false;
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    float* const row = token.x + size_t{head} * shape.padded_dim;
    if (rope != nullptr) RotateRow(*rope, index, row);
    StoreDecodedRow<kType>(row, shape.plane.dim, plane.Row(index, head));
  }
  return true;
}

template <ElementType kType, int kBits>
bool EncodeToken(const NuqShape& shape, const PlaneSource& plane,
                 uint32_t index, const RopeTable* rope, float* scratch,
                 std::byte* unit) {
  const Token token(shape, scratch);
  LoadToken<kType>(shape.plane, shape.padded_dim, plane, index, rope, token.x);
  if (!AreWithin(FLT_MAX, token.x, shape.padded_width())) return false;
  return shape.axis == Axis::kDim
             ? EncodeByToken<kType, kBits>(shape, token, unit)
             : EncodeByChannel<kType, kBits>(shape, token, unit);
}

bool EncodeNuqTokenHere(const NuqShape& shape, const PlaneSource& plane,
                        uint32_t token, const RopeTable* rope, float* scratch,
                        std::byte* unit) {
  return WithTypeAndBits(shape.plane.type, shape.bits,
                         [&](auto type, auto bits) BANYAN_INLINE_LAMBDA {
                           return EncodeToken<type(), bits()>(
                               shape, plane, token, rope, scratch, unit);
                         });
}

bool DecodeNuqTokenHere(const NuqShape& shape, const std::byte* unit,
                        uint32_t token, const RopeTable* rope, float* scratch,
                        const PlaneTarget& plane) {
  return WithTypeAndBits(shape.plane.type, shape.bits,
                         [&](auto type, auto bits) BANYAN_INLINE_LAMBDA {
                           return DecodeToken<type(), bits()>(
                               shape, unit, token, rope, scratch, plane);
                         });
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {
namespace {

// Every row of channels behind zeros, for each channel value(channel).
template <typename Value>
std::vector<float> Padded(const NuqShape& shape, const Value& value) {
  std::vector<float> padded(shape.padded_width());
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    for (uint32_t i = 0; i < shape.plane.dim; ++i) {
      padded[size_t{head} * shape.padded_dim + i] =
          value(size_t{head} * shape.plane.dim + i);
    }
  }
  return padded;
}

}  // namespace

NuqShape::NuqShape(const PlaneSpec& spec, const PlaneShape& plane_shape,
                   const NuqTables& tables)
    : plane(plane_shape),
      bits(spec.bits),
      axis(spec.axis),
      is_dense(spec.is_dense),
      padded_dim(static_cast<uint32_t>(RoundUp(plane.dim, 16))) {
  for (size_t i = 0; i + 1 < tables.levels.size(); ++i) {
    thresholds.push_back((tables.levels[i] + tables.levels[i + 1]) * 0.5f);
  }
  for (const float level : tables.levels) {
    levels.push_back(spec.has_q_norm
                         ? level * tables.norm_scale + tables.norm_shift
                         : level);
  }
  levels.resize(16);
  if (axis == Axis::kDim) return;
  centres = Padded(*this, [&](size_t i) {
    return (tables.upper[i] + tables.lower[i]) * 0.5f;
  });
  scales = Padded(*this, [&](size_t i) {
    return (tables.upper[i] - tables.lower[i]) * 0.5f;
  });
  inverses = Padded(*this, [&](size_t i) {
    return 1 / ((tables.upper[i] - tables.lower[i]) * 0.5f);
  });
}

uint64_t NuqShape::ScratchFloats() const {
  return uint64_t{2} * padded_width() + 2 * SlotsASide() + 2 +
         (padded_dim + 2 * kCodePadding) / 4;
}

HWY_EXPORT(EncodeNuqTokenHere);
HWY_EXPORT(DecodeNuqTokenHere);

bool EncodeNuqToken(const NuqShape& shape, const PlaneSource& plane,
                    uint32_t token, const RopeTable* rope, float* scratch,
                    std::byte* unit) {
  return HWY_DYNAMIC_DISPATCH(EncodeNuqTokenHere)(shape, plane, token, rope,
                                                  scratch, unit);
}

bool DecodeNuqToken(const NuqShape& shape, const std::byte* unit,
                    uint32_t token, const RopeTable* rope, float* scratch,
                    const PlaneTarget& plane) {
  return HWY_DYNAMIC_DISPATCH(DecodeNuqTokenHere)(shape, unit, token, rope,
                                                  scratch, plane);
}

}  // namespace banyan::codec
#endif
