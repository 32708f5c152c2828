// Hadamard transforms, unnormalised and in place, of powers of two. Level by
// level, distances 1, 2, 4, ...: a pair (a, b) becomes (a + b, a - b). Included
// once for each target of Highway.
//
// Domain: int16_t sums must fit; floats are rounded the same on every target.
#include "hwy/highway.h"

// Highway flips its toggle for each target.
#if defined(BANYAN_KERNELS_SIMD_HADAMARD) == defined(HWY_TARGET_TOGGLE)
#ifdef BANYAN_KERNELS_SIMD_HADAMARD
#undef BANYAN_KERNELS_SIMD_HADAMARD
#else
#define BANYAN_KERNELS_SIMD_HADAMARD
#endif

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Lanes change places with those kBytes away. Unqualified calls: a target with
// one lane has no such functions.
template <int kBytes, class D>
HWY_INLINE hn::Vec<D> SwapLanes(D d, hn::Vec<D> v) {
  const hn::Repartition<uint32_t, D> d32;
  if constexpr (kBytes == 2) {
    return Reverse2(d, v);
  } else if constexpr (kBytes == 4) {
    return BitCast(d, Shuffle2301(BitCast(d32, v)));
  } else if constexpr (kBytes == 8) {
    return BitCast(d, Shuffle1032(BitCast(d32, v)));
  } else if constexpr (kBytes == 16) {
    return SwapAdjacentBlocks(v);
  } else {
    static_assert(kBytes == 32);
    return ConcatLowerUpper(d, v, v);
  }
}

// The levels of distances kDistance, 2 kDistance, ... inside one vector.
template <int kDistance, class D>
HWY_INLINE hn::Vec<D> LevelsInVector(D d, hn::Vec<D> v) {
  using T = hn::TFromD<D>;
  if constexpr (kDistance >= static_cast<int>(hn::MaxLanes(D()))) {
    (void)d;
    return v;
  } else {
    const hn::RebindToSigned<D> di;
    const auto bit =
        hn::Set(di, static_cast<hn::TFromD<decltype(di)>>(kDistance));
    const auto is_second = hn::Ne(hn::And(hn::Iota(di, 0), bit), hn::Zero(di));
    const auto swapped = SwapLanes<kDistance * sizeof(T)>(d, v);
    const auto sum = hn::IfThenElse(hn::RebindMask(d, is_second),
                                    hn::Sub(swapped, v), hn::Add(swapped, v));
    return LevelsInVector<2 * kDistance>(d, sum);
  }
}

// So many vectors, all of them in registers.
template <int kVectors, class D, typename T>
HWY_INLINE void HadamardInRegisters(D d, T* x) {
  const size_t lanes = hn::Lanes(d);
  hn::Vec<D> v[kVectors];
  for (int i = 0; i < kVectors; ++i) {
    v[i] = LevelsInVector<1>(d, hn::LoadU(d, x + i * lanes));
  }
  for (int distance = 1; distance < kVectors; distance *= 2) {
    for (int i = 0; i < kVectors; ++i) {
      if (i & distance) continue;
      const auto a = v[i];
      const auto b = v[i + distance];
      v[i] = hn::Add(a, b);
      v[i + distance] = hn::Sub(a, b);
    }
  }
  for (int i = 0; i < kVectors; ++i) hn::StoreU(v[i], d, x + i * lanes);
}

template <class D, typename T>
HWY_INLINE void HadamardVectors(D d, T* x, size_t count) {
  constexpr size_t kChunk = 8;  // Vectors that are handled in registers.
  const size_t lanes = hn::Lanes(d);
  switch (count / lanes) {
    case 1:
      return HadamardInRegisters<1>(d, x);
    case 2:
      return HadamardInRegisters<2>(d, x);
    case 4:
      return HadamardInRegisters<4>(d, x);
    default:
      break;
  }
  for (size_t i = 0; i < count; i += kChunk * lanes) {
    HadamardInRegisters<kChunk>(d, x + i);
  }
  for (size_t distance = kChunk * lanes; distance < count; distance *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * distance) {
      for (size_t i = begin; i < begin + distance; i += lanes) {
        const auto a = hn::LoadU(d, x + i);
        const auto b = hn::LoadU(d, x + i + distance);
        hn::StoreU(hn::Add(a, b), d, x + i);
        hn::StoreU(hn::Sub(a, b), d, x + i + distance);
      }
    }
  }
}

// Requires: count is a power of two.
template <typename T>
void Hadamard(T* x, size_t count) {
  const hn::ScalableTag<T> wide;
  if (count >= hn::Lanes(wide)) return HadamardVectors(wide, x, count);
  HadamardVectors(hn::CappedTag<T, 1>(), x, count);
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
