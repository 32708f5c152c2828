#include "client/ctl/model/kv_cache.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/units.h"
#include "client/ctl/model/fp16.h"

namespace banyan::ctl {
namespace {

// Elements of 16 bits, of any alignment.
template <typename ToBits>
void Narrow(const float* from, uint32_t count, const ToBits& to_bits,
            std::byte* to) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint16_t bits = to_bits(from[i]);
    std::memcpy(to + i * sizeof(bits), &bits, sizeof(bits));
  }
}

template <typename ToFloat>
void Widen(const std::byte* from, uint32_t count, const ToFloat& to_float,
           float* to) {
  for (uint32_t i = 0; i < count; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
    to[i] = to_float(bits);
  }
}

void StoreRow(ElementType type, const float* from, uint32_t count,
              std::byte* to) {
  if (type == ElementType::kFp32) {
    std::memcpy(to, from, count * sizeof(float));
  } else if (type == ElementType::kFp16) {
    Narrow(from, count, [](float x) { return Fp16OfFloat(x); }, to);
  } else {
    Narrow(from, count, [](float x) { return Bf16OfFloat(x); }, to);
  }
}

void LoadRow(ElementType type, const std::byte* from, uint32_t count,
             float* to) {
  if (type == ElementType::kFp32) {
    std::memcpy(to, from, count * sizeof(float));
  } else if (type == ElementType::kFp16) {
    Widen(from, count, [](uint16_t bits) { return FloatOfFp16(bits); }, to);
  } else {
    Widen(from, count, [](uint16_t bits) { return FloatOfBf16(bits); }, to);
  }
}

}  // namespace

KvCache::KvCache(const KvLayout& layout, ElementType type, uint32_t positions)
    : layout_(layout),
      type_(type),
      blocks_(static_cast<uint32_t>(
          CeilDiv(positions, layout.shape().block_tokens))),
      bytes_(blocks_ * layout.block_bytes()) {
  BANYAN_CHECK(type != ElementType::kByte);
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
    StoreRow(type_, &row[size_t{head} * dim], dim,
             Head(layer, plane, position, head));
  }
}

void KvCache::Read(uint32_t layer, uint32_t plane, uint32_t first,
                   uint32_t count, absl::Span<float> rows) const {
  const uint32_t dim = layout_.shape().head_dim;
  const uint32_t heads = layout_.shape().kv_heads;
  for (uint32_t i = 0; i < count * heads; ++i) {
    LoadRow(type_, Head(layer, plane, first + i / heads, i % heads), dim,
            &rows[size_t{i} * dim]);
  }
}

}  // namespace banyan::ctl
