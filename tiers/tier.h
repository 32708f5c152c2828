// A Tier is one place where stored blocks live: host memory, an SSD, GPU
// memory. It maps a BlockId to a header and opaque bytes. It knows nothing of
// models, prefixes, leases or codecs, and it never decides what to evict.
//
// Invariant: a block is immutable; the bytes of a stored block never change.
//            Bytes leave a tier only as VerifiedBytes, or to who verifies them
//            where they arrive.
// Threads:   thread-safe.
// Errors:    kAlreadyExists      id present; the stored bytes are untouched
//            kNotFound           id absent: a normal miss, never logged
//            kResourceExhausted  no room: the caller evicts, then retries
//            kInvalidArgument    payload larger than the tier can ever hold
//            kDataLoss           header or checksum wrong; ErrorReason is
//                                HEADER, IDENTITY, GENERATION or CHECKSUM. The
//                                caller erases the block and counts it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/block_header.h"
#include "base/block_id.h"
#include "base/checksum.h"

namespace banyan::tiers {

enum class TierKind : uint8_t { kHost, kSsd };

// used_bytes + staged_bytes + free_bytes + waste_bytes == capacity_bytes
// always. Bytes of payload slots; headers are not counted.
struct TierUsage {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;  // In slots of stored blocks, pinned ones included.
  uint64_t staged_bytes = 0;   // In slots promised to writes still in flight.
  uint64_t free_bytes = 0;     // Free slots, and space not yet cut into slots.
  uint64_t waste_bytes = 0;    // Tails of slabs that hold no slot.
  uint64_t payload_bytes = 0;  // Payload in used slots; the rest is rounding.
  uint64_t pinned_bytes = 0;   // Part of used_bytes that cannot be freed now.
  uint64_t blocks = 0;
};

// Bytes of a stored block whose checksum was verified in this call. Only
// BlockPin makes one; valid as long as its pin.
class VerifiedBytes {
 public:
  absl::Span<const std::byte> bytes() const { return bytes_; }

 private:
  friend class BlockPin;
  friend class PieceCheck;
  explicit VerifiedBytes(absl::Span<const std::byte> bytes) : bytes_(bytes) {}
  absl::Span<const std::byte> bytes_;
};

// Keeps one block readable until it is destroyed, even if the block is erased
// meanwhile. Destroy every pin before its tier. Thread-compatible.
class BlockPin {
 public:
  // Requires: header was parsed and matched by the tier when it pinned.
  explicit BlockPin(BlockHeader header);
  virtual ~BlockPin() = default;
  BlockPin(const BlockPin&) = delete;
  BlockPin& operator=(const BlockPin&) = delete;

  const BlockHeader& header() const { return header_; }

  // Checks piece number `piece` against the header, then hands it out.
  // Requires: piece < header().piece_count().
  // Errors: kDataLoss, reason CHECKSUM.
  absl::StatusOr<VerifiedBytes> ReadPiece(uint32_t piece) const;

  // Piece number `piece` as it is stored, for a reader elsewhere that is sent the
  // header's checksums, verifies it against them, and has the block looked at if
  // it does not check out. Of a block in memory only: what another tier has read
  // wrong it reads once more, in ReadPiece.
  // Requires: piece < header().piece_count().
  absl::Span<const std::byte> PieceForVerifier(uint32_t piece) const;

  // For the cost of verification only (bench R13): hands out the piece as it
  // is. Never on a path that serves a client.
  VerifiedBytes ReadPieceUnverifiedForBench(uint32_t piece) const;

 private:
  friend class PieceCheck;

  // All payload bytes of the block.
  virtual absl::Span<const std::byte> payload() const = 0;

  // The payload fetched once more from where it is stored, after a piece did
  // not check out; empty where there is no other copy of the bytes to fetch.
  // What payload() returned stays as it is.
  virtual absl::Span<const std::byte> PayloadAgain() const { return {}; }

  // A piece is damaged for good: the tier may count it and drop the block.
  virtual void OnDamaged() const {}

  absl::Span<const std::byte> PieceBytes(uint32_t piece) const;
  bool IsIntact(uint32_t piece, absl::Span<const std::byte> bytes) const;

  const BlockHeader header_;
  const uint64_t checksum_seed_;
};

// BlockPin::ReadPiece in steps, for a thread that has more to do. Keeps the pin.
// Thread-compatible.
class PieceCheck {
 public:
  // Requires: piece < pin->header().piece_count().
  PieceCheck(std::shared_ptr<const BlockPin> pin, uint32_t piece);

  // Looks at up to so many bytes more. True when it has seen all.
  bool Step(size_t bytes_max);

  // As ReadPiece. Requires: Step said true.
  absl::StatusOr<VerifiedBytes> Finish() const;

 private:
  std::shared_ptr<const BlockPin> pin_;
  uint32_t piece_;
  size_t seen_bytes_ = 0;
  Xxh3Sum sum_;
};

// Room for one block that is being written: invisible until stored, given back
// when destroyed. Destroy it before its tier. Thread-compatible.
class StagedBlock {
 public:
  virtual ~StagedBlock() = default;

  // The payload's final place; nobody else reads or writes it. The size asked
  // for; the content is undefined.
  virtual absl::Span<std::byte> bytes() = 0;
};

class Tier {
 public:
  virtual ~Tier() = default;

  // Stable label for metrics and logs, such as "host". Lives as long as *this.
  virtual absl::string_view name() const = 0;

  // Largest payload that Stage can ever accept.
  virtual uint64_t block_bytes_max() const = 0;

  // Makes room for a payload. Requires: payload_bytes > 0.
  virtual absl::StatusOr<std::unique_ptr<StagedBlock>> Stage(
      uint64_t payload_bytes) = 0;

  // Makes the staged bytes readable under `id`. `header.generation` is set by
  // the tier; the rest must describe the staged bytes, which the caller has
  // verified. Requires: `staged` came from this tier and has
  // header.payload_bytes bytes. On an error the staged room is given back.
  virtual absl::Status Store(const BlockId& id, BlockHeader header,
                             std::unique_ptr<StagedBlock> staged) = 0;

  // Store and Pin in one: for whoever reads the staged bytes already, and goes
  // on doing so. On an error a memory tier leaves `staged` with the caller, for
  // them; others take it in any case.
  virtual absl::StatusOr<std::unique_ptr<BlockPin>> StorePinned(
      const BlockId& id, BlockHeader header,
      std::unique_ptr<StagedBlock>& staged);

  // Pins the block if its stored header is intact and names `identity`.
  virtual absl::StatusOr<std::unique_ptr<BlockPin>> Pin(
      const BlockId& id, const BlockIdentity& identity) = 0;

  // The stored header of a block whose identity is not known, if intact: for
  // administration. Pins nothing.
  // Errors: kNotFound; kDataLoss as for Pin, but never reason IDENTITY.
  virtual absl::StatusOr<BlockHeader> ReadHeader(const BlockId& id) const = 0;

  // Forgets `id`, if present. Its space is free once the last pin is gone.
  virtual void Erase(const BlockId& id) = 0;

  // True if the block is stored and at least one pin holds it.
  virtual bool IsPinned(const BlockId& id) const = 0;

  virtual TierUsage usage() const = 0;
};

}  // namespace banyan::tiers
