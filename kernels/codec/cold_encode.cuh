// What the kernels that encode cold planes have in common: a unit, where its
// parts lie on the way, and doubles.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_planes.cuh"
#include "kernels/codec/cold_sums.cuh"

namespace banyan::codec {

// What a kernel tells those behind it.
struct ColdState {
  uint32_t is_fit;  // All of its elements are.
  uint32_t rank;    // Factors.
  int exponent;
};

// A block's unit. In shared memory, as it would take too many registers. Places
// count from the scratch on: of an address that lay there, the compiler would not
// know that it is device memory.
struct ColdEncodeUnit {
  uint32_t first_token;
  uint32_t tokens;
  uint32_t freqs;  // Without the mean.
  uint32_t pitch;  // Of rows of frequencies.
  uint32_t factors_max;
  uint32_t cosines;  // In the plane's table.
  uint32_t bytes;    // That there are for it.
  uint64_t state;
  // As of ColdRooms.
  uint64_t elements;
  uint64_t coefficients;
  uint64_t products;
  uint64_t basis;
  uint64_t other_basis;
  uint64_t columns;
  uint64_t norms;
  uint64_t coded_columns;
  uint64_t coded_rows;
  uint64_t row_squares;
  uint64_t column_squares;
  uint64_t row_levels;
  uint64_t column_levels;
  uint64_t numbers;
  uint64_t traces;
};

__device__ __forceinline__ ColdEncodeUnit EncodeUnitOf(const ColdBatch& b) {
  const uint32_t t = b.codes.unit_tokens;
  const ColdRooms r = ColdRoomsOf(t, b.width, b.codes.factors_max);
  const uint64_t begin =
      (uint64_t{blockIdx.y} * b.units + blockIdx.x) * b.codes.unit_floats;
  ColdEncodeUnit u;
  u.first_token = blockIdx.x * t;
  u.tokens = ColdTokensOf(b, blockIdx.x);
  u.freqs = u.tokens - 1;
  u.pitch = t;
  const bool is_whole = u.tokens == t;
  u.factors_max = is_whole ? b.codes.factors_max : b.codes.factors_max_of_last;
  u.cosines = is_whole ? kColdCosinesAt : kColdLastCosinesAt;
  u.bytes = static_cast<uint32_t>(ColdBytesMax(b, u.tokens));
  u.state = begin + r.state;
  u.elements = begin + r.elements;
  u.coefficients = begin + r.coefficients;
  u.products = begin + r.products;
  u.basis = begin + r.basis;
  u.other_basis = begin + r.other_basis;
  u.columns = begin + r.columns;
  u.norms = begin + r.norms;
  u.coded_columns = begin + r.coded_columns;
  u.coded_rows = begin + r.coded_rows;
  u.row_squares = begin + r.row_squares;
  u.column_squares = begin + r.column_squares;
  u.row_levels = begin + r.row_levels;
  u.column_levels = begin + r.column_levels;
  u.numbers = begin + r.numbers;
  u.traces = begin + r.traces;
  return u;
}

__device__ __forceinline__ float* FloatsAt(const ColdBatch& b, uint64_t place) {
  return b.codes.scratch + place;
}
__device__ __forceinline__ ColdState* StateOf(const ColdBatch& b,
                                              const ColdEncodeUnit& u) {
  return reinterpret_cast<ColdState*>(b.codes.scratch + u.state);
}

// Where a unit may begin: behind all that may have the most bytes.
__device__ __forceinline__ std::byte* ColdSlotOf(const ColdBatch& b,
                                                 uint32_t unit) {
  return ColdPlaneOf(b) + kColdSizeBytes * b.units +
         unit * ColdBytesMax(b, b.codes.unit_tokens);
}

__device__ __forceinline__ float PositiveOf(float x) { return x < 0 ? 0 : x; }

// A number of steps that is rounded up from one half on.
__device__ __forceinline__ float ColdStepsOf(float x, float inverse) {
  return floorf(fabsf(x) * inverse + 1 - 0.5f);
}

// The sum of squares, eight sums of the elements i mod 8, by eight lanes that
// follow each other; all of the warp are here. Each lane has it.
__device__ __forceinline__ float SumColdEights(float sum) {
#pragma unroll
  for (int step = 4; step > 0; step /= 2) {
    sum += __shfl_xor_sync(~0u, sum, step);
  }
  return sum;
}
__device__ __forceinline__ float ColdSquares(const float* x, uint32_t count) {
  float sum = 0;
#pragma unroll 4
  for (uint32_t i = threadIdx.x % 8; i < count; i += 8) sum += x[i] * x[i];
  return SumColdEights(sum);
}

// ---- Doubles ----

// Within 0.01; far below all others for 0.
__device__ __forceinline__ double ColdLog2(double x) {
  if (!(x > 0)) return -1000;
  const int high = __double2hiint(x);
  const double z =
      __hiloint2double((high & 0xFFFFF) | 0x3FF00000, __double2loint(x)) - 1;
  return (high >> 20) - 1023 + z * (1.34 - 0.34 * z);
}

// x / 4^quarters.
__device__ __forceinline__ double QuarteredOf(double x, uint32_t quarters) {
  return x * __hiloint2double(static_cast<int>((1023 - 2 * quarters) << 20), 0);
}

}  // namespace banyan::codec
