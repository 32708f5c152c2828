// Runs a kernel of PTX on the executor, a fiber for each thread, so barriers,
// shuffles and deadlocks are judged as for kernels in C++, and, with a checker
// that watches, bounds, values and races. This is what nvcc made of the source;
// what ptxas makes of that is not run anywhere.
#pragma once

#include <cstring>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/simt/executor.h"
#include "tests/testing/simt/ptx_module.h"

namespace banyan::simt::ptx {

// Instructions that all threads executed so far: the other half of a roofline.
uint64_t ExecutedInstructions();

// Errors: see Executor; kInvalidArgument for arguments that do not fit.
absl::Status RunParameters(const Kernel& kernel, Dim3 grid, Dim3 block,
                           const std::vector<std::byte>& parameters);

// Puts `argument` where the kernel's parameter number `index` lies.
absl::Status PutArgument(const Kernel& kernel, size_t index,
                         const void* argument, size_t bytes,
                         std::vector<std::byte>* parameters);

// kernel<<<grid, block>>>(arguments...), and its end.
template <class... Arguments>
absl::Status RunPtx(const Kernel& kernel, Dim3 grid, Dim3 block,
                    const Arguments&... arguments) {
  std::vector<std::byte> parameters(kernel.parameter_bytes);
  if (sizeof...(arguments) != kernel.parameters.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        kernel.name, ": wants ", kernel.parameters.size(), " arguments"));
  }
  size_t index = 0;
  absl::Status status;
  ((status.Update(PutArgument(kernel, index++, &arguments, sizeof(arguments),
                              &parameters))),
   ...);
  if (!status.ok()) return status;
  return RunParameters(kernel, grid, block, parameters);
}

}  // namespace banyan::simt::ptx
