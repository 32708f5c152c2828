// The factors of a cold unit: directions that its rows of frequencies have in common,
// by orthogonal iteration.
// Format: docs/formats/codec_cold.md. The host's way is ColdUnits::FindFactors.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_encode.cuh"

namespace banyan::codec {

inline constexpr int kColdIterations = 6;
inline constexpr float kColdIndependentMin = 0x1p-12f;

// Products of so many rows with as many, of as many channels at a time.
inline constexpr uint32_t kColdProductTile = 32;
struct ColdProductTiles {
  float rows[2][kColdProductTile][kColdProductTile + 1];
};

struct ColdFactorShared {
  ColdEncodeUnit unit;
  union {
    ColdProductTiles tiles;
    ColdTerms terms;
    float row[kColdUnitTokensMax];  // By the first warp.
  };
  uint32_t count;
};

// A lane's part of rows of frequencies, which are padded by zeros.
inline constexpr uint32_t kColdParts = kColdUnitTokensMax / 32;

// Products of all rows of frequencies with each other.
__device__ __forceinline__ void FillColdProducts(const ColdBatch& b,
                                                 const ColdEncodeUnit& u,
                                                 ColdProductTiles& tiles) {
  constexpr uint32_t kThreadRows = 4;
  constexpr uint32_t kThreadColumns = 4;
  constexpr uint32_t kColumnStep = kColdProductTile / kThreadColumns;
  static_assert(kColdThreads == kColdProductTile / kThreadRows * kColumnStep);
  const float* const matrix = FloatsAt(b, u.coefficients) + b.width;
  const uint32_t row = threadIdx.x / kColumnStep * kThreadRows;
  const uint32_t column = threadIdx.x % kColumnStep;
  const uint32_t edge = (u.freqs + kColdProductTile - 1) / kColdProductTile;
#pragma unroll 1
  for (uint32_t tile = 0; tile < edge * edge; ++tile) {
    const uint32_t begins[2] = {tile / edge * kColdProductTile,
                                tile % edge * kColdProductTile};
    float sums[kThreadRows][kThreadColumns] = {};
#pragma unroll 1
    for (uint32_t c = 0; c < b.width; c += kColdProductTile) {
      const uint32_t count = SmallerOf(kColdProductTile, b.width - c);
#pragma unroll 1
      for (uint32_t at = threadIdx.x;
           at < 2 * kColdProductTile * kColdProductTile; at += kColdThreads) {
        const uint32_t which = at / (kColdProductTile * kColdProductTile);
        const uint32_t i = at / kColdProductTile % kColdProductTile;
        const uint32_t j = at % kColdProductTile;
        const uint32_t f = (which == 0 ? begins[0] : begins[1]) + i;
        tiles.rows[which][i][j] = f < u.freqs && j < count
                                      ? matrix[uint64_t{f} * b.width + c + j]
                                      : 0;
      }
      __syncthreads();
#pragma unroll 1
      for (uint32_t j = 0; j < count; ++j) {
#pragma unroll
        for (uint32_t x = 0; x < kThreadRows; ++x) {
          const float factor = tiles.rows[0][row + x][j];
#pragma unroll
          for (uint32_t y = 0; y < kThreadColumns; ++y) {
            sums[x][y] += factor * tiles.rows[1][column + y * kColumnStep][j];
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (uint32_t x = 0; x < kThreadRows; ++x) {
#pragma unroll
      for (uint32_t y = 0; y < kThreadColumns; ++y) {
        const uint32_t i = begins[0] + row + x;
        const uint32_t j = begins[1] + column + y * kColumnStep;
        if (i < u.freqs && j < u.freqs)
          FloatsAt(b, u.products)[i * u.pitch + j] = sums[x][y];
      }
    }
  }
}

__device__ __forceinline__ void LoadColdRow(const float* from, uint32_t count,
                                            float (&parts)[kColdParts]) {
#pragma unroll
  for (uint32_t m = 0; m < kColdParts; ++m) {
    const uint32_t i = threadIdx.x + 32 * m;
    parts[m] = i < count ? from[i] : 0;
  }
}
__device__ __forceinline__ void StoreColdRow(const float (&parts)[kColdParts],
                                             uint32_t count, float* to) {
#pragma unroll
  for (uint32_t m = 0; m < kColdParts; ++m) {
    const uint32_t i = threadIdx.x + 32 * m;
    if (i < count) to[i] = parts[m];
  }
}

// The product of two rows, as DotProduct has it, by the first warp.
__device__ __forceinline__ float ColdDotOf(const float (&a)[kColdParts],
                                           const float (&b)[kColdParts],
                                           float (&row)[kColdUnitTokensMax]) {
#pragma unroll
  for (uint32_t m = 0; m < kColdParts; ++m) {
    row[threadIdx.x + 32 * m] = a[m] * b[m];
  }
  __syncwarp();
  float sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kColdUnitTokensMax; i += 8) {
    sum += row[i + threadIdx.x % 8];
  }
  __syncwarp();
  return SumColdEights(sum);
}

// Whether more than `rank` directions matter; by the first warp.
__device__ __forceinline__ bool IsColdSpread(const ColdBatch& b,
                                             const ColdEncodeUnit& u,
                                             ColdFactorShared& s) {
  double trace = 0;
  double squares = 0;
#pragma unroll 1
  for (uint32_t f = 0; f < u.freqs; ++f) {
    float parts[kColdParts];
    LoadColdRow(FloatsAt(b, u.products) + f * u.pitch, u.freqs, parts);
    StoreColdRow(parts, u.freqs, s.row);
    __syncwarp();
    if (threadIdx.x == 0) {
      trace += s.row[f];
#pragma unroll 1
      for (uint32_t i = 0; i < u.freqs; ++i) {
        const double x = s.row[i];
        squares += x * x;
      }
    }
    __syncwarp();
  }
  const bool is_spread = !(trace * trace <= u.factors_max * squares);
  return __shfl_sync(~0u, uint32_t{is_spread}, 0) != 0;
}

// Rows, made orthonormal in their order; those that add nothing left out. Returns
// how many are left; by the first warp, each lane of which keeps its parts.
__device__ __forceinline__ uint32_t MakeColdOrthonormal(const ColdEncodeUnit& u,
                                                        uint32_t count,
                                                        float* basis,
                                                        ColdFactorShared& s) {
  uint32_t kept = 0;
#pragma unroll 1
  for (uint32_t k = 0; k < count; ++k) {
    float mine[kColdParts];
    LoadColdRow(basis + k * u.pitch, u.freqs, mine);
    const float before = __fsqrt_rn(ColdDotOf(mine, mine, s.row));
#pragma unroll 1
    for (uint32_t j = 0; j < kept; ++j) {
      float other[kColdParts];
      LoadColdRow(basis + j * u.pitch, u.freqs, other);
      const float factor = -ColdDotOf(mine, other, s.row);
#pragma unroll
      for (uint32_t m = 0; m < kColdParts; ++m) mine[m] += factor * other[m];
    }
    const float length = __fsqrt_rn(ColdDotOf(mine, mine, s.row));
    if (!(length > before * kColdIndependentMin)) continue;
    const float inverse = 1 / length;
#pragma unroll
    for (uint32_t m = 0; m < kColdParts; ++m) mine[m] *= inverse;
    StoreColdRow(mine, u.freqs, basis + kept * u.pitch);
    ++kept;
  }
  return kept;
}

// Returns how many rows there are.
__device__ __forceinline__ uint32_t FindColdBasis(const ColdBatch& b,
                                                  ColdFactorShared& s) {
  const ColdEncodeUnit& u = s.unit;
  if (threadIdx.x < 32) {
    const uint32_t most = IsColdSpread(b, u, s) ? 0 : u.factors_max;
    if (threadIdx.x == 0) s.count = most;
  }
  __syncthreads();
  // Odd rounds begin with the one, even rounds with the other.
  static_assert(kColdIterations % 2 == 0);
  float* from = FloatsAt(b, u.basis);
  float* to = FloatsAt(b, u.other_basis);
#pragma unroll 1
  for (int round = 0; round < kColdIterations; ++round) {
    const uint32_t count = s.count;
    if (round == 0) {
#pragma unroll 1
      for (uint32_t i = threadIdx.x; i < count * u.freqs; i += kColdThreads) {
        const uint32_t at = i / u.freqs * u.pitch + i % u.freqs;
        to[at] = FloatsAt(b, u.products)[at];
      }
    } else {
      SumColdRows<ColdOrder::kTerms>(
          {.rows = count,
           .count = u.freqs,
           .from = FloatsAt(b, u.products),
           .from_stride = u.pitch,
           .width = u.freqs,
           .to = to,
           .to_stride = u.pitch},
          [&](uint32_t i, uint32_t row) { return from[row * u.pitch + i]; },
          s.terms);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      const uint32_t left = MakeColdOrthonormal(u, count, to, s);
      if (threadIdx.x == 0) s.count = left;
    }
    __syncthreads();
    float* const next = from;
    from = to;
    to = next;
  }
  return s.count;
}

}  // namespace banyan::codec
