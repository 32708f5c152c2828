#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/layout/gather_blocks.cuh"
#include "kernels/layout/gather_blocks.h"

namespace banyan::layout {
namespace {

// One axis of a box of bytes that is copied.
struct Axis {
  uint64_t count;
  uint64_t from_stride;
  uint64_t to_stride;
};

// Its steps follow each other without a gap on both sides.
bool IsDense(const Axis& axis, uint64_t run_bytes) {
  return axis.count == 1 ||
         (axis.from_stride == run_bytes && axis.to_stride == run_bytes);
}

// Copies runs as long as the strides allow.
void CopyBox(const std::byte* from, std::byte* to, Axis outer, Axis inner,
             uint64_t run_bytes) {
  if (IsDense(outer, run_bytes)) std::swap(outer, inner);
  for (Axis* const axis : {&inner, &outer}) {
    if (!IsDense(*axis, run_bytes)) break;
    run_bytes *= axis->count;
    axis->count = 1;
  }
  for (uint64_t i = 0; i < outer.count; ++i) {
    for (uint64_t j = 0; j < inner.count; ++j) {
      std::memcpy(to + i * outer.to_stride + j * inner.to_stride,
                  from + i * outer.from_stride + j * inner.from_stride,
                  run_bytes);
    }
  }
}

// One layer and plane of the tokens that lie in one page and one block.
class SpanCopy {
 public:
  SpanCopy(const PageMove& move, Direction direction)
      : move_(move), direction_(direction) {}

  void Run(std::byte* block, std::byte* pool, uint32_t tokens) const {
    const Axis token_axis =
        AxisOf(tokens, move_.block_token_stride, move_.pool_token_stride);
    const Axis head_axis =
        AxisOf(move_.heads, move_.block_head_stride, move_.pool_head_stride);
    const bool is_gather = direction_ == Direction::kGather;
    CopyBox(is_gather ? pool : block, is_gather ? block : pool, token_axis,
            head_axis, move_.head_bytes);
  }

 private:
  Axis AxisOf(uint64_t count, uint64_t block_stride,
              uint64_t pool_stride) const {
    return direction_ == Direction::kGather
               ? Axis{count, pool_stride, block_stride}
               : Axis{count, block_stride, pool_stride};
  }

  const PageMove& move_;
  const Direction direction_;
};

// `pool_of` gives the first byte of a pool by its number.
template <class PoolOf>
void Move(const PageMove& move, Direction direction,
          absl::Span<const uint32_t> pages, PoolOf pool_of, std::byte* blocks) {
  const SpanCopy copy(move, direction);
  const uint32_t tokens = move.blocks * move.tokens;
  uint32_t run = 0;
  for (uint32_t begin = 0; begin < tokens; begin += run) {
    const TokenPlace place = PlaceOfToken(move, begin);
    run = std::min(move.page_tokens - place.slot, move.tokens - place.token);
    for (uint32_t layer = 0; layer < move.layers; ++layer) {
      for (uint32_t plane = 0; plane < move.planes; ++plane) {
        copy.Run(blocks + BlockOffset(move, layer, plane, place, 0),
                 pool_of(move.first_pool + layer) +
                     PoolOffset(move, pages[place.page], plane, place, 0),
                 run);
      }
    }
  }
}

absl::Status ValidateBuffers(const KvLayout& block, const PagedLayout& paged,
                             uint32_t blocks, size_t blocks_bytes,
                             absl::Span<const size_t> pools_bytes) {
  if (blocks_bytes != blocks * block.block_bytes()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "LAYOUT",
                     absl::StrCat("move: a buffer of ", blocks_bytes,
                                  " bytes for ", blocks, " blocks of ",
                                  block.block_bytes(), ". Give their bytes."));
  }
  for (const size_t bytes : pools_bytes) {
    if (bytes != paged.pool_bytes()) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "LAYOUT",
          absl::StrCat("move: a pool of ", bytes, " bytes. The layout says ",
                       paged.pool_bytes(), "."));
    }
  }
  return absl::OkStatus();
}

template <class Byte>
std::vector<size_t> SizesOf(absl::Span<const absl::Span<Byte>> pools) {
  std::vector<size_t> sizes;
  sizes.reserve(pools.size());
  for (const auto& pool : pools) sizes.push_back(pool.size());
  return sizes;
}

}  // namespace

absl::Status GatherBlocks(const KvLayout& block, const PagedLayout& paged,
                          const MoveRequest& request, ConstPools pools,
                          absl::Span<std::byte> blocks) {
  BANYAN_ASSIGN_OR_RETURN(
      const PageMove move,
      PlanMove(Direction::kGather, block, paged, request, pools.size()));
  BANYAN_RETURN_IF_ERROR(ValidateBuffers(block, paged, request.blocks,
                                         blocks.size(), SizesOf(pools)));
  // Gather only reads the pools.
  Move(
      move, Direction::kGather, request.pages,
      [pools](uint32_t i) { return const_cast<std::byte*>(pools[i].data()); },
      blocks.data());
  return absl::OkStatus();
}

absl::Status ScatterBlocks(const KvLayout& block, const PagedLayout& paged,
                           const MoveRequest& request,
                           absl::Span<const std::byte> blocks, Pools pools) {
  BANYAN_ASSIGN_OR_RETURN(
      const PageMove move,
      PlanMove(Direction::kScatter, block, paged, request, pools.size()));
  BANYAN_RETURN_IF_ERROR(ValidateBuffers(block, paged, request.blocks,
                                         blocks.size(), SizesOf(pools)));
  // Scatter only reads the blocks.
  Move(
      move, Direction::kScatter, request.pages,
      [pools](uint32_t i) { return pools[i].data(); },
      const_cast<std::byte*>(blocks.data()));
  return absl::OkStatus();
}

}  // namespace banyan::layout
