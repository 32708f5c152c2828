#include "kernels/cuda_status.h"

#include <cuda_runtime.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan {

absl::Status CudaStatus(int cuda_error, absl::string_view what) {
  const auto error = static_cast<cudaError_t>(cuda_error);
  if (error == cudaSuccess) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kUnavailable, "CUDA",
      absl::StrCat(what, ": ", cudaGetErrorString(error), " (CUDA error ",
                   cuda_error, "). Use the host's functions."));
}

}  // namespace banyan
