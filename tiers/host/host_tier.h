// The HostTier keeps blocks in host memory: payloads in the slots of a sealed
// memfd arena, headers on the heap, so that one stray write does not damage
// both. It is empty at every start.
//
// Invariant: a payload is fully written before its block can be found, so a
//            recycled slot never shows bytes of the block before it.
//            A generation is given to one (block, slot) only and never again,
//            within one value of Options::boot.
// Threads:   thread-safe. Ids are spread over shards, one lock each; the
//            allocator has its own. Never two of them at once.
// Lifetime:  destroy all pins and staged blocks first (checked).
// Errors:    as in tiers/tier.h. Stage moves unpinned blocks together where
//            that makes room; after kResourceExhausted evict one block, and
//            retry. When nothing is pinned or staged, and everything is
//            erased, any size up to block_bytes_max() can be staged.
// Cost:      Stage and Store about 1 us together, Pin 0.2 us, Erase 0.1 us, for
//            headers of one piece. A Stage that has to move blocks copies up
//            to the bytes of the slabs it needs, which then serve many.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "tiers/host/arena.h"
#include "tiers/host/slab_allocator.h"
#include "tiers/tier.h"

namespace banyan::tiers {

class HostTier final : public Tier {
 public:
  struct Options {
    uint64_t capacity_bytes = 0;
    // See Arena::Options.
    bool prefault = true;
    bool is_prefaulted_later = false;
    bool huge_pages = true;
    // Differs between starts of one node: the high 16 bits of generations.
    uint16_t boot = 0;
  };

  // Errors: those of Arena::Create.
  static absl::StatusOr<std::unique_ptr<HostTier>> Open(const Options& options);

  ~HostTier() override;

  absl::string_view name() const override { return "host"; }
  uint64_t block_bytes_max() const override;
  absl::StatusOr<std::unique_ptr<StagedBlock>> Stage(
      uint64_t payload_bytes) override;
  absl::Status Store(const BlockId& id, BlockHeader header,
                     std::unique_ptr<StagedBlock> staged) override;
  // The bytes stay where they are, whatever comes of it.
  absl::StatusOr<std::unique_ptr<BlockPin>> StorePinned(
      const BlockId& id, BlockHeader header,
      std::unique_ptr<StagedBlock>& staged) override;
  absl::StatusOr<std::unique_ptr<BlockPin>> Pin(
      const BlockId& id, const BlockIdentity& identity) override;
  absl::StatusOr<BlockHeader> ReadHeader(const BlockId& id) const override;
  void Erase(const BlockId& id) override;
  bool IsPinned(const BlockId& id) const override;

  // A block that is being moved counts twice for that moment. An erased block
  // whose pins live on counts in all but `blocks`.
  TierUsage usage() const override;

  // Declares the block size of a namespace, so that its slots fit exactly.
  // Errors: see SizeClasses::Add.
  absl::Status AddSizeClass(uint64_t block_bytes);

  // Share, in [0, 1], of the bytes without a block that blocks of this size
  // cannot use unless others move. Requires: 0 < block_bytes <= the maximum.
  double UnusableShare(uint64_t block_bytes) const;

  // Payload bytes moved so far to make room.
  uint64_t moved_bytes() const { return moved_bytes_; }

  // The memory behind the payloads, for readers in other processes.
  const Arena& arena() const { return *arena_; }

  // For a tier that is prefaulted later; any thread, while the tier is in use.
  absl::Status Prefault(uint64_t begin, uint64_t bytes) {
    return arena_->Prefault(begin, bytes);
  }

  // Where the pinned payload lies in the arena.
  // Requires: `pin` came from this tier.
  Slot SlotOf(const BlockPin& pin) const;

 private:
  friend class HostTierPeer;  // Tests damage headers through it.
  class HostPin;
  class HostStagedBlock;

  // One stored block, or an erased one that is still pinned.
  struct Record {
    BlockId id;
    Slot slot;
    uint64_t payload_bytes = 0;
    uint64_t generation = 0;
    std::vector<std::byte> header;  // Serialised; changes only when moved.
    uint32_t pin_count = 0;
    bool is_moving = false;  // Keeps the record and its slot, like a pin.
    bool is_erased = false;
  };

  struct alignas(64) Shard {
    mutable Mutex mutex;
    absl::flat_hash_map<BlockId, std::unique_ptr<Record>> records
        ABSL_GUARDED_BY(mutex);
    // Erased, but pinned or moving.
    absl::flat_hash_map<const Record*, std::unique_ptr<Record>> leaving
        ABSL_GUARDED_BY(mutex);
  };

  static constexpr size_t kShards = 64;

  HostTier(const Options& options, std::unique_ptr<Arena> arena);

  // The stored block with `pins` pins. `header.generation` is set. The staged
  // block has nothing left to give back once it is stored.
  absl::StatusOr<Record*> StoreRecord(const BlockId& id, BlockHeader& header,
                                      StagedBlock& staged, uint32_t pins);

  Shard& ShardOf(const BlockId& id) { return shards_[id.high % kShards]; }
  const Shard& ShardOf(const BlockId& id) const {
    return shards_[id.high % kShards];
  }
  absl::Span<std::byte> Payload(const Slot& slot, uint64_t payload_bytes) const;
  uint64_t NextGeneration();
  void FreeSlot(const Slot& slot);
  void DiscardStaged(const Slot& slot);
  void Unpin(Record* record);

  // Counts slots that must stay where they are, for each slab they touch.
  void HoldSlabs(const Slot& slot);
  void ReleaseSlabs(const Slot& slot);

  // A slot at once, or nullopt: then `to_move` has what to move away if that
  // makes room, and FinishVacate must follow.
  std::optional<Slot> AllocateOrBeginVacate(
      uint64_t payload_bytes, std::optional<std::vector<TakenSlot>>& to_move);
  std::optional<Slot> FinishVacate(uint64_t payload_bytes);
  bool Move(const TakenSlot& from);
  Record* BeginMove(const TakenSlot& from, bool& is_gone);
  std::optional<Slot> AllocateCopy(const TakenSlot& from);
  bool FinishMove(Record* record, const TakenSlot& from,
                  const std::optional<Slot>& to);
  // Header and generation for the same block in another slot.
  std::vector<std::byte> RestampHeader(const Record& record,
                                       uint64_t& generation);

  const std::unique_ptr<Arena> arena_;
  const uint64_t boot_bits_;
  std::atomic<uint64_t> generation_count_{0};
  std::atomic<uint64_t> pinned_bytes_{0};
  std::atomic<uint64_t> block_count_{0};
  std::atomic<uint64_t> moved_bytes_{0};
  std::array<Shard, kShards> shards_;

  mutable Mutex space_mutex_;
  CondVar vacated_;
  bool is_vacating_ ABSL_GUARDED_BY(space_mutex_) = false;
  SlabAllocator allocator_ ABSL_GUARDED_BY(space_mutex_);
  const uint64_t slab_bytes_;
  // By slab: staged and pinned slots that touch it. Read without the lock as a
  // hint for where moving is worth a try.
  std::vector<std::atomic<uint32_t>> held_slots_;
};

}  // namespace banyan::tiers
