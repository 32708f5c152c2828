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

// The bytes of a run from `at` on, as one word. Codes lie in shared memory as bits
// of floats; the run's fields are kBits of each, from `shift` on.
template <int kBits, int kBytes>
__device__ __forceinline__ uint32_t BytesOfRun(const float* codes, uint32_t dim,
                                               int shift, uint32_t at) {
  constexpr uint32_t kFields = 8 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  const uint32_t stride = RunBytes(dim, kBits);
  uint32_t word = 0;
#pragma unroll
  for (uint32_t i = 0; i < kBytes; ++i) {
#pragma unroll
    for (uint32_t field = 0; field < kFields; ++field) {
      // Of the last fields, some have no element.
      const uint32_t element = at + i + field * stride;
      const uint32_t code = BitsOfFloat(codes[SmallerOf(element, dim - 1)]);
      const uint32_t bits = (code >> shift & kMask) << (8 * i + field * kBits);
      word |= element < dim ? bits : 0;
    }
  }
  return word;
}

// The same of a row.
template <int kBits, int kBytes>
__device__ __forceinline__ uint32_t BytesOfCodes(const float* codes,
                                                 uint32_t dim, uint32_t at) {
  if constexpr (kBits == 3) {
    const uint32_t low_bytes = RunBytes(dim, 2);
    return at < low_bytes
               ? BytesOfRun<2, kBytes>(codes, dim, 0, at)
               : BytesOfRun<1, kBytes>(codes, dim, 2, at - low_bytes);
  } else {
    return BytesOfRun<kBits, kBytes>(codes, dim, 0, at);
  }
}

// Writes the warp's row of codes, both runs of 3 bits in one request. All lanes are
// there. has_words: as above.
template <int kBits>
__device__ __forceinline__ void StoreCodes(uint32_t dim, bool has_words,
                                           const float* codes, std::byte* row) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t bytes = RowBytes(dim, kBits);
  if (has_words) {
#pragma unroll 1
    for (uint32_t at = 4 * lane; at < bytes; at += 128) {
      StorePacket<4>({{BytesOfCodes<kBits, 4>(codes, dim, at)}}, row + at);
    }
  } else {
#pragma unroll 1
    for (uint32_t at = lane; at < bytes; at += 32) {
      StorePacket<1>({{BytesOfCodes<kBits, 1>(codes, dim, at)}}, row + at);
    }
  }
}

}  // namespace banyan::codec
