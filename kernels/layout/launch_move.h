// The launcher of kernels/layout/gather_blocks.cu, for host code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/layout/page_move.h"

namespace banyan::layout {

// Addresses of the device, but for the two tables, which are the host's.
struct MoveBuffers {
  std::byte* blocks;
  std::byte* const* pools;  // By number, as in PageMove::first_pool.
  const uint32_t* pages;
};

// Queues the copies on a cudaStream_t. Tables may go once this returns.
// Returns a cudaError_t: 0 if all launches were taken.
int LaunchMove(const PageMove& move, Direction direction,
               const MoveBuffers& buffers, void* stream);

}  // namespace banyan::layout
