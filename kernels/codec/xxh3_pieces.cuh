// The arithmetic of XXH3-128 for inputs of more than 240 bytes (xxHash 0.8): what
// the kernel of xxh3_pieces.cu does to stripes, lanes and keys. The host's way is
// the library.
#pragma once

#include <cuda_runtime.h>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

inline constexpr uint32_t kStripeBytes = 64;
inline constexpr uint32_t kLanes = 8;  // Words of a stripe.
inline constexpr uint32_t kBlockStripes = 16;
inline constexpr uint32_t kBlockBytes = kBlockStripes * kStripeBytes;
inline constexpr uint32_t kSecretWords = 24;

inline constexpr uint64_t kPrime32A = 0x9E3779B1;
inline constexpr uint64_t kPrime64A = 0x9E3779B185EBCA87;
inline constexpr uint64_t kPrime64B = 0xC2B2AE3D27D4EB4F;

// What a lane's sum starts from.
BANYAN_HD inline uint64_t StartOfLane(uint32_t lane) {
  constexpr uint64_t kPrime32B = 0x85EBCA77;
  constexpr uint64_t kPrime32C = 0xC2B2AE3D;
  constexpr uint64_t kPrime64C = 0x165667B19E3779F9;
  constexpr uint64_t kPrime64D = 0x85EBCA77C2B2AE63;
  constexpr uint64_t kPrime64E = 0x27D4EB2F165667C5;
  const uint64_t low = lane == 0   ? kPrime32C
                       : lane == 1 ? kPrime64A
                       : lane == 2 ? kPrime64B
                                   : kPrime64C;
  const uint64_t high = lane == 4   ? kPrime64D
                        : lane == 5 ? kPrime32B
                        : lane == 6 ? kPrime64E
                                    : kPrime32A;
  return lane < 4 ? low : high;
}

// Eight bytes of the keys, from any of them on. Requires: at < 184.
BANYAN_HD inline uint64_t KeyAt(const uint64_t* keys, uint32_t at) {
  const uint32_t shift = at % 8 * 8;
  const uint64_t low = keys[at / 8] >> shift;
  return shift == 0 ? low : low | keys[at / 8 + 1] << (64 - shift);
}

// What a word adds to its own lane's sum; its value goes to the neighbour's.
BANYAN_HD inline uint64_t Product(uint64_t word, uint64_t key) {
  const uint64_t keyed = word ^ key;
  return (keyed & 0xFFFFFFFF) * (keyed >> 32);
}

BANYAN_HD inline uint64_t Scrambled(uint64_t sum, uint64_t key) {
  return (sum ^ (sum >> 47) ^ key) * kPrime32A;
}

// Half of the checksum. `keys_at` is an offset in bytes.
__device__ __forceinline__ uint64_t Merged(const uint64_t* sums,
                                           const uint64_t* keys,
                                           uint32_t keys_at, uint64_t start) {
  uint64_t result = start;
  for (uint32_t i = 0; i < kLanes; i += 2) {
    const uint64_t a = sums[i] ^ KeyAt(keys, keys_at + 8 * i);
    const uint64_t b = sums[i + 1] ^ KeyAt(keys, keys_at + 8 * i + 8);
    result += (a * b) ^ __umul64hi(a, b);
  }
  result ^= result >> 37;
  result *= 0x165667919E3779F9;
  return result ^ (result >> 32);
}

}  // namespace banyan::codec
