// Fixed-width little-endian integers in byte buffers, and byte views of text.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan {

static_assert(std::endian::native == std::endian::little,
              "formats are little-endian and stored without swapping");

inline void StoreLe16(uint16_t v, std::byte* out) { std::memcpy(out, &v, 2); }
inline void StoreLe32(uint32_t v, std::byte* out) { std::memcpy(out, &v, 4); }
inline void StoreLe64(uint64_t v, std::byte* out) { std::memcpy(out, &v, 8); }

inline uint16_t LoadLe16(const std::byte* in) {
  uint16_t v;
  std::memcpy(&v, in, 2);
  return v;
}
inline uint32_t LoadLe32(const std::byte* in) {
  uint32_t v;
  std::memcpy(&v, in, 4);
  return v;
}
inline uint64_t LoadLe64(const std::byte* in) {
  uint64_t v;
  std::memcpy(&v, in, 8);
  return v;
}

inline absl::Span<const std::byte> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

inline absl::string_view AsText(absl::Span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace banyan
