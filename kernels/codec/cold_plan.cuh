// How many factors a cold unit gets, and about which step: the search starts from
// there. As ColdUnits::BestRank and StepFor have it, and AllocateBits.
// Format: docs/formats/codec_cold.md.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_encode.cuh"

namespace banyan::codec {

inline constexpr uint32_t kColdAllocatedMax = 32;  // Bits of a channel.

struct ColdPlanShared {
  ColdEncodeUnit unit;
  float rows[kColdUnitTokensMax];  // Squares, less what factors take.
  float sums[kColdUnitTokensMax][8];
  double lefts[32];
  double log_of_rows;
  uint32_t of_warps[kColdThreads / 32];
  uint32_t rank;
  int exponent;
};

// ---- Numbers of all threads; they are all here ----

__device__ __forceinline__ uint32_t SumOfThreads(uint32_t x,
                                                 ColdPlanShared& s) {
  static_assert(kColdThreads == 64);
  const uint32_t sum = __reduce_add_sync(~0u, x);
  if (threadIdx.x % 32 == 0) s.of_warps[threadIdx.x / 32] = sum;
  __syncthreads();
  const uint32_t all = s.of_warps[0] + s.of_warps[1];
  __syncthreads();
  return all;
}
__device__ __forceinline__ uint32_t LargestOfThreads(uint32_t x,
                                                     ColdPlanShared& s) {
  const uint32_t largest = __reduce_max_sync(~0u, x);
  if (threadIdx.x % 32 == 0) s.of_warps[threadIdx.x / 32] = largest;
  __syncthreads();
  const uint32_t all = LargerOf(s.of_warps[0], s.of_warps[1]);
  __syncthreads();
  return all;
}

// ---- Bits of channels ----

// Variances as whole numbers in the same order, a quarter of one being kQuarter
// less; 0 for none.
inline constexpr uint32_t kColdQuarter = 2u << 23;
__device__ __forceinline__ uint32_t ColdKeyOf(float variance) {
  if (!(variance > 0)) return 0;
  constexpr uint32_t kExponents = 800;  // No float's 32nd quarter is as small.
  const auto x = static_cast<double>(variance);
  const auto high = static_cast<uint32_t>(__double2hiint(x));
  const auto low = static_cast<uint32_t>(__double2loint(x));
  return (high - (kExponents << 20)) << 3 | low >> 29;
}

// How often a channel may be quartered until it is below `least`.
__device__ __forceinline__ uint32_t BitsDownTo(uint32_t key, uint32_t least) {
  return key < least
             ? 0
             : SmallerOf((key - least) / kColdQuarter + 1, kColdAllocatedMax);
}

// How many bits channels take with which they are below `least`.
__device__ __forceinline__ uint32_t AllBitsDownTo(const float* variances,
                                                  uint32_t width,
                                                  uint32_t least,
                                                  ColdPlanShared& s) {
  uint32_t bits = 0;
#pragma unroll 1
  for (uint32_t c = threadIdx.x; c < width; c += kColdThreads) {
    bits += BitsDownTo(ColdKeyOf(variances[c]), least);
  }
  return SumOfThreads(bits, s);
}

// Where bits end when each goes where most is left: all that are `least` or more
// are quartered once more, but of those that are `least` only some of the first.
struct ColdBar {
  uint32_t least;
  uint32_t equals;  // How many of them.
  uint32_t end;     // None of them from this channel on.
};

__device__ __forceinline__ ColdBar FindColdBar(const float* variances,
                                               uint32_t width, uint32_t budget,
                                               ColdPlanShared& s) {
  uint32_t largest = 0;
#pragma unroll 1
  for (uint32_t c = threadIdx.x; c < width; c += kColdThreads) {
    largest = LargerOf(largest, ColdKeyOf(variances[c]));
  }
  largest = LargestOfThreads(largest, s);
  if (largest == 0 || budget == 0) return {~0u, 0, 0};
  // Nothing is given away once the largest has all that it may have.
  const uint32_t last = largest - kColdAllocatedMax * kColdQuarter;
  const uint32_t above = AllBitsDownTo(variances, width, last + 1, s);
  if (above < budget) {
    uint32_t before = ~0u;  // The first of the largest.
#pragma unroll 1
    for (uint32_t c = threadIdx.x; c < width; c += kColdThreads) {
      if (ColdKeyOf(variances[c]) == largest) before = SmallerOf(before, c);
    }
    before = ~LargestOfThreads(~before, s);
    return {last, budget - above, before};
  }
  uint32_t low = last + 1;  // Takes the budget, or more.
  uint32_t high = largest + 1;
#pragma unroll 1
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const bool takes_all = AllBitsDownTo(variances, width, middle, s) >= budget;
    (takes_all ? low : high) = middle;
  }
  return {low, budget - AllBitsDownTo(variances, width, low + 1, s), width};
}

