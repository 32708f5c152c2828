// The kernel that sums pieces with XXH3-128 and compares, and its launcher.
#include <cuda_runtime.h>

#include "kernels/codec/launch_codec.h"
#include "kernels/codec/xxh3_pieces.cuh"

namespace banyan::codec {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kWarps = kThreads / 32;
// Stripes that a warp reads at once.
constexpr uint32_t kStripesAtOnce = 32 / kLanes;
// Sums of blocks that are kept until they are chained.
constexpr uint32_t kChunkBlocks = 64;

// A word of a piece, which kAlign divides.
template <int kAlign>
__device__ __forceinline__ uint64_t LoadWord(const std::byte* from) {
  if constexpr (kAlign == 8) {
    return *reinterpret_cast<const uint64_t*>(from);
  } else {
    return LoadBytes<4>(from) | uint64_t{LoadBytes<4>(from + 4)} << 32;
  }
}

// What the thread's word of a stripe makes: a warp's threads have words of their
// lane.
__device__ __forceinline__ uint64_t TermOf(uint64_t word, uint64_t key) {
  return Product(word, key) + __shfl_xor_sync(~0u, word, 1);
}

// The sums that a whole block adds, one a lane, in all threads of a warp.
template <int kAlign>
__device__ __forceinline__ uint64_t SumOfBlock(const std::byte* block,
                                               const uint64_t* keys) {
  const uint32_t in_warp = threadIdx.x % 32;
  const uint32_t lane = in_warp % kLanes;
  const uint32_t first = in_warp / kLanes;
  constexpr uint32_t kRounds = kBlockStripes / kStripesAtOnce;
  uint64_t words[kRounds];
#pragma unroll
  for (uint32_t i = 0; i < kRounds; ++i) {
    words[i] = LoadWord<kAlign>(block + 8 * in_warp +
                                i * kStripesAtOnce * kStripeBytes);
  }
  uint64_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kRounds; ++i) {
    sum += TermOf(words[i], keys[first + i * kStripesAtOnce + lane]);
  }
  sum += __shfl_xor_sync(~0u, sum, 8);
  return sum + __shfl_xor_sync(~0u, sum, 16);
}

// The end of a piece, which is less than a block and a stripe: added to the sum
// of each lane, in all threads of a warp.
template <int kAlign>
__device__ __forceinline__ uint64_t WithEnd(uint64_t sum,
                                            const std::byte* piece,
                                            uint64_t bytes,
                                            const uint64_t* keys) {
  const uint32_t lane = threadIdx.x % kLanes;
  const uint64_t stripes = (bytes - 1) / kStripeBytes;
  const std::byte* const end = piece + stripes / kBlockStripes * kBlockBytes;
  for (uint32_t i = 0; i < stripes % kBlockStripes; ++i) {
    sum += TermOf(LoadWord<kAlign>(end + i * kStripeBytes + 8 * lane),
                  keys[i + lane]);
  }
  // The last stripe overlaps the one before.
  const std::byte* const last = piece + bytes - kStripeBytes;
  return sum +
         TermOf(LoadWord<1>(last + 8 * lane),
                KeyAt(keys, kSecretWords * 8 - kStripeBytes - 7 + 8 * lane));
}

__device__ __forceinline__ bool IsSum(const uint64_t* sums,
                                      const uint64_t* keys, uint64_t bytes,
                                      const uint64_t* expected) {
  constexpr uint32_t kHighAt = kSecretWords * 8 - kStripeBytes - 11;
  const uint64_t low = Merged(sums, keys, 11, bytes * kPrime64A);
  const uint64_t high = Merged(sums, keys, kHighAt, ~(bytes * kPrime64B));
  return low == expected[0] && high == expected[1];
}

// blockIdx.x: the piece. Blocks of a piece are summed side by side, which is all
// of its bytes; what they add is chained by one warp.
template <int kAlign>
__global__ void __launch_bounds__(kThreads)
    CheckXxh3Pieces(const __grid_constant__ PieceBatch b) {
  const std::byte* const piece = b.pieces + blockIdx.x * b.stride;
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t lane = threadIdx.x % kLanes;
  BANYAN_SHARED(uint64_t, keys, [kSecretWords]);
  BANYAN_SHARED(uint64_t, of_blocks, [kChunkBlocks * kLanes]);
  BANYAN_SHARED(uint64_t, sums, [kLanes]);
  const uint64_t seed = b.seeds[blockIdx.x];
#pragma unroll
  for (uint32_t i = 0; i < kSecretWords; ++i) {
    if (threadIdx.x != i) continue;
    keys[i] = i % 2 == 0 ? b.secret[i] + seed : b.secret[i] - seed;
  }
  __syncthreads();
  uint64_t sum = StartOfLane(lane);
  const uint64_t blocks = (b.bytes - 1) / kBlockBytes;
  for (uint64_t first = 0; first < blocks; first += kChunkBlocks) {
    const auto count = static_cast<uint32_t>(
        blocks - first < kChunkBlocks ? blocks - first : kChunkBlocks);
    for (uint32_t i = warp; i < count; i += kWarps) {
      const uint64_t of_block =
          SumOfBlock<kAlign>(piece + (first + i) * kBlockBytes, keys);
      if (threadIdx.x % 32 < kLanes) of_blocks[i * kLanes + lane] = of_block;
    }
    __syncthreads();
    for (uint32_t i = 0; warp == 0 && i < count; ++i) {
      sum = Scrambled(sum + of_blocks[i * kLanes + lane],
                      keys[kBlockStripes + lane]);
    }
    __syncthreads();
  }
  if (warp != 0) return;
  sum = WithEnd<kAlign>(sum, piece, b.bytes, keys);
  if (threadIdx.x < kLanes) sums[lane] = sum;
  __syncwarp();
  if (threadIdx.x != 0) return;
  if (!IsSum(sums, keys, b.bytes, b.checksums + 2 * uint64_t{blockIdx.x})) {
    atomicOr(b.verdicts + blockIdx.x, kVerdictBadChecksum);
  }
}

}  // namespace

int LaunchXxh3Check(const PieceBatch& b, void* stream) {
  const bool is_aligned =
      (reinterpret_cast<uintptr_t>(b.pieces) | b.stride) % 8 == 0;
  const cudaLaunchConfig_t config = {dim3(b.count),
                                     dim3(kThreads),
                                     0,
                                     static_cast<cudaStream_t>(stream),
                                     nullptr,
                                     0};
  return is_aligned ? cudaLaunchKernelEx(&config, CheckXxh3Pieces<8>, b)
                    : cudaLaunchKernelEx(&config, CheckXxh3Pieces<1>, b);
}

}  // namespace banyan::codec
