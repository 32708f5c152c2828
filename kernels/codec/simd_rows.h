// Rows as floats, with their rotary embedding on or off, sums over them, and
// runs of codes in bytes. Included once for each target of Highway.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

// Highway flips its toggle for each target.
#if defined(BANYAN_KERNELS_SIMD_ROWS) == defined(HWY_TARGET_TOGGLE)
#ifdef BANYAN_KERNELS_SIMD_ROWS
#undef BANYAN_KERNELS_SIMD_ROWS
#else
#define BANYAN_KERNELS_SIMD_ROWS
#endif

#include "kernels/codec/simd_elements.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

using Floats = hn::CappedTag<float, 16>;
using OneFloat = hn::CappedTag<float, 1>;
using Codes = hn::CappedTag<uint8_t, 64>;
using SomeCodes = hn::CappedTag<uint8_t, 16>;
using OneCode = hn::CappedTag<uint8_t, 1>;

// Calls run with the element type, fp16 or bf16, and the bits of a code, 2 to 4,
// as constants.
template <class Run>
HWY_INLINE bool WithTypeAndBits(ElementType type, uint32_t bits,
                                const Run& run) {
  const auto with_type = [&](auto constant) BANYAN_INLINE_LAMBDA {
    switch (bits) {
      case 2:
        return run(constant, std::integral_constant<int, 2>());
      case 3:
        return run(constant, std::integral_constant<int, 3>());
      default:
        return run(constant, std::integral_constant<int, 4>());
    }
  };
  if (type == ElementType::kFp16) {
    return with_type(std::integral_constant<ElementType, ElementType::kFp16>());
  }
  return with_type(std::integral_constant<ElementType, ElementType::kBf16>());
}

// ---- Rows as floats ----

template <ElementType kType>
void LoadRow(const std::byte* from, uint32_t dim, uint32_t padded_dim,
             float* to) {
  const Floats d;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  uint32_t at = 0;
  for (; at + lanes <= dim; at += lanes) {
    hn::StoreU(LoadElements<kType>(d, from + size_t{2} * at), d, to + at);
  }
  const OneFloat one;
  for (; at < dim; ++at) {
    hn::StoreU(LoadElements<kType>(one, from + size_t{2} * at), one, to + at);
  }
  for (; at < padded_dim; ++at) to[at] = 0;
}

template <ElementType kType>
void StoreRow(const float* from, uint32_t dim, std::byte* to) {
  const Floats d;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  uint32_t at = 0;
  for (; at + lanes <= dim; at += lanes) {
    StoreElements<kType>(d, hn::LoadU(d, from + at), to + size_t{2} * at);
  }
  const OneFloat one;
  for (; at < dim; ++at) {
    StoreElements<kType>(one, hn::LoadU(one, from + at), to + size_t{2} * at);
  }
}

// The same, cut to what fp16 holds.
template <ElementType kType>
void StoreDecodedRow(float* row, uint32_t dim, std::byte* to) {
  if constexpr (kType == ElementType::kFp16) {
    const auto cut = [row](auto d, uint32_t at) BANYAN_INLINE_LAMBDA {
      const auto most = hn::Set(d, 65504.0f);
      const auto x = hn::LoadU(d, row + at);
      hn::StoreU(hn::Max(hn::Min(x, most), hn::Neg(most)), d, row + at);
    };
    const Floats d;
    const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
    uint32_t at = 0;
    for (; at + lanes <= dim; at += lanes) cut(d, at);
    for (; at < dim; ++at) cut(OneFloat(), at);  // Another row may follow.
  }
  StoreRow<kType>(row, dim, to);
}

template <class D>
HWY_INLINE void RotatePairs(D d, hn::Vec<D>& a, hn::Vec<D>& b,
                            const float* cosines, const float* sines) {
  const auto c = hn::LoadU(d, cosines);
  const auto s = hn::LoadU(d, sines);
  const auto first = hn::Sub(hn::Mul(a, c), hn::Mul(b, s));
  b = hn::Add(hn::Mul(b, c), hn::Mul(a, s));
  a = first;
}