// The sum of what bits leave, in the order of channels, by the first warp. The
// first lane has it.
__device__ __forceinline__ double SumOfLefts(const float* variances,
                                             uint32_t width, const ColdBar& bar,
                                             ColdPlanShared& s) {
  const uint32_t lane = threadIdx.x;
  uint32_t equals = bar.equals;
  double sum = 0;
#pragma unroll 1
  for (uint32_t first = 0; first < width; first += 32) {
    const uint32_t c = first + lane;
    const float variance = c < width ? variances[c] : 0;
    const uint32_t key = ColdKeyOf(variance);
    uint32_t bits = key == 0 ? 0 : BitsDownTo(key, bar.least);
    // The last of them is where it is `least`.
    const bool is_equal =
        bits > 0 && key - bar.least == (bits - 1) * kColdQuarter;
    const uint32_t votes = __ballot_sync(~0u, is_equal && c < bar.end);
    const uint32_t before = __popc(votes & ((1u << lane) - 1));
    if (is_equal && (c >= bar.end || before >= equals)) --bits;
    equals -= SmallerOf(equals, __popc(votes));
    s.lefts[lane] = QuarteredOf(variance, bits);
    __syncwarp();
    if (lane == 0) {
      const uint32_t count = SmallerOf(32, width - first);
#pragma unroll 1
      for (uint32_t i = 0; i < count; ++i) sum += s.lefts[i];
    }
    __syncwarp();
  }
  return sum;
}

// ---- The step ----

// The least exponent whose step is no less than x, by the first warp. Lane 0 has x.
__device__ __forceinline__ int ColdExponentOf(const ColdBatch& b, double x) {
  const int high = __shfl_sync(~0u, __double2hiint(x), 0);
  const int low = __shfl_sync(~0u, __double2loint(x), 0);
  const double mantissa = __hiloint2double((high & 0xFFFFF) | 0x3FF00000, low);
  const float* const part = ColdTableOf(b) + kColdPartsAt + 2 * threadIdx.x;
  const bool is_less =
      __hiloint2double(static_cast<int>(BitsOfFloat(part[1])),
                       static_cast<int>(BitsOfFloat(part[0]))) < mantissa;
  const int parts = __popc(__ballot_sync(~0u, is_less));
  const int exponent =
      static_cast<int>(kColdOctaveSteps) * ((high >> 20) - 1023) + parts;
  if (exponent < kColdExponentMin) return kColdExponentMin;
  return exponent > kColdExponentMax ? kColdExponentMax : exponent;
}

// About the step with which so many factors and what they leave fit.
__device__ __forceinline__ int ColdStepFor(const ColdBatch& b, uint32_t rank,
                                           ColdPlanShared& s) {
  const ColdEncodeUnit& u = s.unit;
  float* const variances = FloatsAt(b, u.column_levels);
#pragma unroll 1
  for (uint32_t c = threadIdx.x; c < b.width; c += kColdThreads) {
    float variance = FloatsAt(b, u.column_squares)[c];
#pragma unroll 1
    for (uint32_t k = 0; k < rank; ++k) {
      const float x = FloatsAt(b, u.columns)[uint64_t{k} * b.width + c];
      variance = PositiveOf(variance - x * x);
    }
    variances[c] = variance / static_cast<float>(u.tokens);
  }
  __syncthreads();
  const uint64_t factors = uint64_t{4} * rank * (u.tokens + uint64_t{b.width});
  const uint64_t bits = uint64_t{8} * u.bytes;
  const auto budget =
      bits > factors ? static_cast<uint32_t>((bits - factors) / u.tokens) : 0;
  const ColdBar bar = FindColdBar(variances, b.width, budget, s);
  if (threadIdx.x < 32) {
    const double left = SumOfLefts(variances, b.width, bar, s);
    const int exponent =
        ColdExponentOf(b, __dsqrt_rn(12 * left / static_cast<double>(b.width)));
    if (threadIdx.x == 0) s.exponent = left > 0 ? exponent : kColdExponentMin;
  }
  __syncthreads();
  return s.exponent;
}

// ---- Factors ----

