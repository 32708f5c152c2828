// One write between Reserve and Commit: staged rooms that fill up, invisible
// to everybody else but those who follow it
// (cache_server/engine/growing_block.h). Bytes of a block come in order; in a
// write by layers only those of a piece do, and pieces come as they are ready,
// each with the checksum that its sender took. Ours is taken as soon as the
// last byte of a piece is in place, while it is still in cache.
//
// Threads: thread-safe; one lock a write, held while a chunk is copied.
// Errors:  kInvalidArgument reason OFFSET, LENGTH, ORDINAL or PIECE;
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
#include "cache_server/engine/growing_block.h"
#include "tiers/tier.h"

namespace banyan::engine {

// The error of a write that is unknown, ended or another session's.
absl::Status UnknownWrite();

// A block of the write, ready to be stored.
struct WrittenBlock {
  uint32_t ordinal = 0;
  BlockHeader header;
  std::unique_ptr<tiers::StagedBlock> staged;
  std::shared_ptr<GrowingBlock> growing;  // To be told what becomes of it.
};

// How the bytes of a write come.
enum class WriteOrder : uint8_t { kBlocks, kLayers };

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

  explicit OpenWrite(std::vector<Room> rooms,
                     WriteOrder order = WriteOrder::kBlocks);

  WriteOrder order() const { return order_; }
  // The blocks of the rooms, in their order; none once the write has ended.
  std::vector<std::shared_ptr<GrowingBlock>> Growing();

  // Copies one chunk to its place. In a write by layers it lies in one piece.
  absl::Status Write(uint32_t ordinal, uint64_t offset,
                     absl::Span<const std::byte> bytes);

  // In a write by layers: what its sender says of a piece whose bytes have all
  // come. If that is what came, those who follow may read it.
  // Errors: also kDataLoss reason CHECKSUM; then the write has ended, and all
  // is dropped.
  absl::Status Vouch(uint32_t ordinal, uint32_t piece,
                     const Checksum128& checksum);

  // What the caller says it sent: checksums of all pieces of one block, and how
  // far it is from what it was (base/representation.h).
  struct Claim {
    uint32_t ordinal = 0;
    std::vector<Checksum128> checksums;
    uint8_t error_class = 0;
  };

  // Ends the write and hands out the claimed blocks if each is complete and
  // checks out; else all is dropped.
  // Errors: kInvalidArgument reason SIZE or ORDINAL; kDataLoss reason CHECKSUM.
  absl::StatusOr<std::vector<WrittenBlock>> Finish(
      absl::Span<const Claim> claims);

  // Ends the write and drops all.
  void Drop();

 private:
  // A piece of a write by layers.
  struct Part {
    uint64_t received_bytes = 0;
    bool is_vouched = false;
  };
  struct Filling {
    uint32_t ordinal = 0;
    std::shared_ptr<GrowingBlock> growing;
    uint64_t received_bytes = 0;      // Of pieces that came in order.
    std::vector<Checksum128> pieces;  // That came, or by layers, of all.
    std::vector<Part> parts;          // By layers only.
    uint32_t vouched_pieces = 0;
    bool is_claimed = false;
  };

  Filling* Find(uint32_t ordinal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, or the error to answer with.
  absl::StatusOr<Filling*> FindRoom(uint32_t ordinal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteInOrder(Filling& block, uint64_t offset,
                            absl::Span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WritePart(Filling& block, uint64_t offset,
                         absl::Span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Copies leading bytes to the room; returns how many.
  size_t CopyStretch(Filling& block, absl::Span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status VouchLocked(uint32_t ordinal, uint32_t piece,
                           const Checksum128& checksum,
                           std::shared_ptr<GrowingBlock>& grown)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Check(const Claim& claim, const Filling* block) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<WrittenBlock>> TakeClaimed(
      absl::Span<const Claim> claims) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the write; what it drops is to be withdrawn outside the lock.
  std::vector<Filling> End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Withdraw(std::vector<Filling> blocks);

  const WriteOrder order_;
  Mutex mutex_;
  bool has_ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Filling> blocks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
