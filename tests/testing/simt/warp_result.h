// What the lanes of a warp get from a warp operation, once all of them came.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "tests/testing/simt/gpu_thread.h"

namespace banyan::simt {

const char* NameOf(WarpOp op);

// Sets `result` of each lane of `mask`; says what is wrong, or "".
// Requires: mask names lanes of `warp` only, and is not 0.
std::string ComputeWarpResults(absl::Span<GpuThread> warp, uint32_t mask);

}  // namespace banyan::simt
