// The elements of one token as floats, [head, element], and back, for the best
// target of this processor.
#pragma once

#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

// With a table, their rotary embedding is taken off.
// Requires: fp16 or bf16.
void LoadToken(const PlaneShape& shape, const PlaneSource& plane,
               uint32_t token, const RopeTable* rope, float* to);

// With a table, it is put on; fp16 is cut to what it holds. Both change `from`,
// and nothing behind it.
void StoreToken(const PlaneShape& shape, float* from, uint32_t token,
                const RopeTable* rope, const PlaneTarget& plane);

}  // namespace banyan::codec
