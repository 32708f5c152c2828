#include "client/ctl/model/kv_cache.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/units.h"
#include "client/ctl/model/fp16.h"

namespace banyan::ctl {

KvCache::KvCache(const KvLayout& layout, ElementType type, uint32_t positions)
    : layout_(layout),
      type_(type),
      blocks_(static_cast<uint32_t>(
          CeilDiv(positions, layout.shape().block_tokens))),
      bytes_(blocks_ * layout.block_bytes()) {
  BANYAN_CHECK(type == ElementType::kFp16 || type == ElementType::kFp32);
  BANYAN_CHECK(layout.shape().planes == 2);
  BANYAN_CHECK(layout.shape().element_bytes == codec::ElementBytes(type));
}

uint32_t KvCache::room() const { return blocks_ * block_tokens(); }

absl::Span<std::byte> KvCache::Block(uint32_t block) {
  BANYAN_CHECK(block < blocks_);
  return absl::MakeSpan(bytes_).subspan(block * layout_.block_bytes(),
                                        layout_.block_bytes());
}

absl::Span<std::byte> KvCache::BlockLayer(uint32_t block, uint32_t layer) {
  return Block(block).subspan(layer * layout_.layer_bytes(),
                              layout_.layer_bytes());
}

const std::byte* KvCache::Head(uint32_t layer, uint32_t plane,
                               uint32_t position, uint32_t head) const {
  const uint64_t block = position / block_tokens();
  return &bytes_[block * layout_.block_bytes() +
                 layout_.OffsetOf(layer, plane, position % block_tokens(),
                                  head)];
}

void KvCache::Write(uint32_t layer, uint32_t plane, uint32_t position,
                    absl::Span<const float> row) {
  const uint32_t dim = layout_.shape().head_dim;
  for (uint32_t head = 0; head < layout_.shape().kv_heads; ++head) {
    std::byte* const to = Head(layer, plane, position, head);
    const float* const from = &row[size_t{head} * dim];
    if (type_ == ElementType::kFp32) {
      std::memcpy(to, from, dim * sizeof(float));
      continue;
    }
    for (uint32_t i = 0; i < dim; ++i) {
      const uint16_t half = Fp16OfFloat(from[i]);
      std::memcpy(to + i * sizeof(half), &half, sizeof(half));
    }
  }
}

void KvCache::Read(uint32_t layer, uint32_t plane, uint32_t first,
                   uint32_t count, absl::Span<float> rows) const {
  const uint32_t dim = layout_.shape().head_dim;
  const uint32_t heads = layout_.shape().kv_heads;
  for (uint32_t i = 0; i < count * heads; ++i) {
    const std::byte* const from =
        Head(layer, plane, first + i / heads, i % heads);
    float* const to = &rows[size_t{i} * dim];
    if (type_ == ElementType::kFp32) {
      std::memcpy(to, from, dim * sizeof(float));
      continue;
    }
    for (uint32_t j = 0; j < dim; ++j) {
      uint16_t half = 0;
      std::memcpy(&half, from + j * sizeof(half), sizeof(half));
      to[j] = FloatOfFp16(half);
    }
  }
}

}  // namespace banyan::ctl
