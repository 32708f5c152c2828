// The keys and values of one sequence, as blocks in the layout of the store: a
// block is handed to Banyan, and taken from it, as it lies here.
//
// Invariant: blocks()[i] holds positions from i * block_tokens on. What is
//            written is rounded to the element type, and reads back as that.
// Domain:    fp16, bf16 and fp32 elements, two planes.
// Threads:   thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "base/kv_layout.h"
#include "kernels/codec/plane.h"

namespace banyan::ctl {

using codec::ElementType;

class KvCache {
 public:
  // With room for so many positions, rounded up to blocks.
  // Requires: the layout has two planes, and elements of that type's size.
  KvCache(const KvLayout& layout, ElementType type, uint32_t positions);

  const KvLayout& layout() const { return layout_; }
  uint32_t block_tokens() const { return layout_.shape().block_tokens; }

  // Positions that hold keys and values.
  uint32_t size() const { return size_; }
  uint32_t room() const;
  void Truncate(uint32_t size) { size_ = size; }  // Requires: size <= room().

  // Bytes of one block, and of one layer of it.
  absl::Span<std::byte> Block(uint32_t block);
  absl::Span<std::byte> BlockLayer(uint32_t block, uint32_t layer);

  // One token's keys (plane 0) or values (1): [kv_head, head_dim].
  void Write(uint32_t layer, uint32_t plane, uint32_t position,
             absl::Span<const float> row);

  // The rows of positions [first, first + count), one after the other.
  void Read(uint32_t layer, uint32_t plane, uint32_t first, uint32_t count,
            absl::Span<float> rows) const;

 private:
  std::byte* Head(uint32_t layer, uint32_t plane, uint32_t position,
                  uint32_t head) {
    return const_cast<std::byte*>(
        std::as_const(*this).Head(layer, plane, position, head));
  }
  const std::byte* Head(uint32_t layer, uint32_t plane, uint32_t position,
                        uint32_t head) const;

  KvLayout layout_;
  ElementType type_;
  uint32_t blocks_;
  uint32_t size_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace banyan::ctl
