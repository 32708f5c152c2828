// Sums of rows, as the transform of a cold unit, its factors and its basis are: of
// some rows at a time, each thread two elements. Products are added in the order
// of what is summed over, and rounded apart, as cold_matrix_simd.cc does it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/launch_codec.h"
#include "kernels/host_device.h"

namespace banyan::codec {

// Of a block: few, so that many units are read at a time, which takes longest.
inline constexpr uint32_t kColdThreads = 64;

inline constexpr uint32_t kColdRows = 8;     // Of a sum, at a time.
inline constexpr uint32_t kColdTerms = 128;  // Of each, between two barriers.
// Fewer of a row's meet in a bank.
inline constexpr uint32_t kColdRowsPitch = kColdRows + 4;

// What is multiplied with, [term, row], in shared memory.
struct ColdTerms {
  float4 terms[kColdTerms][kColdRowsPitch / 4];
  float cosines[kColdCosines];
};

// What neighbouring threads set: neighbouring rows, or neighbouring terms.
enum class ColdOrder { kRows, kTerms };

// Two elements of a row, which have one thread: of the rotary embedding, or of two
// halves of what it leaves alone.
struct ColdPair {
  uint32_t first;
  uint32_t second;
  bool has_second;
  bool is_rotated;
};

BANYAN_HD inline uint32_t ColdPairsOf(uint32_t dim, uint32_t rotated) {
  return rotated + (dim - 2 * rotated + 1) / 2;
}

BANYAN_HD inline ColdPair ColdPairOf(uint32_t dim, const Rotation& r,
                                     uint32_t i) {
  if (i < r.pairs) {
    return r.is_interleaved ? ColdPair{2 * i, 2 * i + 1, true, true}
                            : ColdPair{i, i + r.pairs, true, true};
  }
  const uint32_t first = r.pairs + i;
  const uint32_t second = first + (dim - 2 * r.pairs + 1) / 2;
  return {first, second, second < dim, false};
}

struct ColdSums {
  float first[kColdRows];
  float second[kColdRows];
};

__device__ __forceinline__ void AddColdTerm(float factor, float x, float y,
                                            int row, ColdSums& sums) {
  sums.first[row] += factor * x;
  sums.second[row] += factor * y;
}

// Adds so many terms of each row: terms[i, row] times the element of from's row i.
__device__ __forceinline__ void AddColdTerms(const ColdTerms& terms,
                                             uint32_t count, const float* from,
                                             uint32_t stride,
                                             const ColdPair& pair,
                                             ColdSums& sums) {
  const float* first = from + pair.first;
  const float* second = from + (pair.has_second ? pair.second : pair.first);
#pragma unroll 1
  for (uint32_t i = 0; i < count; ++i) {
    const float x = *first;
    const float y = *second;
    first += stride;
    second += stride;
#pragma unroll
    for (int j = 0; j < static_cast<int>(kColdRows); j += 4) {
      const float4 factors = terms.terms[i][j / 4];
      AddColdTerm(factors.x, x, y, j, sums);
      AddColdTerm(factors.y, x, y, j + 1, sums);
      AddColdTerm(factors.z, x, y, j + 2, sums);
      AddColdTerm(factors.w, x, y, j + 3, sums);
    }
  }
}

// Sets terms[i, row] to term_of(i, row), of so many i; 0 from row `rows` on.
// All threads are here; the barrier is the caller's.
template <ColdOrder kOrder, class TermOf>
__device__ __forceinline__ void FillColdTerms(uint32_t count, uint32_t rows,
                                              const TermOf& term_of,
                                              ColdTerms& terms) {
  auto* const to = reinterpret_cast<float*>(&terms.terms[0][0]);
#pragma unroll 1
  for (uint32_t at = threadIdx.x; at < count * kColdRows; at += kColdThreads) {
    const bool is_by_rows = kOrder == ColdOrder::kRows;
    const uint32_t i = is_by_rows ? at / kColdRows : at % count;
    const uint32_t row = is_by_rows ? at % kColdRows : at / count;
    to[i * kColdRowsPitch + row] = row < rows ? term_of(i, row) : 0;
  }
}

// to[r] is the sum of start[r] and, over i rising, terms[i, r] * from[i]; rows are
// of `width` floats, and `to` is apart from the others.
struct ColdRowSums {
  uint32_t rows;
  uint32_t count;  // Rows of `from`.
  const float* from;
  uint32_t from_stride;
  uint32_t width;
  float* to;
  uint32_t to_stride;
  const float* start = nullptr;  // As to; nullptr: zeros.
};

// Sums of two elements of so many rows.
__device__ __forceinline__ void StoreColdSums(const ColdSums& sums,
                                              const ColdPair& pair,
                                              uint32_t rows, uint32_t stride,
                                              float* to) {
#pragma unroll
  for (uint32_t row = 0; row < kColdRows; ++row) {
    if (row >= rows) continue;
    to[row * stride + pair.first] = sums.first[row];
    if (pair.has_second) to[row * stride + pair.second] = sums.second[row];
  }
}

// Of kColdTerms terms at most. All threads are here. The barrier behind it is the
// caller's.
template <ColdOrder kOrder, class TermOf>
__device__ __forceinline__ void SumColdRows(const ColdRowSums& s,
                                            const TermOf& term_of,
                                            ColdTerms& terms) {
  const uint32_t pairs = ColdPairsOf(s.width, 0);
#pragma unroll 1
  for (uint32_t at = 0; at < s.rows; at += kColdRows) {
    const uint32_t rows = SmallerOf(kColdRows, s.rows - at);
    const uint64_t row_at = uint64_t{at} * s.to_stride;
    FillColdTerms<kOrder>(
        s.count, rows,
        [&](uint32_t i, uint32_t row) { return term_of(i, at + row); }, terms);
    __syncthreads();
#pragma unroll 1
    for (uint32_t index = threadIdx.x; index < pairs; index += kColdThreads) {
      const ColdPair pair = ColdPairOf(s.width, {}, index);
      ColdSums sums = {};
#pragma unroll
      for (uint32_t row = 0; row < kColdRows; ++row) {
        if (s.start == nullptr || row >= rows) continue;
        const float* const start = s.start + row_at + row * s.to_stride;
        sums.first[row] = start[pair.first];
        if (pair.has_second) sums.second[row] = start[pair.second];
      }
      AddColdTerms(terms, s.count, s.from, s.from_stride, pair, sums);
      StoreColdSums(sums, pair, rows, s.to_stride, s.to + row_at);
    }
    __syncthreads();
  }
}

// Of any number of terms, without a start.
template <ColdOrder kOrder, class TermOf>
__device__ __forceinline__ void SumLongColdRows(const ColdRowSums& s,
                                                const TermOf& term_of,
                                                ColdTerms& terms) {
  const uint32_t pairs = ColdPairsOf(s.width, 0);
#pragma unroll 1
  for (uint32_t at = 0; at < s.rows; at += kColdRows) {
    const uint32_t rows = SmallerOf(kColdRows, s.rows - at);
#pragma unroll 1
    for (uint32_t first = 0; first < pairs; first += kColdThreads) {
      const uint32_t index = first + threadIdx.x;
      const bool has_pair = index < pairs;
      const ColdPair pair = ColdPairOf(s.width, {}, has_pair ? index : first);
      ColdSums sums = {};
#pragma unroll 1
      for (uint32_t begin = 0; begin < s.count; begin += kColdTerms) {
        const uint32_t count = SmallerOf(kColdTerms, s.count - begin);
        FillColdTerms<kOrder>(
            count, rows,
            [&](uint32_t i, uint32_t row) {
              return term_of(begin + i, at + row);
            },
            terms);
        __syncthreads();
        if (has_pair) {
          AddColdTerms(terms, count, s.from + uint64_t{begin} * s.from_stride,
                       s.from_stride, pair, sums);
        }
        __syncthreads();
      }
      if (!has_pair) continue;
      StoreColdSums(sums, pair, rows, s.to_stride,
                    s.to + uint64_t{at} * s.to_stride);
    }
  }
}

}  // namespace banyan::codec
