#include "kernels/layout/plan_move.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::layout {
namespace {

// Kernels count tokens, and the vectors of a token, in 32 bits.
constexpr uint64_t kTokensMax = uint64_t{1} << 31;
constexpr uint64_t kTokenBytesMax = uint64_t{1} << 31;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "LAYOUT", message);
}

absl::Status ValidateSame(const KvLayout::Shape& block,
                          const PagedLayout::Shape& paged) {
  if (block.element_bytes != paged.element_bytes ||
      block.head_dim != paged.head_dim || block.planes != paged.planes) {
    return Bad(absl::StrCat(
        "move: blocks have ", block.planes, " planes, heads of ",
        block.head_dim, " elements of ", block.element_bytes,
        " bytes; pages have ", paged.planes, ", ", paged.head_dim, " and ",
        paged.element_bytes, ". Both have to be the same."));
  }
  return absl::OkStatus();
}

// [begin, begin + count) lies in [0, size).
absl::Status ValidateRange(absl::string_view name, uint32_t begin,
                           uint32_t count, uint64_t size) {
  if (count != 0 && uint64_t{begin} + count <= size) return absl::OkStatus();
  return Bad(absl::StrCat("move.slice: ", count, " ", name, " from ", begin,
                          " on, of ", size, ". Take some that there are."));
}

absl::Status ValidatePages(const MoveRequest& request,
                           const KvLayout::Shape& block,
                           const PagedLayout::Shape& paged) {
  if (request.blocks == 0) return Bad("move.blocks: 0. Want at least one.");
  const uint64_t tokens = uint64_t{request.blocks} * block.block_tokens;
  if (tokens > kTokensMax) {
    return Bad(absl::StrCat("move: ", tokens, " tokens, of at most ",
                            kTokensMax, ". Move fewer blocks at a time."));
  }
  if (request.first_slot >= paged.page_tokens) {
    return Bad(absl::StrCat("move.first_slot: ", request.first_slot,
                            "; a page has ", paged.page_tokens, "."));
  }
  const uint64_t want = CeilDiv(request.first_slot + tokens, paged.page_tokens);
  if (request.pages.size() != want) {
    return Bad(absl::StrCat("move.pages: ", request.pages.size(), " for ",
                            tokens, " tokens. Want ", want, "."));
  }
  for (const uint32_t page : request.pages) {
    if (page >= paged.pages) {
      return Bad(absl::StrCat("move.pages: there is no page ", page, " of ",
                              paged.pages, "."));
    }
  }
  return absl::OkStatus();
}

// Two writers of one page would leave whichever came last.
absl::Status ValidateDistinct(absl::Span<const uint32_t> pages) {
  std::vector<uint32_t> sorted(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice == sorted.end()) return absl::OkStatus();
  return Bad(absl::StrCat("move.pages: page ", *twice,
                          " is there twice. Scatter writes each page once."));
}

Slice Completed(Slice slice, const KvLayout::Shape& block) {
  if (slice.layers == 0 && slice.block_layer < block.layers) {
    slice.layers = block.layers - slice.block_layer;
  }
  if (slice.heads == 0 && slice.block_head < block.kv_heads) {
    slice.heads = block.kv_heads - slice.block_head;
  }
  return slice;
}

absl::Status ValidateSlice(const Slice& slice, const KvLayout::Shape& block,
                           const PagedLayout::Shape& paged,
                           size_t pool_layers) {
  BANYAN_RETURN_IF_ERROR(ValidateRange("layers of the block", slice.block_layer,
                                       slice.layers, block.layers));
  BANYAN_RETURN_IF_ERROR(
      ValidateRange("pools", slice.pool_layer, slice.layers, pool_layers));
  BANYAN_RETURN_IF_ERROR(ValidateRange("heads of the block", slice.block_head,
                                       slice.heads, block.kv_heads));
  return ValidateRange("heads of the pages", slice.pool_head, slice.heads,
                       paged.kv_heads);
}

}  // namespace

absl::StatusOr<PageMove> PlanMove(Direction direction, const KvLayout& block,
                                  const PagedLayout& paged,
                                  const MoveRequest& request,
                                  size_t pool_layers) {
  const KvLayout::Shape& b = block.shape();
  const PagedLayout::Shape& p = paged.shape();
  const Slice slice = Completed(request.slice, b);
  BANYAN_RETURN_IF_ERROR(ValidateSame(b, p));
  if (slice.heads * block.head_bytes() > kTokenBytesMax) {
    return Bad(absl::StrCat("move.slice: a token has over ", kTokenBytesMax,
                            " bytes of each layer. Move fewer heads."));
  }
  BANYAN_RETURN_IF_ERROR(ValidateSlice(slice, b, p, pool_layers));
  BANYAN_RETURN_IF_ERROR(ValidatePages(request, b, p));
  if (direction == Direction::kScatter) {
    BANYAN_RETURN_IF_ERROR(ValidateDistinct(request.pages));
  }
  return PageMove{
      .blocks = request.blocks,
      .layers = slice.layers,
      .planes = b.planes,
      .tokens = b.block_tokens,
      .heads = slice.heads,
      .head_bytes = static_cast<uint32_t>(block.head_bytes()),
      .page_tokens = p.page_tokens,
      .first_slot = request.first_slot,
      .first_pool = slice.pool_layer,
      .is_head_major = b.order == TokenOrder::kHnd,
      .block_begin = block.OffsetOf(slice.block_layer, 0, 0, slice.block_head),
      .block_stride = block.block_bytes(),
      .block_layer_stride = block.layer_bytes(),
      .block_plane_stride = block.plane_bytes(),
      .block_token_stride = block.token_stride_bytes(),
      .block_head_stride = block.head_stride_bytes(),
      .pool_begin = paged.OffsetOf(0, 0, 0, slice.pool_head),
      .page_stride = paged.page_stride_bytes(),
      .pool_plane_stride = paged.plane_stride_bytes(),
      .pool_token_stride = paged.token_stride_bytes(),
      .pool_head_stride = paged.head_stride_bytes()};
}

}  // namespace banyan::layout
