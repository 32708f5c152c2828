// What arithmetic needs that is compiled for both sides, and kernels that run
// on the CPU executor of tests/testing/simt as well:
//
//   BANYAN_HD                        a function of host and device
//   BANYAN_SHARED(Type, name, [N]);  __shared__ Type name[N];
//   BANYAN_DYNAMIC_SHARED(Type, name);
//                                    what the launch allots, 1024-aligned
//
// Kernels include <cuda_runtime.h> before this; the executor has its own, which
// defines the two macros of shared memory.
#pragma once

#if defined(__CUDACC__)
#define BANYAN_HD __host__ __device__
#define BANYAN_SHARED(Type, name, ...) __shared__ Type name __VA_ARGS__
#define BANYAN_DYNAMIC_SHARED(Type, name)                         \
  extern __shared__ __align__(1024) unsigned char name##_bytes[]; \
  Type* const name = reinterpret_cast<Type*>(name##_bytes)
#else
#define BANYAN_HD
#endif

// Before a loop of code for both: device code without it.
#ifdef __CUDA_ARCH__
#define BANYAN_UNROLL _Pragma("unroll")
#else
#define BANYAN_UNROLL
#endif
