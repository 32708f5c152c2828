// The bytes of elements taken apart, and put together again: byte 0 of all
// elements of some rows, then byte 1 and so on. Elements are first rotated left
// by one bit, if they are floats, so that byte 0 is the exponent's and the sign
// is the last bit of the last byte.
// Format: docs/formats/codec_lossless.md.
#pragma once

#include <cstdint>

#include "kernels/codec/plane.h"

namespace banyan::codec {

// The first `tokens` tokens of the plane, to [byte, token, head, element].
void SplitBytes(const PlaneShape& shape, const PlaneSource& plane,
                uint32_t tokens, uint8_t* to);

void JoinBytes(const PlaneShape& shape, const uint8_t* from, uint32_t tokens,
               const PlaneTarget& plane);

}  // namespace banyan::codec
