// How long a row of codes is, packed and not.
// Format: docs/formats/codec_block.md, "Runs".
#pragma once

#include <cstdint>

namespace banyan::codec {

// Of `dim` codes of 2, 3 or 4 bits: one run; two for 3 bits, of the lower two
// bits and of the third.
constexpr uint64_t PackedBytes(uint64_t dim, uint32_t bits) {
  if (bits == 3) return (dim + 3) / 4 + (dim + 7) / 8;
  return (dim * bits + 7) / 8;
}

// Codes behind a row that vectors may read and write.
inline constexpr uint32_t kCodePadding = 64;

}  // namespace banyan::codec
