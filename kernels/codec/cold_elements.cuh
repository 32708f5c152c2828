// The elements of a cold unit: read, without their rotary embedding, less means, and
// turned into components where it is weighted.
// Format: docs/formats/codec_cold.md. The host's way is cold_unit.cc.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/cold_encode.cuh"

namespace banyan::codec {

inline constexpr float kColdElementMax = 65504;

struct ColdElementsShared {
  ColdEncodeUnit unit;
  ColdTerms terms;
  uint32_t fit_warps[kColdThreads / 32];
};

// Elements less means, without their rotary embedding. False if some are unfit.
template <class Element>
__device__ __forceinline__ bool LoadColdUnit(const ColdBatch& b,
                                             const ColdEncodeUnit& u,
                                             float* to) {
  const Rotation& r = b.codes.rotation;
  const uint32_t dim = b.planes.dim;
  const uint32_t pairs = ColdPairsOf(dim, r.pairs);
  const uint32_t of_token = b.planes.heads * pairs;
  const float* const means = ColdTableOf(b) + kColdMeansAt;
  bool is_fit = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < u.tokens * of_token; i += kColdThreads) {
    const uint32_t token = i / of_token;
    const uint32_t head = i % of_token / pairs;
    const uint32_t index = i % pairs;
    const ColdPair pair = ColdPairOf(dim, r, index);
    const std::byte* const from = RowOf(b.planes, u.first_token + token, head);
    float x = Element::Value(LoadPacket<2>(from + 2 * pair.first).words[0]);
    float y =
        pair.has_second
            ? Element::Value(LoadPacket<2>(from + 2 * pair.second).words[0])
            : 0;
    if (pair.is_rotated) {
      const uint64_t at = uint64_t{u.first_token + token} * r.pairs + index;
      const float cosine = r.cosines[at];
      const float sine = r.sines[at];
      const float rotated = x * cosine - y * sine;
      y = y * cosine + x * sine;
      x = rotated;
    }
    is_fit &= fabsf(x) <= kColdElementMax && fabsf(y) <= kColdElementMax;
    const uint32_t channel = head * dim;
    float* const row = to + uint64_t{token} * b.width + channel;
    const bool is_weighted = b.codes.is_weighted;
    row[pair.first] = is_weighted ? x - means[channel + pair.first] : x;
    if (!pair.has_second) continue;
    row[pair.second] = is_weighted ? y - means[channel + pair.second] : y;
  }
  return is_fit;
}

// Components of what LoadColdUnit left among the coefficients.
__device__ __forceinline__ bool TurnColdUnit(const ColdBatch& b,
                                             const ColdEncodeUnit& u,
                                             ColdTerms& terms) {
  const uint32_t dim = b.planes.dim;
  const float* const inverses =
      ColdTableOf(b) + kColdMeansAt + b.width + uint64_t{b.width} * dim;
#pragma unroll 1
  for (uint32_t head = 0; head < b.planes.heads; ++head) {
    const float* const rows = FloatsAt(b, u.coefficients) + head * dim;
    SumLongColdRows<ColdOrder::kTerms>(
        {.rows = u.tokens,
         .count = dim,
         .from = inverses + uint64_t{head} * dim * dim,
         .from_stride = dim,
         .width = dim,
         .to = FloatsAt(b, u.elements) + head * dim,
         .to_stride = b.width},
        [&](uint32_t i, uint32_t row) {
          return rows[uint64_t{row} * b.width + i];
        },
        terms);
  }
  __syncthreads();
  bool is_fit = true;
#pragma unroll 1
  for (uint32_t i = threadIdx.x; i < u.tokens * b.width; i += kColdThreads) {
    is_fit &= fabsf(FloatsAt(b, u.elements)[i]) <= kColdElementMax;
  }
  return is_fit;
}

}  // namespace banyan::codec
