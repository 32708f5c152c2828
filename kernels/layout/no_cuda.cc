// Stands for CUDA's files in builds without it.
#include "base/error.h"
#include "kernels/layout/gather_blocks.h"

namespace banyan::layout {
namespace {

absl::Status NoCuda() {
  return MakeError(absl::StatusCode::kUnavailable, "CUDA",
                   "this build has no CUDA. Use the host's functions, or build "
                   "with BANYAN_CUDA=ON.");
}

}  // namespace

absl::Status GatherBlocksOnDevice(const KvLayout&, const PagedLayout&,
                                  const MoveRequest&,
                                  absl::Span<const std::byte* const>,
                                  std::byte*, DeviceStream) {
  return NoCuda();
}

absl::Status ScatterBlocksOnDevice(const KvLayout&, const PagedLayout&,
                                   const MoveRequest&, const std::byte*,
                                   absl::Span<std::byte* const>, DeviceStream) {
  return NoCuda();
}

}  // namespace banyan::layout
