// Kernels that need what the product's do not yet: barriers, shuffles, votes,
// atomics, cp.async, half floats. They keep the executor, the checker and the
// PTX interpreter honest.
#pragma once

#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/host_device.h"

namespace banyan::simt {

inline constexpr unsigned kAllLanes = 0xffffffffu;

struct RowStat {
  float sum;
  float abs_max;
};

// A block for each row: sum and max|x| of `columns` values, a multiple of 4.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    RowStats(const float4* __restrict__ rows, RowStat* __restrict__ stats,
             int columns) {
  constexpr int kWarps = kThreads / 32;
  BANYAN_SHARED(float, sums, [kWarps]);
  BANYAN_SHARED(float, maxima, [kWarps]);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const float4* const row = rows + int64_t{blockIdx.x} * (columns / 4);
  float sum = 0;
  float abs_max = 0;
  for (int i = thread; i < columns / 4; i += kThreads) {
    const float4 v = row[i];
    sum += (v.x + v.y) + (v.z + v.w);
    abs_max = fmaxf(abs_max, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)),
                                   fmaxf(fabsf(v.z), fabsf(v.w))));
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, distance);
    abs_max = fmaxf(abs_max, __shfl_xor_sync(kAllLanes, abs_max, distance));
  }
  if (lane == 0) {
    sums[warp] = sum;
    maxima[warp] = abs_max;
  }
  __syncthreads();
  if (thread == 0) {
    for (int i = 1; i < kWarps; ++i) {
      sum += sums[i];
      abs_max = fmaxf(abs_max, maxima[i]);
    }
    stats[blockIdx.x] = RowStat{sum, abs_max};
  }
}

// Reverses each run of kThreads vectors, through two stages of cp.async.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    ReverseRuns(const uint4* __restrict__ from, uint4* __restrict__ to,
                int runs) {
  BANYAN_SHARED(uint4, stages, [2][kThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  __pipeline_memcpy_async(&stages[0][thread], &from[thread], sizeof(uint4));
  __pipeline_commit();
  for (int run = 0; run < runs; ++run) {
    if (run + 1 < runs) {
      __pipeline_memcpy_async(&stages[(run + 1) % 2][thread],
                              &from[(run + 1) * kThreads + thread],
                              sizeof(uint4));
    }
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    to[run * kThreads + thread] = stages[run % 2][kThreads - 1 - thread];
    __syncthreads();
  }
}

// How often each value modulo 16 occurs, and how many are odd, by ballots.
__global__ void __launch_bounds__(128)
    CountValues(const unsigned* __restrict__ values, unsigned* counts,
                unsigned* odd, int size) {
  BANYAN_SHARED(unsigned, bins, [16]);
  if (threadIdx.x < 16) bins[threadIdx.x] = 0;
  __syncthreads();
  const int stride = static_cast<int>(blockDim.x * gridDim.x);
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  for (int i = first; i - static_cast<int>(threadIdx.x % 32) < size;
       i += stride) {
    const bool is_live = i < size;
    const unsigned value = is_live ? values[i] : 0;
    const unsigned odd_lanes = __ballot_sync(kAllLanes, value & 1);
    if (threadIdx.x % 32 == 0) {
      atomicAdd(odd, static_cast<unsigned>(__popc(odd_lanes)));
    }
    if (is_live) atomicAdd(&bins[value % 16], 1u);
  }
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(&counts[threadIdx.x], bins[threadIdx.x]);
}

// Groups of 64 halves, 8 a thread, as int8 codes and the half of their scale.
__global__ void __launch_bounds__(64)
    QuantizeHalves(const uint4* __restrict__ halves, uint2* __restrict__ codes,
                   uint16_t* __restrict__ scales) {
  const int64_t at = int64_t{blockIdx.x} * 64 + threadIdx.x;
  const uint4 in = halves[at];
  const unsigned words[4] = {in.x, in.y, in.z, in.w};
  float x[8];
  float abs_max = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x[i] = __half2float(__ushort_as_half(
        static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2)))));
    abs_max = fmaxf(abs_max, fabsf(x[i]));
  }
#pragma unroll
  for (int distance = 4; distance > 0; distance /= 2) {
    abs_max = fmaxf(abs_max, __shfl_xor_sync(kAllLanes, abs_max, distance, 8));
  }
  const __half stored = __float2half_rn(abs_max / 127.0f);
  const float scale = __half2float(stored);
  unsigned out[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    int code = scale > 0 ? __float2int_rn(x[i] / scale) : 0;
    code = code < -127 ? -127 : code > 127 ? 127 : code;
    out[i / 4] |= (static_cast<unsigned>(code) & 0xffu) << (8 * (i % 4));
  }
  codes[at] = make_uint2(out[0], out[1]);
  if (threadIdx.x % 8 == 0) scales[at / 8] = __half_as_ushort(stored);
}

}  // namespace banyan::simt
