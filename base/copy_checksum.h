// Copies with a checksum beside CopyXxh3 (base/checksum.h): for a
// destination that is read at once, and for processors without AVX2.
#pragma once

#include <array>
#include <cstdint>

#include "base/checksum.h"

namespace banyan {

// As CopyXxh3, but the copy stays in the caches, whatever its size.
Checksum128 CopyXxh3Cached(absl::Span<const std::byte> from, std::byte* to,
                           uint64_t seed);

// As CopyPiece (base/block_header.h), likewise.
Checksum128 CopyPieceCached(uint64_t checksum_seed, uint32_t piece,
                            absl::Span<const std::byte> from, std::byte* to);

// As CopyXxh3 where there is no AVX2; slower.
Checksum128 CopyXxh3InSteps(absl::Span<const std::byte> from, std::byte* to,
                            uint64_t seed);

// As CopyXxh3 of a source that comes in parts, one after the other.
//
// Threads: thread-compatible.
class PartedCopy {
 public:
  // `to` gets all bytes, and outlives *this.
  PartedCopy(absl::Span<std::byte> to, uint64_t seed) : to_(to), seed_(seed) {}

  size_t left_bytes() const { return to_.size() - done_bytes_; }

  // Sums what it copies, but for a step that begins in one part and ends in
  // another: that is summed where it lies. So are all bytes, at the end, of less
  // than 241 and without AVX2.
  // Requires: part.size() <= left_bytes().
  void Add(absl::Span<const std::byte> part);

  // Requires: left_bytes() == 0.
  Checksum128 Sum() const;

 private:
  // What can be summed before the end is known.
  static constexpr size_t kStepBytes = 1024;

  bool is_summing() const;  // While it copies.
  // What is not summed yet, as far as it can be.
  void SumInPlace();
  // Copies and sums; what is copied is, until then, summed.
  void AddSteps(absl::Span<const std::byte> part);
  void AddUnsummed(absl::Span<const std::byte> part);

  absl::Span<std::byte> to_;
  uint64_t seed_;
  size_t done_bytes_ = 0;
  size_t summed_bytes_ = 0;         // Steps, or all.
  std::array<uint64_t, 8> sums_{};  // Of those.
};

}  // namespace banyan
