// A block that is being written, for those who read it meanwhile: its memory,
// which pieces of it have arrived and check out, and how its write ended. The
// write and the readers share it; the memory stays as it is until all have let
// go, whatever becomes of the write.
//
// Invariant: a piece is there only after its bytes were verified against what
//            their sender said of them, and never changes after that.
// Threads:   thread-safe; watchers are called outside the lock, by whoever
//            brought the news.
// Lifetime:  destroy it before the tier of its room.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "base/block_header.h"
#include "base/mutex.h"
#include "tiers/tier.h"

namespace banyan::engine {

// Is told once that what was waited for has come, or never will. Must not
// block, and may be told late: of a wait that nobody waits for any more.
class BlockWatcher {
 public:
  virtual ~BlockWatcher() = default;
  virtual void OnGrowth() = 0;
};

class GrowingBlock {
 public:
  // `piece_bytes` is in [1, payload_bytes]; `room` has payload_bytes.
  GrowingBlock(BlockIdentity identity, uint64_t payload_bytes,
               uint64_t piece_bytes, std::unique_ptr<tiers::StagedBlock> room);

  const BlockIdentity& identity() const { return identity_; }
  uint64_t checksum_seed() const { return checksum_seed_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  uint64_t piece_bytes() const { return piece_bytes_; }
  uint32_t piece_count() const { return piece_count_; }
  uint64_t PieceOffset(uint32_t piece) const { return piece * piece_bytes_; }
  uint64_t PieceSize(uint32_t piece) const;

  // --- Of the write.
  // Pieces that are there are not to be written any more.
  absl::Span<std::byte> memory() { return memory_; }
  // The piece is there. No effect once the write has ended.
  void Add(uint32_t piece, const Checksum128& checksum);
  // For the tier to store; `memory` stays what it is.
  std::unique_ptr<tiers::StagedBlock> TakeRoom();
  // The block is stored: with all its pieces, and its memory is this pin's.
  void SetStored(absl::Span<const Checksum128> checksums,
                 std::unique_ptr<tiers::BlockPin> pin);
  // The write ended without storing it. No effect on what is stored. `room` is
  // what TakeRoom handed out, if it did: readers may still be there.
  void Withdraw(std::unique_ptr<tiers::StagedBlock> room = nullptr);

  // --- Of readers.
  enum class State : uint8_t { kGrowing, kStored, kWithdrawn };
  State state() const;
  // Of a piece that is there; also of a write that was withdrawn meanwhile.
  std::optional<Checksum128> ChecksumOf(uint32_t piece) const;
  absl::Span<const std::byte> BytesOf(uint32_t piece) const {
    return memory_.subspan(PieceOffset(piece), PieceSize(piece));
  }
  // Number of a piece that never comes: waiting for it is waiting for the end.
  static constexpr uint32_t kEnd = UINT32_MAX;
  // Tells the watcher when the piece is there or the write has ended, and then
  // forgets it; its ticket, for Unwatch. Nothing: it is so now, and the watcher
  // is not told.
  std::optional<uint64_t> Watch(uint32_t piece,
                                std::shared_ptr<BlockWatcher> watcher);
  // Forgets the watcher, which may be being told just now. No effect once told.
  void Unwatch(uint64_t ticket);
  size_t watchers() const;

 private:
  struct Waiting {
    uint64_t ticket = 0;
    uint32_t piece = 0;
    std::shared_ptr<BlockWatcher> watcher;
  };

  bool IsDecided(uint32_t piece) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those whose wait is over, taken out.
  std::vector<Waiting> TakeDecided() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const BlockIdentity identity_;
  const uint64_t checksum_seed_;
  const uint64_t payload_bytes_;
  const uint64_t piece_bytes_;
  const uint32_t piece_count_;
  const absl::Span<std::byte> memory_;

  mutable Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kGrowing;
  std::vector<std::optional<Checksum128>> pieces_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  // Whichever there is keeps `memory_`.
  std::unique_ptr<tiers::StagedBlock> room_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<tiers::BlockPin> pin_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
