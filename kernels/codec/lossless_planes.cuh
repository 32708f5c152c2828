// Lossless planes: how their units lie, and what the kernels of lossless_planes.cu
// and lossless_encode.cu do to a code or an element. The host's way is
// lossless_codec.cc and huffman.cc.
// Format: docs/formats/codec_lossless.md.
#pragma once

#include <cstdint>

#include "kernels/codec/plane_batch.cuh"

namespace banyan::codec {

inline constexpr uint32_t kLosslessBitsMax = 11;
inline constexpr uint32_t kLosslessTableSize = 1u << kLosslessBitsMax;

inline constexpr uint32_t kLosslessKinds = 2;
inline constexpr uint32_t kLosslessStrings = 4;  // Of a kind.
inline constexpr uint32_t kLosslessSymbols = 256;

// ---- Codes ----

// Codes are canonical, and so in the order of lengths, then of symbols: how many
// entries of a table, by the first 11 bits as a number, another symbol has before
// this one.
BANYAN_HD inline uint32_t EntriesBefore(uint32_t other_length, uint32_t other,
                                        uint32_t length, uint32_t symbol) {
  const bool is_before =
      other_length < length || (other_length == length && other < symbol);
  return other_length > 0 && is_before ? kLosslessTableSize >> other_length : 0;
}

// The code behind so many entries, its first bit lowest.
BANYAN_HD inline uint32_t ReversedCode(uint32_t entries, uint32_t length) {
  uint32_t code = 0;
  for (uint32_t bit = 0; bit < length; ++bit) {
    code |= (entries >> (kLosslessBitsMax - 1 - bit) & 1) << bit;
  }
  return code;
}

// An element whose bits, rotated left by one, are these two bytes.
BANYAN_HD inline uint32_t ElementOfBytes(uint32_t high, uint32_t low) {
  const uint32_t rotated = high << 8 | low;
  return rotated >> 1 | (rotated & 1) << 15;
}

// The byte of a kind, the higher one first, of an element with these bits.
BANYAN_HD inline uint32_t ByteOfElement(uint32_t bits, uint32_t kind) {
  const uint32_t rotated = bits << 1 | bits >> 15;
  return rotated >> (kind == 0 ? 8 : 0) & 0xFF;
}

// ---- Units ----

struct LosslessBatch {
  PlaneBatch planes;
  LosslessUnits units;
};

BANYAN_HD inline uint32_t UnitsOf(const LosslessBatch& b) {
  return (b.planes.tokens + b.units.unit_tokens - 1) / b.units.unit_tokens;
}

__device__ __forceinline__ std::byte* PlaneOf(const LosslessBatch& b) {
  const uint64_t begin = b.units.begins != nullptr
                             ? b.units.begins[blockIdx.y]
                             : blockIdx.y * b.planes.encoded_stride;
  return b.planes.encoded + begin;
}

// Where the lengths of a kind's codes are, two in a byte.
__device__ __forceinline__ std::byte* LengthsOf(const LosslessBatch& b,
                                                std::byte* plane,
                                                uint32_t kind) {
  return plane + b.units.prefix_bytes -
         (kLosslessKinds - kind) * kLosslessSymbols / 2;
}

__device__ __forceinline__ uint32_t ElementsOf(const LosslessBatch& b,
                                               uint32_t unit) {
  const uint32_t tokens = SmallerOf(
      b.units.unit_tokens, b.planes.tokens - unit * b.units.unit_tokens);
  return tokens * b.planes.heads * b.planes.dim;
}

__device__ __forceinline__ std::byte* PlaceOf(const LosslessBatch& b,
                                              uint32_t unit, uint32_t element) {
  const uint32_t row = element / b.planes.dim;
  const uint32_t token = row / b.planes.heads;
  return b.planes.rows + blockIdx.y * b.planes.plane_stride +
         uint64_t{unit * b.units.unit_tokens + token} * b.planes.token_stride +
         row % b.planes.heads * b.planes.head_stride +
         2 * (element % b.planes.dim);
}

// A kind's four strings in a unit of so many elements.
struct KindSizes {
  uint32_t sizes[kLosslessStrings];
  uint32_t coded;  // 0: kept as it is.

  BANYAN_HD uint32_t Bytes(uint32_t elements) const {
    return coded > 0 ? coded : elements;
  }
  // An encoder codes what gets shorter by 8 bytes at least.
  BANYAN_HD bool IsGood(uint32_t elements) const {
    return coded == 0 || coded + 8 <= elements;
  }
};

// Where the sizes of a kind's strings are, 16 bits each.
__device__ __forceinline__ std::byte* SizesAt(std::byte* plane, uint32_t unit,
                                              uint32_t kind) {
  return plane + 2 * kLosslessStrings * (kLosslessKinds * unit + kind);
}

__device__ __forceinline__ KindSizes SizesOf(std::byte* plane, uint32_t unit,
                                             uint32_t kind) {
  const std::byte* const from = SizesAt(plane, unit, kind);
  KindSizes s;
  s.coded = 0;
#pragma unroll
  for (uint32_t i = 0; i < kLosslessStrings; ++i) {
    s.sizes[i] = LoadBytes<2>(from + 2 * i);
    s.coded += s.sizes[i];
  }
  return s;
}

// Bytes of all units before this one, to all lanes of the warp. Sets is_good to
// false if no encoder writes such sizes.
__device__ __forceinline__ uint64_t BytesBefore(const LosslessBatch& b,
                                                std::byte* plane, uint32_t unit,
                                                bool& is_good) {
  // Units are 128 KiB at most: sums of 2^15 fit.
  uint64_t bytes = 0;
  for (uint32_t other = threadIdx.x % 32; other < unit; other += 32) {
    const uint32_t elements = ElementsOf(b, other);
    for (uint32_t kind = 0; kind < kLosslessKinds; ++kind) {
      const KindSizes s = SizesOf(plane, other, kind);
      is_good &= s.IsGood(elements);
      bytes += s.Bytes(elements);
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    bytes += __shfl_xor_sync(~0u, bytes, step);
  }
  return bytes;
}

}  // namespace banyan::codec
