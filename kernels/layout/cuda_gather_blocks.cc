#include "base/status_macros.h"
#include "kernels/cuda_status.h"
#include "kernels/layout/gather_blocks.h"
#include "kernels/layout/launch_move.h"

namespace banyan::layout {

absl::Status GatherBlocksOnDevice(const KvLayout& block,
                                  const PagedLayout& paged,
                                  const MoveRequest& request,
                                  absl::Span<const std::byte* const> pools,
                                  std::byte* blocks, DeviceStream stream) {
  BANYAN_ASSIGN_OR_RETURN(
      const PageMove move,
      PlanMove(Direction::kGather, block, paged, request, pools.size()));
  // Gather only reads the pools.
  const MoveBuffers buffers = {
      .blocks = blocks,
      .pools = const_cast<std::byte* const*>(pools.data()),
      .pages = request.pages.data()};
  return CudaStatus(
      LaunchMove(move, Direction::kGather, buffers, stream.handle),
      "gather of pages");
}

absl::Status ScatterBlocksOnDevice(const KvLayout& block,
                                   const PagedLayout& paged,
                                   const MoveRequest& request,
                                   const std::byte* blocks,
                                   absl::Span<std::byte* const> pools,
                                   DeviceStream stream) {
  BANYAN_ASSIGN_OR_RETURN(
      const PageMove move,
      PlanMove(Direction::kScatter, block, paged, request, pools.size()));
  // Scatter only reads the blocks.
  const MoveBuffers buffers = {.blocks = const_cast<std::byte*>(blocks),
                               .pools = pools.data(),
                               .pages = request.pages.data()};
  return CudaStatus(
      LaunchMove(move, Direction::kScatter, buffers, stream.handle),
      "scatter into pages");
}

}  // namespace banyan::layout
