// The arithmetic of the fp8 codec, for the best target of this processor.
// Format: docs/formats/codec_fp8.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/plane.h"

namespace banyan::codec {

// The largest magnitude of a head; infinity if an element is not finite.
float MagnitudeOfHead(const PlaneShape& shape, const PlaneSource& plane,
                      uint32_t head);

// Rows of one head: element times `factor` as e4m3. `codes` is where the head's
// codes of the first token go; those of the next are token_elements() on.
void EncodeFp8Head(const PlaneShape& shape, const PlaneSource& plane,
                   uint32_t head, float factor, std::byte* codes);

// The reverse, of the plane's first `tokens` tokens. False if a code is a NaN.
// Streamed: past the caches, which takes a plane that StoresOf allows it for.
bool DecodeFp8Head(const PlaneShape& shape, const std::byte* codes,
                   uint32_t head, float scale, uint32_t tokens, Stores stores,
                   const PlaneTarget& plane);

}  // namespace banyan::codec
