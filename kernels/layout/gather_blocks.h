// Copies tokens between the pages of an engine and our blocks: gather reads
// pages and fills blocks, scatter reads blocks and fills pages. Bytes are moved
// as they are; what is moved, and between which layouts, is said by a KvLayout,
// a PagedLayout and a MoveRequest.
//
// Bytes outside of the slice are not touched, on either side.
//
// Threads: pure functions of their arguments; moves of disjoint bytes can run at
//          the same time.
// Errors:  kInvalidArgument reason LAYOUT, and nothing was moved.
//          On a device also kUnavailable reason CUDA: this build has no CUDA,
//          the machine has none, or the launch failed.
// Cost:    on the host, one memcpy for each run of bytes that is a run on both
//          sides: whole pages where both layouts agree, single heads of single
//          tokens where one is nhd and the other hnd.
// Oracle:  tests/testing/layout_cases.h, which shares no code with this folder.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/kv_layout.h"
#include "kernels/device_stream.h"
#include "kernels/layout/paged_layout.h"
#include "kernels/layout/plan_move.h"

namespace banyan::layout {

// One for each layer, of PagedLayout::pool_bytes() each.
using ConstPools = absl::Span<const absl::Span<const std::byte>>;
using Pools = absl::Span<const absl::Span<std::byte>>;

// Requires: `blocks` and `pools` do not overlap.
absl::Status GatherBlocks(const KvLayout& block, const PagedLayout& paged,
                          const MoveRequest& request, ConstPools pools,
                          absl::Span<std::byte> blocks);
absl::Status ScatterBlocks(const KvLayout& block, const PagedLayout& paged,
                           const MoveRequest& request,
                           absl::Span<const std::byte> blocks, Pools pools);

// The same with addresses of the device, on its stream: bytes move when it gets
// there. `request.pages` is the host's, and read before these return.
// Requires: pools and blocks have the sizes above, and live until then.
absl::Status GatherBlocksOnDevice(const KvLayout& block,
                                  const PagedLayout& paged,
                                  const MoveRequest& request,
                                  absl::Span<const std::byte* const> pools,
                                  std::byte* blocks, DeviceStream stream);
absl::Status ScatterBlocksOnDevice(const KvLayout& block,
                                   const PagedLayout& paged,
                                   const MoveRequest& request,
                                   const std::byte* blocks,
                                   absl::Span<std::byte* const> pools,
                                   DeviceStream stream);

}  // namespace banyan::layout
