// Cold planes: how their units lie, for the kernels of cold_planes.cu and
// cold_encode.cu.
// Format: docs/formats/codec_cold.md.
#pragma once

#include <cstdint>

#include "kernels/codec/plane_batch.cuh"

namespace banyan::codec {

inline constexpr uint32_t kColdHeadBytes = 5;
inline constexpr uint32_t kColdFactorBytes = 2;
inline constexpr uint32_t kColdSizeBytes = 4;  // Of a unit, in the prefix.
inline constexpr uint32_t kColdAroundBytes = 76;
inline constexpr uint32_t kColdBitParts = 64;
inline constexpr int kColdExponentMin = -832;
inline constexpr int kColdExponentMax = 768;

struct ColdBatch {
  PlaneBatch planes;
  ColdCodes codes;
  uint32_t width;
  uint32_t units;
};

inline ColdBatch ColdBatchOf(const PlaneBatch& planes, const ColdCodes& codes) {
  return {planes, codes, planes.heads * planes.dim,
          (planes.tokens + codes.unit_tokens - 1) / codes.unit_tokens};
}

__device__ __forceinline__ uint32_t ColdTokensOf(const ColdBatch& b,
                                                 uint32_t unit) {
  return SmallerOf(b.codes.unit_tokens,
                   b.planes.tokens - unit * b.codes.unit_tokens);
}

__device__ __forceinline__ const float* ColdTableOf(const ColdBatch& b) {
  return b.codes.tables + blockIdx.y * b.codes.table_stride;
}

__device__ __forceinline__ std::byte* ColdPlaneOf(const ColdBatch& b) {
  return b.planes.encoded + (b.codes.begins != nullptr
                                 ? b.codes.begins[blockIdx.y]
                                 : blockIdx.y * b.planes.encoded_stride);
}

// The most bytes of a unit.
__device__ __forceinline__ uint64_t ColdBytesMax(const ColdBatch& b,
                                                 uint32_t tokens) {
  const uint32_t elements = tokens * b.width;
  const auto bits = static_cast<uint32_t>(ColdTableOf(b)[kColdBitsAt]);
  const uint64_t bytes = uint64_t{elements} * bits / (8 * kColdBitParts);
  const uint64_t least = elements / 8 + 64;
  return bytes > least + kColdAroundBytes ? bytes - kColdAroundBytes : least;
}

// The step of an exponent.
__device__ __forceinline__ float ColdStepAt(const ColdBatch& b, int exponent) {
  const auto part = static_cast<uint32_t>(exponent) % kColdOctaveSteps;
  const int octave =
      (exponent - static_cast<int>(part)) / static_cast<int>(kColdOctaveSteps);
  return ColdTableOf(b)[part] *
         FloatOfBits(static_cast<uint32_t>(octave + 127) << 23);
}

}  // namespace banyan::codec
