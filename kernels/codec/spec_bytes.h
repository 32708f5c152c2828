// The spec of a plane as 8 bytes.
// Format: docs/formats/codec_block.md.
#pragma once

#include <cstddef>

#include "kernels/codec/codec_spec.h"

namespace banyan::codec {

inline constexpr size_t kSpecBytes = 8;

void StoreSpec(const PlaneSpec& spec, std::byte* out);

// False if no spec that can be written as text has these bytes.
bool LoadSpec(const std::byte* in, PlaneSpec& spec);

}  // namespace banyan::codec
