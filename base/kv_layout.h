// A KvLayout says where the keys and values of each layer, head and token lie
// in the bytes of a block. A block is layer-major: one layer after the other,
// in each layer one plane after the other (K, V; or one latent plane), and in
// each plane tokens and heads in the order of the layout:
//
//   nhd  [layer, plane, token, head, dim]
//   hnd  [layer, plane, head, token, dim]
//
// So one layer is one run of bytes, which is why a piece is one layer. It moves
// no bytes, and it knows nothing of engines' paged layouts.
//
// Invariant: OffsetOf maps the indices one to one onto the multiples of
//            head_bytes() in [0, block_bytes()).
// Domain:    1 <= each size <= 2^20, planes <= 2, block_bytes() <= 2^40.
// Threads:   immutable, thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fingerprint.h"

namespace banyan {

enum class TokenOrder : uint8_t { kNhd, kHnd };

class KvLayout {
 public:
  struct Shape {
    TokenOrder order = TokenOrder::kNhd;
    uint32_t element_bytes = 0;  // 1, 2 or 4.
    uint32_t layers = 0;
    uint32_t planes = 0;
    uint32_t block_tokens = 0;
    uint32_t kv_heads = 0;
    uint32_t head_dim = 0;
  };

  // Errors: kInvalidArgument reason LAYOUT, naming the size that is wrong.
  static absl::StatusOr<KvLayout> Make(const Shape& shape);

  // The layout that a fingerprint describes.
  // Errors: as Make; kFailedPrecondition reason LAYOUT if it is opaque.
  static absl::StatusOr<KvLayout> Of(const Fingerprint& fingerprint);

  const Shape& shape() const { return shape_; }

  // Bytes of one head of one token: the unit that is never cut.
  uint64_t head_bytes() const {
    return uint64_t{shape_.element_bytes} * shape_.head_dim;
  }
  uint64_t token_stride_bytes() const { return token_stride_bytes_; }
  uint64_t head_stride_bytes() const { return head_stride_bytes_; }
  uint64_t plane_bytes() const {
    return head_bytes() * shape_.kv_heads * shape_.block_tokens;
  }
  uint64_t layer_bytes() const { return plane_bytes() * shape_.planes; }
  uint64_t block_bytes() const { return layer_bytes() * shape_.layers; }

  // Bytes that one token takes in all layers and planes.
  uint64_t bytes_per_token() const {
    return block_bytes() / shape_.block_tokens;
  }

  // Where the `head_dim` elements of one head of one token begin.
  // Requires: every index is below its size in the shape.
  uint64_t OffsetOf(uint32_t layer, uint32_t plane, uint32_t token,
                    uint32_t head) const {
    return layer * layer_bytes() + plane * plane_bytes() +
           token * token_stride_bytes_ + head * head_stride_bytes_;
  }

 private:
  explicit KvLayout(const Shape& shape);

  Shape shape_;
  uint64_t token_stride_bytes_;
  uint64_t head_stride_bytes_;
};

// Bytes of one element of "bf16", "fp16", "fp32", "fp8" or "int8"; 0 for
// anything else.
uint32_t ElementBytes(absl::string_view data_type);

}  // namespace banyan
