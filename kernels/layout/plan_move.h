// Makes a PageMove of what callers say, or says what does not fit what.
//
// Errors: kInvalidArgument reason LAYOUT.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/kv_layout.h"
#include "kernels/layout/page_move.h"
#include "kernels/layout/paged_layout.h"

namespace banyan::layout {

// Which part of a block, and where that is in the engine's pools: a rank of an
// engine holds some layers and some heads. Zero layers or heads: all of the
// block's from block_layer or block_head on.
struct Slice {
  uint32_t block_layer = 0;
  uint32_t pool_layer = 0;
  uint32_t layers = 0;
  uint32_t block_head = 0;
  uint32_t pool_head = 0;
  uint32_t heads = 0;
};

// What is moved: `blocks` blocks, one after the other, and the pages of their
// tokens; see PageMove.
struct MoveRequest {
  uint32_t blocks = 1;
  Slice slice;
  absl::Span<const uint32_t> pages;
  uint32_t first_slot = 0;  // In pages[0].
};

// Pages have to be distinct to scatter into them. The tokens of a move are at
// most 2^31, and so are the bytes of a token in one plane of a layer.
absl::StatusOr<PageMove> PlanMove(Direction direction, const KvLayout& block,
                                  const PagedLayout& paged,
                                  const MoveRequest& request,
                                  size_t pool_layers);

}  // namespace banyan::layout
