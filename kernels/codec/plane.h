// A view of one plane of one layer: the keys, or the values, of some tokens. A
// row is the `dim` elements of one head of one token; rows lie where the
// engine's order of tokens and heads puts them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::codec {

// Numbers are those of the format.
enum class ElementType : uint8_t { kFp16 = 1, kBf16 = 2, kFp32 = 3, kByte = 4 };

// "fp16", "bf16", "fp32", and "fp8" or "int8", whose bytes are not looked into.
// Errors: kInvalidArgument reason CODEC.
absl::StatusOr<ElementType> ParseElementType(absl::string_view data_type);

constexpr uint32_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kFp32:
      return 4;
    case ElementType::kByte:
      return 1;
    default:
      return 2;
  }
}

struct PlaneShape {
  ElementType type = ElementType::kFp16;
  uint32_t heads = 0;
  uint32_t dim = 0;

  uint64_t row_bytes() const { return uint64_t{ElementBytes(type)} * dim; }
  uint64_t token_bytes() const { return row_bytes() * heads; }
  uint64_t token_elements() const { return uint64_t{heads} * dim; }
};

// Byte is std::byte, or const std::byte. Not owned.
template <typename Byte>
struct PlaneRows {
  Byte* bytes = nullptr;
  uint64_t token_stride_bytes = 0;
  uint64_t head_stride_bytes = 0;
  uint32_t tokens = 0;

  Byte* Row(uint32_t token, uint32_t head) const {
    return bytes + token * token_stride_bytes + head * head_stride_bytes;
  }

  // The same without the first tokens.
  PlaneRows From(uint32_t token) const {
    return {bytes + token * token_stride_bytes, token_stride_bytes,
            head_stride_bytes, tokens - token};
  }
};

// How decoded rows are written: through the caches or past them.
enum class Stores : uint8_t { kCached, kStreamed };

// Large planes are read much later, and would push out what is worth more.
// Streaming takes rows that fill whole cache lines.
inline Stores StoresOf(const PlaneShape& shape,
                       const PlaneRows<std::byte>& plane) {
  constexpr uint64_t kStreamBytesMin = 128 * 1024;
  constexpr uint64_t kLineBytes = 64;
  const bool can_stream =
      plane.tokens * shape.token_bytes() >= kStreamBytesMin &&
      shape.row_bytes() % kLineBytes == 0 &&
      reinterpret_cast<uintptr_t>(plane.bytes) % kLineBytes == 0 &&
      plane.token_stride_bytes % kLineBytes == 0 &&
      plane.head_stride_bytes % kLineBytes == 0;
  return can_stream ? Stores::kStreamed : Stores::kCached;
}

using PlaneSource = PlaneRows<const std::byte>;
using PlaneTarget = PlaneRows<std::byte>;

}  // namespace banyan::codec
