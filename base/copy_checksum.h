// Copies with a checksum beside CopyXxh3 (base/checksum.h): for a
// destination that is read at once, and for processors without AVX2.
#pragma once

#include "base/checksum.h"

namespace banyan {

// As CopyXxh3, but the copy stays in the caches, whatever its size.
Checksum128 CopyXxh3Cached(absl::Span<const std::byte> from, std::byte* to,
                           uint64_t seed);

// As CopyPiece (base/block_header.h), likewise.
Checksum128 CopyPieceCached(uint64_t checksum_seed, uint32_t piece,
                            absl::Span<const std::byte> from, std::byte* to);

// As CopyXxh3 where there is no AVX2; slower.
Checksum128 CopyXxh3InSteps(absl::Span<const std::byte> from, std::byte* to,
                            uint64_t seed);

}  // namespace banyan
