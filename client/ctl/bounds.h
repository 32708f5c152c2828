// What a trace allows at best. A hit is a block of the leading run of a prompt
// that is cached when the prompt comes; afterwards the whole prompt is cached.
#pragma once

#include <cstdint>
#include <vector>

#include "client/ctl/trace.h"

namespace banyan::ctl {

// Hits of a cache that never evicts.
uint64_t InfiniteHits(const std::vector<TraceRequest>& trace);

// Hits of a cache of `capacity_blocks` that evicts the block whose next use is
// farthest (Belady 1966). Blocks of one prompt are used at the same time; the
// deeper one goes first.
uint64_t BeladyHits(const std::vector<TraceRequest>& trace,
                    uint64_t capacity_blocks);

}  // namespace banyan::ctl
