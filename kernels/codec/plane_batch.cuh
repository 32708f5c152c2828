// What the kernels of planes, and their launchers, have in common: where rows and
// encoded bytes lie, verdicts, halves at odd places, and launches by the type of
// elements and the bits of codes. blockIdx.y is the plane.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/codec/device_elements.cuh"
#include "kernels/codec/launch_codec.h"

namespace banyan::codec {

// ---- For kernels ----

__device__ __forceinline__ std::byte* RowOf(const PlaneBatch& planes,
                                            uint32_t token, uint32_t head) {
  return planes.rows + blockIdx.y * planes.plane_stride +
         token * planes.token_stride + head * planes.head_stride;
}

__device__ __forceinline__ std::byte* EncodedOf(const PlaneBatch& planes) {
  return planes.encoded + blockIdx.y * planes.encoded_stride;
}

__device__ __forceinline__ void SetVerdict(const PlaneBatch& planes,
                                           Verdict verdict) {
  atomicOr(planes.verdicts + blockIdx.y, verdict);
}

// Halves of encoded forms may lie at odd addresses.
__device__ __forceinline__ uint32_t LoadHalf(const std::byte* from) {
  return reinterpret_cast<uintptr_t>(from) % 2 == 0
             ? LoadPacket<2>(from).words[0]
             : LoadBytes<2>(from);
}
__device__ __forceinline__ void StoreHalf(uint32_t bits, std::byte* to) {
  if (reinterpret_cast<uintptr_t>(to) % 2 == 0) {
    StorePacket<2>({{bits}}, to);
  } else {
    StoreBytes<2>(bits, to);
  }
}

// What fp16 holds of a decoded value; other elements hold all.
template <class Element>
BANYAN_HD float Cut(float x) {
  if (Element::kIsFp16) {
    x = x < 65504.0f ? x : 65504.0f;
    x = x > -65504.0f ? x : -65504.0f;
  }
  return x;
}

// ---- For both ----

// One field of each element of a row.
BANYAN_HD constexpr uint32_t RunBytes(uint32_t dim, uint32_t bits) {
  const uint32_t fields = 8 / bits;
  return (dim + fields - 1) / fields;
}

// The codes of a row: one run; with 3 bits two, of the lower two bits and of the
// third.
BANYAN_HD constexpr uint32_t RowBytes(uint32_t dim, uint32_t bits) {
  return bits == 3 ? RunBytes(dim, 2) + RunBytes(dim, 1) : RunBytes(dim, bits);
}

// ---- For launchers ----

inline bool AreRowsMultiplesOf(const PlaneBatch& planes, uint32_t bytes) {
  return (reinterpret_cast<uintptr_t>(planes.rows) | planes.plane_stride |
          planes.token_stride | planes.head_stride) %
             bytes ==
         0;
}

// Whether the runs of a row are whole words, with all fields full; and where
// encoded forms begin, and what `places` has the bits of, is whole words too.
inline bool HasWordsOfCodes(const PlaneBatch& planes, uint32_t bits,
                            uint64_t places) {
  const uint32_t least = bits == 4 ? 8 : bits == 3 ? 32 : 16;
  return planes.dim % least == 0 &&
         (reinterpret_cast<uintptr_t>(planes.encoded) | planes.encoded_stride |
          places) %
                 4 ==
             0;
}

// A block of threads for each of `blocks` and each plane.
inline cudaLaunchConfig_t ConfigOf(const PlaneBatch& planes, uint64_t blocks,
                                   uint32_t threads, size_t shared_bytes,
                                   void* stream) {
  return {dim3(static_cast<uint32_t>(blocks), planes.planes),
          dim3(threads),
          shared_bytes,
          static_cast<cudaStream_t>(stream),
          nullptr,
          0};
}

// Calls run(element, bits) with the type of elements and the bits of codes, 4, 3
// or 2, as types.
template <class Run>
cudaError_t WithTypeAndBits(const PlaneBatch& planes, uint32_t bits,
                            const Run& run) {
  const auto with_type = [&](auto element) {
    switch (bits) {
      case 4:
        return run(element, Constant<4>());
      case 3:
        return run(element, Constant<3>());
      default:
        return run(element, Constant<2>());
    }
  };
  return planes.is_bf16 ? with_type(Bf16()) : with_type(Fp16());
}

}  // namespace banyan::codec
