#include "kernels/codec/raw_codec.h"

#include <cstring>

namespace banyan::codec {
namespace {

// Calls copy(offset in the encoded rows, token, head, bytes) for each run of
// bytes that lies together in both.
template <typename Byte, typename Copy>
void ForEachRun(const PlaneShape& shape, const PlaneRows<Byte>& plane,
                uint32_t first_token, uint64_t encoded_bytes,
                const Copy& copy) {
  const uint64_t row_bytes = shape.row_bytes();
  const bool is_dense = plane.head_stride_bytes == row_bytes &&
                        plane.token_stride_bytes == shape.token_bytes();
  if (is_dense) return copy(0, first_token, 0, encoded_bytes);
  uint64_t at = 0;
  for (uint32_t token = first_token; at < encoded_bytes; ++token) {
    for (uint32_t head = 0; head < shape.heads; ++head, at += row_bytes) {
      copy(at, token, head, row_bytes);
    }
  }
}

}  // namespace

absl::Status RawCodec::Encode(const PlaneSource& plane, const RopeTable*,
                              absl::Span<float>,
                              absl::Span<std::byte> encoded) const {
  ForEachRun(shape_, plane, 0, encoded.size(),
             [&](uint64_t at, uint32_t token, uint32_t head, uint64_t bytes) {
               std::memcpy(encoded.data() + at, plane.Row(token, head), bytes);
             });
  return absl::OkStatus();
}

absl::Status RawCodec::Decode(absl::Span<const std::byte>,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable*,
                              absl::Span<float>,
                              const PlaneTarget& plane) const {
  ForEachRun(shape_, plane, first_token, units.size(),
             [&](uint64_t at, uint32_t token, uint32_t head, uint64_t bytes) {
               std::memcpy(plane.Row(token, head), units.data() + at, bytes);
             });
  return absl::OkStatus();
}

}  // namespace banyan::codec
