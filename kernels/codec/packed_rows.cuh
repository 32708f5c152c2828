// Rows of codes of 4, 3 or 2 bits in runs: field f of a run's byte i is of the
// element i + f * stride. A lane reads its elements' codes; a warp writes a row.
// Format: docs/formats/codec_rotlm.md.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/plane_batch.cuh"

namespace banyan::codec {

// Adds the fields of kBits of the elements from `first` on, shifted.
template <int kBits, int kCount>
__device__ __forceinline__ void AddFields(const std::byte* run, uint32_t stride,
                                          uint32_t first, bool has_words,
                                          int shift,
                                          uint32_t (&codes)[kCount]) {
  constexpr uint32_t kMask = (1u << kBits) - 1;
  if (kCount % 4 == 0 && has_words) {
    const uint32_t field = first / stride;
    const std::byte* const from = run + (first - field * stride);
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const uint32_t word = LoadPacket<4>(from + i).words[0] >> field * kBits;
#pragma unroll
      for (int j = 0; j < 4 && i + j < kCount; ++j) {
        codes[i + j] |= (word >> (8 * j) & kMask) << shift;
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const uint32_t field = (first + i) / stride;
      const std::byte* const from = run + (first + i - field * stride);
      const uint32_t byte = LoadPacket<1>(from).words[0];
      codes[i] |= (byte >> field * kBits & kMask) << shift;
    }
  }
}

// The codes of the elements from `first` on, of a row of `dim`. has_words: runs
// are whole words, and begin at such.
template <int kBits, int kCount>
__device__ __forceinline__ void LoadCodes(uint32_t dim, bool has_words,
                                          const std::byte* row, uint32_t first,
                                          uint32_t (&codes)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) codes[i] = 0;
  if constexpr (kBits == 3) {
    const uint32_t low_bytes = RunBytes(dim, 2);
    AddFields<2>(row, low_bytes, first, has_words, 0, codes);
    AddFields<1>(row + low_bytes, RunBytes(dim, 1), first, has_words, 2, codes);
  } else {
    AddFields<kBits>(row, RunBytes(dim, kBits), first, has_words, 0, codes);
  }
}

// Writes one run of the warp's codes, which lie in shared memory as bits of
// floats: the fields are kBits of each, from `shift` on.
template <int kBits>
__device__ __forceinline__ void StoreRun(const float* codes, uint32_t dim,
                                         int shift, bool has_words,
                                         std::byte* run) {
  constexpr uint32_t kFields = 8 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  const uint32_t stride = RunBytes(dim, kBits);
  // Of the last fields, some have no element.
  const auto byte_of = [&](uint32_t at) {
    uint32_t byte = 0;
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      const uint32_t element = at + field * stride;
      const uint32_t code = BitsOfFloat(codes[SmallerOf(element, dim - 1)]);
      const uint32_t bits = (code >> shift & kMask) << (field * kBits);
      byte |= element < dim ? bits : 0;
    }
    return byte;
  };
  const uint32_t lane = threadIdx.x % 32;
  if (has_words) {
#pragma unroll 1
    for (uint32_t at = 4 * lane; at < stride; at += 128) {
      const uint32_t word = byte_of(at) | byte_of(at + 1) << 8 |
                            byte_of(at + 2) << 16 | byte_of(at + 3) << 24;
      StorePacket<4>({{word}}, run + at);
    }
  } else {
#pragma unroll 1
    for (uint32_t at = lane; at < stride; at += 32) {
      StorePacket<1>({{byte_of(at)}}, run + at);
    }
  }
}

// All lanes of the warp are there. has_words: as above.
template <int kBits>
__device__ __forceinline__ void StoreCodes(uint32_t dim, bool has_words,
                                           const float* codes, std::byte* row) {
  if constexpr (kBits == 3) {
    StoreRun<2>(codes, dim, 0, has_words, row);
    StoreRun<1>(codes, dim, 2, has_words, row + RunBytes(dim, 2));
  } else {
    StoreRun<kBits>(codes, dim, 0, has_words, row);
  }
}

}  // namespace banyan::codec
