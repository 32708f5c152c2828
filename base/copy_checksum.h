// The part of CopyXxh3_128 (base/checksum.h) that is for processors without
// AVX2, where tests reach it on all others.
#pragma once

#include "base/checksum.h"

namespace banyan {

// As CopyXxh3_128; slower.
Checksum128 CopyXxh3_128InSteps(absl::Span<const std::byte> from, std::byte* to,
                                uint64_t seed);

}  // namespace banyan
