// Which of many coefficients are worth how many bits. A bit more makes the
// squared error of a coefficient a quarter, so each bit goes where that saves
// most: the error that is left then is the least for so many bits.
//
// Source:  reverse water-filling, as of KVTC (ICLR 2026).
// Threads: functions between buffers; nothing is allocated.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace banyan::codec {

inline constexpr uint8_t kAllocatedBitsMax = 32;

// Sets bits[i], the bits of a coefficient of variance variances[i]; all of
// `budget` is given away unless that one has kAllocatedBitsMax whose turn it is,
// or none is worth any. Of equals, the first one gets it. Returns the sum of
// variance / 4^bits.
// Requires: finite variances, 0 or more, fewer than 2^24; `bits` and `order`
// are as many. What `order` then holds means nothing.
double AllocateBits(absl::Span<const float> variances, uint64_t budget,
                    absl::Span<uint8_t> bits, absl::Span<float> order);

}  // namespace banyan::codec
