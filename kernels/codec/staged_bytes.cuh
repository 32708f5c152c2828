// Bytes that some threads copy between device memory and shared memory, where
// they are put together or taken apart: what lies at odd places, or is written in
// parts, is still moved by whole words, and no sector is asked for twice.
//
// Threads: number `thread` of `threads`, which are whole warps. Barriers are the
//          caller's.
#pragma once

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

// A warp's request is a line of so many bytes.
inline constexpr uint32_t kLineBytes = 128;

// Where bytes for `address` are staged in an area that is a multiple of 4: as far
// behind one as they are in device memory.
BANYAN_HD inline std::byte* StagedFor(const std::byte* address,
                                      std::byte* area) {
  return area + reinterpret_cast<uintptr_t>(address) % 4;
}

// Copies to StagedFor(...) of device memory, or back.
__device__ __forceinline__ void CopyStaged(const std::byte* from, std::byte* to,
                                           const std::byte* of_device,
                                           uint32_t bytes, uint32_t thread,
                                           uint32_t threads) {
  const auto skew = static_cast<uint32_t>(
      reinterpret_cast<uintptr_t>(of_device) % kLineBytes);
  const uint32_t end = skew + bytes;
#pragma unroll 1
  for (uint32_t at = 4 * thread; at < end; at += 4 * threads) {
    if (at >= skew && at + 4 <= end) {
      StorePacket<4>(LoadPacket<4>(from + (at - skew)), to + (at - skew));
      continue;
    }
    for (uint32_t i = LargerOf(at, skew); i < SmallerOf(at + 4, end); ++i) {
      StorePacket<1>(LoadPacket<1>(from + (i - skew)), to + (i - skew));
    }
  }
}

__device__ __forceinline__ void LoadStaged(const std::byte* from,
                                           uint32_t bytes, std::byte* staged,
                                           uint32_t thread, uint32_t threads) {
  CopyStaged(from, staged, from, bytes, thread, threads);
}

__device__ __forceinline__ void StoreStaged(const std::byte* staged,
                                            uint32_t bytes, std::byte* to,
                                            uint32_t thread, uint32_t threads) {
  CopyStaged(staged, to, to, bytes, thread, threads);
}

}  // namespace banyan::codec
