// One write between Reserve and Commit: staged rooms that fill up, invisible
// to everybody else. Bytes of a block come in order; the checksum of a piece is
// taken as soon as its last byte is in place, while it is still in cache.
//
// Threads: thread-safe; one lock a write, held while a chunk is copied.
// Errors:  kInvalidArgument reason OFFSET, LENGTH or ORDINAL;
//          kFailedPrecondition reason WRITE once the write has ended.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block_header.h"
#include "base/mutex.h"
#include "tiers/tier.h"

namespace banyan::engine {

// The error of a write that is unknown, ended or another session's.
absl::Status UnknownWrite();

// A block of the write, ready to be stored.
struct WrittenBlock {
  uint32_t ordinal = 0;
  BlockHeader header;
  std::unique_ptr<tiers::StagedBlock> staged;
};

class OpenWrite {
 public:
  // A block that the writer was told to send.
  struct Room {
    uint32_t ordinal = 0;  // In the Reserve's run; rising.
    BlockIdentity identity;
    uint64_t payload_bytes = 0;
    uint64_t piece_bytes = 0;
    std::unique_ptr<tiers::StagedBlock> staged;
  };

  explicit OpenWrite(std::vector<Room> rooms);

  // Copies one chunk to its place.
  absl::Status Write(uint32_t ordinal, uint64_t offset,
                     absl::Span<const std::byte> bytes);

  // What the caller says it sent: checksums of all pieces of one block.
  struct Claim {
    uint32_t ordinal = 0;
    std::vector<Checksum128> checksums;
  };

  // Ends the write and hands out the claimed blocks if each is complete and
  // checks out; else all is dropped.
  // Errors: kInvalidArgument reason SIZE or ORDINAL; kDataLoss reason CHECKSUM.
  absl::StatusOr<std::vector<WrittenBlock>> Finish(
      absl::Span<const Claim> claims);

  // Ends the write and drops all.
  void Drop();

 private:
  struct Filling {
    Room room;
    uint64_t seed = 0;
    uint64_t received_bytes = 0;
    std::vector<Checksum128> pieces;
  };

  Filling* Find(uint32_t ordinal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Copies leading bytes to the room; returns how many.
  size_t CopyStretch(Filling& block, absl::Span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Check(const Claim& claim, const Filling* block) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  bool has_ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Filling> blocks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
