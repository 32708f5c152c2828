// The arithmetic of the fp8 codec, for the best target of this processor.
// Format: docs/formats/codec_fp8.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/plane.h"

namespace banyan::codec {

// The largest magnitude of each head; infinity if an element is not finite.
void MagnitudesOfHeads(const PlaneShape& shape, const PlaneSource& plane,
                       float* magnitudes);

// All rows, token by token: elements times their head's factor as e4m3.
void EncodeFp8Rows(const PlaneShape& shape, const PlaneSource& plane,
                   const float* factors, std::byte* codes);

// The reverse, of the plane's first `tokens` tokens. False if a code is a NaN.
// Streamed: past the caches, which takes a plane that StoresOf allows it for.
bool DecodeFp8Rows(const PlaneShape& shape, const std::byte* codes,
                   const float* scales, uint32_t tokens, Stores stores,
                   const PlaneTarget& plane);

}  // namespace banyan::codec
