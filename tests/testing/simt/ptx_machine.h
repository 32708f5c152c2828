// Runs a kernel of PTX on the executor, a fiber for each thread, so barriers,
// shuffles and deadlocks are judged as for kernels in C++, and, with a checker
// that watches, bounds, values and races. This is what nvcc made of the source;
// what ptxas makes of that is not run anywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/testing/simt/executor.h"
#include "tests/testing/simt/ptx_module.h"
#include "tests/testing/simt/run_kernel.h"

namespace banyan::simt::ptx {

// Instructions that all threads executed so far: the other half of a roofline.
uint64_t ExecutedInstructions();

// Errors: see Executor; kInvalidArgument for arguments that do not fit.
absl::Status RunPtxBytes(const Kernel& kernel, const LaunchShape& shape,
                         absl::Span<const std::vector<std::byte>> arguments);

// kernel<<<grid, block>>>(arguments...), and its end.
template <class... Arguments>
absl::Status RunPtx(const Kernel& kernel, Dim3 grid, Dim3 block,
                    const Arguments&... arguments) {
  return RunPtxBytes(kernel, {grid, block}, {BytesOf(arguments)...});
}

}  // namespace banyan::simt::ptx
