// What CUDA's runtime answers, as a Status.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace banyan {

// OK for a cudaError_t of 0, else kUnavailable reason CUDA: whatever it is, the
// host's way is open. `what` was tried.
absl::Status CudaStatus(int cuda_error, absl::string_view what);

}  // namespace banyan
