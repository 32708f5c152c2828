// Byte sizes: constants, and the text form that flags, files and messages use.
//
// Errors: ParseBytes returns kInvalidArgument with a message that names what
//         was read and what is wanted.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;
inline constexpr uint64_t kTiB = 1024 * kGiB;

// Reads "4096", "4KiB", "2 MiB", "1.5GiB" or "1TiB". Fractions are allowed as
// long as the result is a whole number of bytes.
absl::StatusOr<uint64_t> ParseBytes(absl::string_view text);

// The shortest exact-looking form: "4 KiB", "1.5 GiB", "262100 B".
std::string FormatBytes(uint64_t bytes);

// Requires: granule is a power of two.
constexpr uint64_t RoundUp(uint64_t value, uint64_t granule) {
  return (value + granule - 1) & ~(granule - 1);
}

constexpr uint64_t CeilDiv(uint64_t value, uint64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace banyan