// Sets all that is left of squares before there are factors.
__device__ __forceinline__ void FillColdSquares(const ColdBatch& b,
                                                ColdPlanShared& s) {
  const ColdEncodeUnit& u = s.unit;
  const float* const rows = FloatsAt(b, u.coefficients) + b.width;
#pragma unroll 1
  for (uint32_t c = threadIdx.x; c < b.width; c += kColdThreads) {
    float sum = 0;
#pragma unroll 4
    for (uint32_t f = 0; f < u.freqs; ++f) {
      const float x = rows[uint64_t{f} * b.width + c];
      sum += x * x;
    }
    FloatsAt(b, u.column_squares)[c] = sum;
  }
#pragma unroll 1
  for (uint32_t first = 0; first < u.freqs; first += kColdThreads / 8) {
    const uint32_t f = first + threadIdx.x / 8;
    const float squares =
        ColdSquares(rows + uint64_t{f} * b.width, f < u.freqs ? b.width : 0);
    if (f < u.freqs && threadIdx.x % 8 == 0)
      FloatsAt(b, u.row_squares)[f] = squares;
  }
  __syncthreads();
}

// About the bits of what is left, behind those of the factors. Thread 0 has them.
__device__ __forceinline__ double ColdBitsOf(const ColdBatch& b, double factors,
                                             double least, ColdPlanShared& s) {
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x == 0) {
    double energy = 0;
#pragma unroll 1
    for (uint32_t f = 0; f < u.freqs; ++f) energy += s.rows[f];
    s.log_of_rows = ColdLog2(energy);
  }
#pragma unroll 1
  for (uint32_t c = threadIdx.x; c < b.width; c += kColdThreads) {
    FloatsAt(b, u.numbers)[c] =
        static_cast<float>(ColdLog2(FloatsAt(b, u.column_levels)[c]));
  }
  __syncthreads();
#pragma unroll 1
  for (uint32_t f = threadIdx.x / 8; f < u.freqs; f += kColdThreads / 8) {
    const auto row =
        static_cast<float>(ColdLog2(s.rows[f]) - s.log_of_rows - least);
    float sum = 0;
#pragma unroll 4
    for (uint32_t c = threadIdx.x % 8; c < b.width; c += 8) {
      sum += PositiveOf(FloatsAt(b, u.numbers)[c] + row);
    }
    s.sums[f][threadIdx.x % 8] = sum;
  }
  __syncthreads();
  double bits = factors;
  if (threadIdx.x != 0) return bits;
#pragma unroll 1
  for (uint32_t i = 0; i < 8 * u.freqs; ++i) bits += s.sums[i / 8][i % 8];
  return bits;
}

__device__ __forceinline__ double TwiceColdBits(float variance, double least) {
  const double twice = ColdLog2(variance) - least;
  return twice < 0 ? 0 : twice;
}

// The number of factors with the least bits.
__device__ __forceinline__ uint32_t BestColdRank(const ColdBatch& b, float step,
                                                 ColdPlanShared& s) {
  const ColdEncodeUnit& u = s.unit;
  const double least = 2 * ColdLog2(step) - ColdLog2(12);
  for (uint32_t c = threadIdx.x; c < b.width; c += kColdThreads) {
    FloatsAt(b, u.column_levels)[c] = FloatsAt(b, u.column_squares)[c];
  }
  for (uint32_t f = threadIdx.x; f < u.freqs; f += kColdThreads) {
    s.rows[f] = FloatsAt(b, u.row_squares)[f];
  }
  __syncthreads();
  double factors = 0;
  double best = 0;
  uint32_t best_rank = 0;
#pragma unroll 1
  for (uint32_t rank = 0;; ++rank) {
    if (rank < 4 || rank % (rank < 16 ? 2 : 4) == 0) {
      const double bits = ColdBitsOf(b, factors, least, s);
      if (rank == 0 || bits < best) {
        best = bits;
        best_rank = rank;
      }
    }
    const float norm = rank < u.factors_max ? FloatsAt(b, u.norms)[rank] : 0;
    if (!(norm > 0)) break;
    const float* const column =
        FloatsAt(b, u.columns) + uint64_t{rank} * b.width;
    const float* const row = FloatsAt(b, u.basis) + rank * u.pitch;
    const float squares = norm * norm;
#pragma unroll 1
    for (uint32_t c = threadIdx.x; c < b.width; c += kColdThreads) {
      FloatsAt(b, u.column_levels)[c] =
          PositiveOf(FloatsAt(b, u.column_levels)[c] - column[c] * column[c]);
    }
    for (uint32_t f = threadIdx.x; f < u.freqs; f += kColdThreads) {
      s.rows[f] = PositiveOf(s.rows[f] - squares * row[f] * row[f]);
    }
    const auto freqs = static_cast<float>(u.freqs);
    const auto width = static_cast<float>(b.width);
    factors += freqs * TwiceColdBits(squares / freqs, least) +
               width * TwiceColdBits(squares / width, least) + 32;
    __syncthreads();
  }
  if (threadIdx.x == 0) s.rank = best_rank;
  __syncthreads();
  return s.rank;
}

}  // namespace banyan::codec
