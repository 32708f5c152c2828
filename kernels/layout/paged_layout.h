// A PagedLayout says where an engine keeps keys and values: for each layer a
// pool of pages, each with `page_tokens` slots for tokens. Which page holds
// which tokens is the engine's business, and given with each move.
//
//   kPlaneFirst  [plane, page, ...]    all keys of a layer, then all values
//   kPageFirst   [page, plane, ...]    keys and values of a page side by side
//   nhd          [..., token, head, dim]
//   hnd          [..., head, token, dim]
//
// vLLM has [2, pages, ...] and [pages, 2, ...]; one latent tensor (MLA) has one
// plane and one head, [page, token, dim], which is either of each pair.
//
// Invariant: OffsetOf maps the indices one to one onto the multiples of
//            head_bytes() in [0, pool_bytes()).
// Domain:    1 <= each size <= 2^20, pages <= 2^32 - 1, planes <= 2,
//            pool_bytes() <= 2^46.
// Threads:   immutable, thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/kv_layout.h"

namespace banyan::layout {

enum class PlaneOrder : uint8_t { kPlaneFirst, kPageFirst };

class PagedLayout {
 public:
  struct Shape {
    PlaneOrder plane_order = PlaneOrder::kPlaneFirst;
    TokenOrder token_order = TokenOrder::kNhd;
    uint32_t element_bytes = 0;  // 1, 2 or 4.
    uint32_t planes = 0;
    uint32_t pages = 0;
    uint32_t page_tokens = 0;
    uint32_t kv_heads = 0;
    uint32_t head_dim = 0;
  };

  // Errors: kInvalidArgument reason LAYOUT, naming the size that is wrong.
  static absl::StatusOr<PagedLayout> Make(const Shape& shape);

  const Shape& shape() const { return shape_; }

  uint64_t head_bytes() const {
    return uint64_t{shape_.element_bytes} * shape_.head_dim;
  }
  // Of one layer.
  uint64_t pool_bytes() const {
    return page_plane_bytes() * shape_.pages * shape_.planes;
  }
  uint64_t plane_stride_bytes() const { return plane_stride_bytes_; }
  uint64_t page_stride_bytes() const { return page_stride_bytes_; }
  uint64_t token_stride_bytes() const { return token_stride_bytes_; }
  uint64_t head_stride_bytes() const { return head_stride_bytes_; }

  // Where one head of the token in `slot` of `page` begins in its layer's pool.
  // Requires: every index is below its size in the shape.
  uint64_t OffsetOf(uint32_t plane, uint32_t page, uint32_t slot,
                    uint32_t head) const {
    return plane * plane_stride_bytes_ + page * page_stride_bytes_ +
           slot * token_stride_bytes_ + head * head_stride_bytes_;
  }

 private:
  explicit PagedLayout(const Shape& shape);

  uint64_t page_plane_bytes() const {
    return head_bytes() * shape_.kv_heads * shape_.page_tokens;
  }

  Shape shape_;
  uint64_t plane_stride_bytes_;
  uint64_t page_stride_bytes_;
  uint64_t token_stride_bytes_;
  uint64_t head_stride_bytes_;
};

}  // namespace banyan::layout