template <class D>
HWY_INLINE void RotateSome(D d, const RopeTable& rope, const float* cosines,
                           const float* sines, uint32_t pair, float* row) {
  if (rope.order == RopePairs::kHalves) {
    auto a = hn::LoadU(d, row + pair);
    auto b = hn::LoadU(d, row + rope.pairs + pair);
    RotatePairs(d, a, b, cosines + pair, sines + pair);
    hn::StoreU(a, d, row + pair);
    hn::StoreU(b, d, row + rope.pairs + pair);
  } else {
    hn::Vec<D> a;
    hn::Vec<D> b;
    hn::LoadInterleaved2(d, row + size_t{2} * pair, a, b);
    RotatePairs(d, a, b, cosines + pair, sines + pair);
    hn::StoreInterleaved2(a, b, d, row + size_t{2} * pair);
  }
}

inline void RotateRow(const RopeTable& rope, uint32_t token, float* row) {
  const float* const cosines = rope.cosines.data() + size_t{token} * rope.pairs;
  const float* const sines = rope.sines.data() + size_t{token} * rope.pairs;
  const Floats d;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  uint32_t pair = 0;
  for (; pair + lanes <= rope.pairs; pair += lanes) {
    RotateSome(d, rope, cosines, sines, pair, row);
  }
  for (; pair < rope.pairs; ++pair) {
    RotateSome(OneFloat(), rope, cosines, sines, pair, row);
  }
}

// Whether none is a NaN, or larger than `most`. Reads whole vectors.
inline bool AreWithin(float most, const float* x, uint32_t count) {
  const Floats d;
  bool is_good = true;
  for (uint32_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto v = hn::Abs(hn::LoadU(d, x + i));
    is_good &= hn::AllTrue(d, hn::Le(v, hn::Set(d, most)));  // False for NaN.
  }
  return is_good;
}

// ---- Sums ----

// Lanes of a block of 16, whatever the width: so sums have one order.
struct BlockSum {
  static constexpr size_t kVectors = 16 / HWY_MAX(hn::MaxLanes(Floats()), 1);
  hn::Vec<Floats> sums[kVectors];

  HWY_INLINE BlockSum() {
    for (auto& sum : sums) sum = hn::Zero(Floats());
  }

  // `i`-th vector of a block.
  HWY_INLINE void Add(size_t i, hn::Vec<Floats> v) {
    sums[i] = hn::Add(sums[i], v);
  }

  HWY_INLINE void AddSquares(const float* x) {
    const Floats d;
    for (size_t i = 0; i < kVectors; ++i) {
      const auto v = hn::LoadU(d, x + i * hn::Lanes(d));
      Add(i, hn::Mul(v, v));
    }
  }

  HWY_INLINE float Total() const {
    const Floats d;
    HWY_ALIGN float lanes[16];
    for (size_t i = 0; i < kVectors; ++i) {
      hn::Store(sums[i], d, lanes + i * hn::Lanes(d));
    }
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    return lanes[0];
  }
};

// ---- Packing ----

// Calls step(tag, byte) for the bytes of a run, in vectors as far as they go.
template <class Step>
HWY_INLINE void ForEachStep(uint32_t bytes, const Step& step) {
  const auto steps = [&](auto d, uint32_t at) BANYAN_INLINE_LAMBDA {
    const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
    for (; at + lanes <= bytes; at += lanes) step(d, at);
    return at;
  };
  steps(OneCode(), steps(SomeCodes(), steps(Codes(), 0)));
}

