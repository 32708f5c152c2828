// The rotary embedding of rows of floats in shared memory: put on or taken off,
// as the table has it.
// Format: docs/formats/codec_block.md.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/codec/launch_codec.h"

namespace banyan::codec {

// Rows of one token, `pitch` floats from each other. Neighbouring threads have
// neighbouring pairs. Threads: number `thread` of `threads`.
__device__ __forceinline__ void RotateRows(const Rotation& r, uint32_t token,
                                           float* rows, uint32_t count,
                                           uint32_t pitch, uint32_t thread,
                                           uint32_t threads) {
  const uint32_t distance = r.is_interleaved ? 1 : r.pairs;
#pragma unroll 1
  for (uint32_t i = thread; i < count * r.pairs; i += threads) {
    const uint32_t pair = i % r.pairs;
    float* const row = rows + i / r.pairs * pitch;
    const uint32_t first = r.is_interleaved ? 2 * pair : pair;
    const uint64_t at = uint64_t{token} * r.pairs + pair;
    const float cosine = r.cosines[at];
    const float sine = r.sines[at];
    const float x = row[first];
    const float y = row[first + distance];
    row[first] = x * cosine - y * sine;
    row[first + distance] = y * cosine + x * sine;
  }
}

}  // namespace banyan::codec
