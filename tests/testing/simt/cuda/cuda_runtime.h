// Stands in for CUDA's header where kernels are compiled for the executor: its
// names, on top of tests/testing/simt/kernel_calls.h. What is not here does not
// compile, so nobody tests less than they think. __activemask is left out for
// good: its answer is not defined enough to build on.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tests/testing/simt/kernel_calls.h"
#include "tests/testing/simt/run_kernel.h"

// NOLINTBEGIN: the names are CUDA's.

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define threadIdx (::banyan::simt::ThreadIndex())
#define blockIdx (::banyan::simt::BlockIndex())
#define blockDim (::banyan::simt::BlockSize())
#define gridDim (::banyan::simt::GridSize())
#define warpSize 32

// See kernels/host_device.h. A plain __shared__ does not compile: each array
// has a place of its own for each block, with guards around it.
#define BANYAN_SHARED(Type, name, ...)                             \
  static const char name##_key = 0;                                \
  using name##_type = Type __VA_ARGS__;                            \
  name##_type& name =                                              \
      *reinterpret_cast<name##_type*>(::banyan::simt::SharedArray( \
          &name##_key, sizeof(name##_type), alignof(name##_type)))
#define BANYAN_DYNAMIC_SHARED(Type, name) \
  Type* const name = reinterpret_cast<Type*>(::banyan::simt::DynamicShared())

using dim3 = banyan::simt::Dim3;

// Kernels read arrays of other types as vectors, which CUDA allows.
struct __attribute__((may_alias, aligned(4))) uchar4 {
  unsigned char x, y, z, w;
};
struct __attribute__((may_alias, aligned(8))) int2 {
  int x, y;
};
struct __attribute__((may_alias, aligned(16))) int4 {
  int x, y, z, w;
};
struct __attribute__((may_alias, aligned(8))) uint2 {
  unsigned x, y;
};
struct __attribute__((may_alias, aligned(16))) uint4 {
  unsigned x, y, z, w;
};
struct __attribute__((may_alias, aligned(8))) float2 {
  float x, y;
};
struct __attribute__((may_alias, aligned(16))) float4 {
  float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

namespace banyan::simt {

// The place of a call, as the last parameter.
using Place = std::source_location;
#define BANYAN_SIMT_PLACE \
  ::banyan::simt::Place place = ::banyan::simt::Place::current()

template <class T>
uint64_t ToBits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  return bits;
}

template <class T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

template <class T>
T Shuffle(ShuffleKind kind, unsigned mask, T value, unsigned operand, int width,
          Place place) {
  return FromBits<T>(WarpOperation(WarpOp::kShuffle, mask, ToBits(value),
                                   SourceLane(kind, operand, width),
                                   Site::Of(place)));
}

inline uint64_t Vote(unsigned mask, int predicate, Place place) {
  return WarpOperation(WarpOp::kBallot, mask, predicate != 0, 0,
                       Site::Of(place));
}

template <class T>
T Reduce(WarpOp op, unsigned mask, T value, Place place) {
  const auto wide = static_cast<uint64_t>(static_cast<int64_t>(value));
  return static_cast<T>(WarpOperation(op, mask, wide, 0, Site::Of(place)));
}

template <class T>
T Atomic(AtomicOp op, T* at, T operand, T expected = T{}) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  return FromBits<T>(
      Atomically(op, at, sizeof(T), ToBits(operand), ToBits(expected)));
}

}  // namespace banyan::simt