// Element e of a run lies in byte e % stride, at bit kBits * (e / stride).
// Reads whole vectors of codes, beyond `dim` too.
template <int kBits>
void PackField(const uint8_t* codes, uint32_t dim, int shift, uint8_t* to) {
  constexpr uint32_t kFields = 8 / kBits;
  const uint32_t stride = (dim + kFields - 1) / kFields;
  const auto pack = [&](auto d, uint32_t at) BANYAN_INLINE_LAMBDA {
    const auto mask = hn::Set(d, static_cast<uint8_t>((1 << kBits) - 1));
    auto byte = hn::Zero(d);
    for (uint32_t field = 0; field < kFields; ++field) {
      const auto code = hn::LoadU(d, codes + at + field * stride);
      const auto low =
          hn::And(shift == 0 ? code : hn::ShiftRight<2>(code), mask);
      switch (field * kBits) {
        case 0:
          byte = low;
          break;
        case 1:
          byte = hn::Or(byte, hn::ShiftLeft<1>(low));
          break;
        case 2:
          byte = hn::Or(byte, hn::ShiftLeft<2>(low));
          break;
        case 3:
          byte = hn::Or(byte, hn::ShiftLeft<3>(low));
          break;
        case 4:
          byte = hn::Or(byte, hn::ShiftLeft<4>(low));
          break;
        case 5:
          byte = hn::Or(byte, hn::ShiftLeft<5>(low));
          break;
        case 6:
          byte = hn::Or(byte, hn::ShiftLeft<6>(low));
          break;
        default:
          byte = hn::Or(byte, hn::ShiftLeft<7>(low));
          break;
      }
    }
    hn::StoreU(byte, d, to + at);
  };
  ForEachStep(stride, pack);
}

// The reverse, added to what the codes are. Writes codes beyond `dim` too.
template <int kBits>
void UnpackField(const uint8_t* from, uint32_t dim, int shift, uint8_t* codes) {
  constexpr uint32_t kFields = 8 / kBits;
  const uint32_t stride = (dim + kFields - 1) / kFields;
  const auto unpack = [&](auto d, uint32_t at) BANYAN_INLINE_LAMBDA {
    const auto mask = hn::Set(d, static_cast<uint8_t>((1 << kBits) - 1));
    const auto byte = hn::LoadU(d, from + at);
    for (uint32_t field = 0; field < kFields; ++field) {
      auto code = byte;
      switch (field * kBits) {
        case 0:
          break;
        case 1:
          code = hn::ShiftRight<1>(byte);
          break;
        case 2:
          code = hn::ShiftRight<2>(byte);
          break;
        case 3:
          code = hn::ShiftRight<3>(byte);
          break;
        case 4:
          code = hn::ShiftRight<4>(byte);
          break;
        case 5:
          code = hn::ShiftRight<5>(byte);
          break;
        case 6:
          code = hn::ShiftRight<6>(byte);
          break;
        default:
          code = hn::ShiftRight<7>(byte);
          break;
      }
      code = hn::And(code, mask);
      uint8_t* const to = codes + at + field * stride;
      if (shift != 0) {
        code = hn::Or(hn::LoadU(d, to), hn::ShiftLeft<2>(code));
      }
      hn::StoreU(code, d, to);
    }
  };
  ForEachStep(stride, unpack);
}

template <int kBits>
void PackRow(const uint8_t* codes, uint32_t dim, std::byte* to) {
  auto* const out = reinterpret_cast<uint8_t*>(to);
  if constexpr (kBits == 3) {
    PackField<2>(codes, dim, 0, out);
    PackField<1>(codes, dim, 2, out + (dim + 3) / 4);
  } else {
    PackField<kBits>(codes, dim, 0, out);
  }
}

template <int kBits>
void UnpackRow(const std::byte* from, uint32_t dim, uint8_t* codes) {
  const auto* const in = reinterpret_cast<const uint8_t*>(from);
  if constexpr (kBits == 3) {
    UnpackField<2>(in, dim, 0, codes);
    UnpackField<1>(in + (dim + 3) / 4, dim, 2, codes);
  } else {
    UnpackField<kBits>(in, dim, 0, codes);
  }
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
