// How rows are rotated: by a Hadamard matrix for each part of a row, and by fixed
// signs.
// Format: docs/formats/codec_rotlm.md.
#pragma once

#include <cstdint>
#include <vector>

namespace banyan::codec {

// From the left, the largest powers of two that are left, at most 256 each: so
// that sums of levels fit 16 bits.
std::vector<uint32_t> HadamardParts(uint32_t dim);

// 1 or -1 for each element.
std::vector<float> RotationSigns(uint32_t dim);

}  // namespace banyan::codec
