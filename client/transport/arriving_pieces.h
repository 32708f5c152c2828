// The bytes of a block that come over gRPC, in order and in parts of any size:
// copied to where they belong, and summed piece by piece in the same pass.
//
// Threads: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "base/copy_checksum.h"
#include "client/transport/transport.h"

namespace banyan::transport {

class ArrivingPieces {
 public:
  // None: nothing is left to come.
  ArrivingPieces() = default;

  // Pieces from `first` on, up to byte `end` of the block, where a piece ends.
  // `payload` is all of the block's, and outlives *this.
  // Requires: piece_bytes > 0; first * piece_bytes <= end <= payload.size().
  ArrivingPieces(absl::Span<std::byte> payload, uint64_t piece_bytes,
                 uint32_t first, uint64_t end, uint64_t checksum_seed,
                 Verification verification);

  uint64_t at() const { return at_; }  // Where the next byte goes.
  uint64_t left_bytes() const { return end_ - at_; }

  // Takes from the front of `bytes` what belongs to the piece that is arriving.
  // True: it is complete, see piece() and IsIntact; go on with what is left.
  // Requires: bytes.size() <= left_bytes().
  bool Take(absl::Span<const std::byte>& bytes);

  uint32_t piece() const { return piece_; }  // That Take took from last.
  // Of that piece; without a checksum it is not.
  bool IsIntact(const std::optional<Checksum128>& want) const {
    return verification_ == Verification::kOffForBench ||
           (want.has_value() && copy_.Sum() == *want);
  }

 private:
  void Begin(uint32_t piece);

  absl::Span<std::byte> payload_;
  uint64_t piece_bytes_ = 0;
  uint64_t checksum_seed_ = 0;
  Verification verification_ = Verification::kOn;
  uint64_t at_ = 0;
  uint64_t end_ = 0;
  uint32_t piece_ = 0;
  uint64_t piece_end_ = 0;
  PartedCopy copy_ = {{}, 0};  // Of the piece.
};

}  // namespace banyan::transport