// Barriers, votes, shuffles. Only the two kinds of barrier order memory.
inline void __syncthreads(BANYAN_SIMT_PLACE) {
  banyan::simt::Barrier(false, banyan::simt::Site::Of(place));
}
inline int __syncthreads_count(int predicate, BANYAN_SIMT_PLACE) {
  return static_cast<int>(static_cast<uint32_t>(
      banyan::simt::Barrier(predicate != 0, banyan::simt::Site::Of(place))));
}
inline int __syncthreads_or(int predicate, BANYAN_SIMT_PLACE) {
  return __syncthreads_count(predicate, place) != 0;
}
inline int __syncthreads_and(int predicate, BANYAN_SIMT_PLACE) {
  return static_cast<int>(
      banyan::simt::Barrier(predicate != 0, banyan::simt::Site::Of(place)) >>
      32);
}
inline void __syncwarp(unsigned mask = ~0u, BANYAN_SIMT_PLACE) {
  banyan::simt::WarpOperation(banyan::simt::WarpOp::kSync, mask, 0, 0,
                              banyan::simt::Site::Of(place));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, BANYAN_SIMT_PLACE) {
  return static_cast<unsigned>(banyan::simt::Vote(mask, predicate, place));
}
inline int __any_sync(unsigned mask, int predicate, BANYAN_SIMT_PLACE) {
  return banyan::simt::Vote(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, BANYAN_SIMT_PLACE) {
  return banyan::simt::Vote(mask, predicate, place) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, BANYAN_SIMT_PLACE) {
  return static_cast<unsigned>(banyan::simt::WarpOperation(
      banyan::simt::WarpOp::kMatch, mask, banyan::simt::ToBits(value), 0,
      banyan::simt::Site::Of(place)));
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              BANYAN_SIMT_PLACE) {
  return banyan::simt::Shuffle(banyan::simt::ShuffleKind::kIndex, mask, value,
                               static_cast<unsigned>(lane), width, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  BANYAN_SIMT_PLACE) {
  return banyan::simt::Shuffle(banyan::simt::ShuffleKind::kXor, mask, value,
                               static_cast<unsigned>(lane_mask), width, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   BANYAN_SIMT_PLACE) {
  return banyan::simt::Shuffle(banyan::simt::ShuffleKind::kDown, mask, value,
                               delta, width, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 BANYAN_SIMT_PLACE) {
  return banyan::simt::Shuffle(banyan::simt::ShuffleKind::kUp, mask, value,
                               delta, width, place);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned v,
                                  BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kAdd, mask, v, place);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned v,
                                  BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kMin, mask, v, place);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned v,
                                  BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kMax, mask, v, place);
}
inline int __reduce_min_sync(unsigned mask, int v, BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kSignedMin, mask, v, place);
}
inline int __reduce_max_sync(unsigned mask, int v, BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kSignedMax, mask, v, place);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v, BANYAN_SIMT_PLACE) {
  return banyan::simt::Reduce(banyan::simt::WarpOp::kOr, mask, v, place);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

inline int atomicAdd(int* at, int v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kAdd, at, v);
}
inline unsigned atomicAdd(unsigned* at, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kAdd, at, v);
}
inline float atomicAdd(float* at, float v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kAddFloat, at, v);
}
inline int atomicMax(int* at, int v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kSignedMax, at, v);
}
inline unsigned atomicMax(unsigned* at, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kMax, at, v);
}
inline int atomicMin(int* at, int v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kSignedMin, at, v);
}
inline unsigned atomicMin(unsigned* at, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kMin, at, v);
}
inline unsigned atomicOr(unsigned* at, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kOr, at, v);
}
inline unsigned atomicExch(unsigned* at, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kExchange, at, v);
}
inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned v) {
  return banyan::simt::Atomic(banyan::simt::AtomicOp::kCompareExchange, at, v,
                              expected);
}

// Arithmetic with the device's meaning. Kernels are compiled without fused
// steps that they do not ask for: -ffp-contract=off, and nvcc's -fmad=false.
template <class T>
T __ldg(const T* at) {
  return *at;
}
inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float v) { return std::sqrt(v); }
inline double __dsqrt_rn(double v) { return std::sqrt(v); }
inline int __double2hiint(double v) {
  return static_cast<int>(std::bit_cast<uint64_t>(v) >> 32);
}
inline int __double2loint(double v) {
  return static_cast<int>(std::bit_cast<uint64_t>(v));
}
inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(uint64_t{static_cast<unsigned>(high)} << 32 |
                               static_cast<unsigned>(low));
}

// Saturates, and is 0 for NaN, where a cast of C++ is undefined.
inline int __float2int_rn(float v) {
  if (std::isnan(v)) return 0;
  if (v >= 2147483648.0f) return 2147483647;
  if (v < -2147483648.0f) return -2147483647 - 1;
  return static_cast<int>(std::nearbyint(v));
}
inline unsigned __float2uint_rn(float v) {
  if (!(v > 0.0f)) return 0;
  if (v >= 4294967296.0f) return 4294967295u;
  return static_cast<unsigned>(std::nearbyint(v));
}

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                     ? "no error"
         : error == cudaErrorInvalidConfiguration ? "invalid configuration"
                                                  : "launch failure";
}
struct CUstream_st;
using cudaStream_t = CUstream_st*;
struct cudaLaunchAttribute;

// CUDA's members are called gridDim, blockDim and so on, which are macros here:
// kernels' launchers name none of them.
struct cudaLaunchConfig_t {
  dim3 grid;
  dim3 block;
  size_t dynamic_shared_bytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...),
                                 cudaFuncAttribute, int value) {
  banyan::simt::AllowDynamicShared(reinterpret_cast<const void*>(kernel),
                                   static_cast<size_t>(value));
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config,
                               void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const size_t shared_bytes = config->dynamic_shared_bytes;
  if (shared_bytes > banyan::simt::DynamicSharedAllowed(
                         reinterpret_cast<const void*>(kernel))) {
    banyan::simt::KeepLaunchStatus(
        absl::InvalidArgumentError("more shared memory than is allowed"));
    return cudaErrorInvalidConfiguration;
  }
  const auto& route = banyan::simt::TheLaunchRoute();
  const absl::Status status =
      route != nullptr
          ? route({config->grid, config->block, shared_bytes},
                  {banyan::simt::BytesOf(Parameters(arguments))...})
          : banyan::simt::RunKernel("cudaLaunchKernelEx", kernel, config->grid,
                                    config->block, shared_bytes, arguments...);
  banyan::simt::KeepLaunchStatus(status);
  if (absl::IsInvalidArgument(status)) return cudaErrorInvalidConfiguration;
  return status.ok() ? cudaSuccess : cudaErrorLaunchFailure;
}

// NOLINTEND
