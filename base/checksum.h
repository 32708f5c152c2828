// XXH3 checksums. They find errors; they are no MAC (docs/formats/checksum.md).
//
// Cost: XXH3-128 runs at memory speed on cold data, about 40 GB/s in cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"

namespace banyan {

struct Checksum128 {
  uint64_t low = 0;
  uint64_t high = 0;

  friend bool operator==(const Checksum128&, const Checksum128&) = default;
};

inline constexpr size_t kChecksumBytes = 16;

// XXH3-128 with `seed`. Empty input is allowed.
Checksum128 Xxh3_128(absl::Span<const std::byte> bytes, uint64_t seed);

// The same of bytes that come in parts.
//
// Threads: thread-compatible.
class Xxh3Sum {
 public:
  explicit Xxh3Sum(uint64_t seed);

  void Restart(uint64_t seed);  // As if it were made anew.
  void Add(absl::Span<const std::byte> part);
  Checksum128 Sum() const;  // Of what was added.

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

// Copies `from` to `to` and returns the XXH3-128 of what was written there. The
// two do not overlap.
Checksum128 CopyXxh3(absl::Span<const std::byte> from, std::byte* to,
                     uint64_t seed);

// XXH3-64 with `seed`.
uint64_t Xxh3_64(absl::Span<const std::byte> bytes, uint64_t seed);

// 32 hex digits, high half first, for messages.
std::string ToHex(const Checksum128& checksum);

// Little-endian low half, then high half: the form on wire and disk.
void StoreChecksum(const Checksum128& checksum, std::byte* out);
Checksum128 LoadChecksum(const std::byte* in);

}  // namespace banyan
