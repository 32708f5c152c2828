// The part of HostTier that moves unpinned blocks together, so that whole slabs
// become free for blocks of another size.
//
// A move holds no lock while it copies. The record is marked instead: it keeps
// record and slot alive, like a pin, while readers may come and go. The move
// counts only if nobody has the block pinned when the copy is done.
#include <cstring>
#include <utility>

#include "tiers/host/host_tier.h"

namespace banyan::tiers {

std::optional<Slot> HostTier::AllocateOrBeginVacate(
    uint64_t payload_bytes, std::optional<std::vector<TakenSlot>>& to_move) {
  const MutexLock lock(space_mutex_);
  std::optional<Slot> slot = allocator_.Allocate(payload_bytes);
  while (!slot.has_value() && is_vacating_) {
    vacated_.Wait(space_mutex_);
    slot = allocator_.Allocate(payload_bytes);
  }
  if (slot.has_value()) {
    HoldSlabs(*slot);
    return slot;
  }
  const auto window = allocator_.CheapestWindow(
      payload_bytes, [this](uint32_t slab) { return held_slots_[slab] > 0; });
  if (!window.has_value()) return std::nullopt;
  is_vacating_ = true;
  allocator_.BeginVacate(*window);
  to_move = allocator_.TakenSlots(*window);
  return std::nullopt;
}

std::optional<Slot> HostTier::FinishVacate(uint64_t payload_bytes) {
  std::optional<Slot> slot;
  {
    const MutexLock lock(space_mutex_);
    allocator_.EndVacate();
    is_vacating_ = false;
    slot = allocator_.Allocate(payload_bytes);
    if (slot.has_value()) HoldSlabs(*slot);
  }
  vacated_.NotifyAll();
  return slot;
}

bool HostTier::Move(const TakenSlot& from) {
  if (!from.is_committed) return false;
  bool is_gone = false;
  Record* const record = BeginMove(from, is_gone);
  if (record == nullptr) return is_gone;
  const std::optional<Slot> to = AllocateCopy(from);
  if (to.has_value()) {
    std::memcpy(Payload(*to, from.payload_bytes).data(),
                Payload(from.slot, from.payload_bytes).data(),
                from.payload_bytes);
  }
  return FinishMove(record, from, to);
}

HostTier::Record* HostTier::BeginMove(const TakenSlot& from, bool& is_gone) {
  Shard& shard = ShardOf(from.owner);
  const MutexLock lock(shard.mutex);
  const auto it = shard.records.find(from.owner);
  is_gone = it == shard.records.end() || it->second->slot != from.slot;
  if (is_gone || it->second->pin_count > 0) return nullptr;
  it->second->is_moving = true;
  return it->second.get();
}

std::optional<Slot> HostTier::AllocateCopy(const TakenSlot& from) {
  const MutexLock lock(space_mutex_);
  const std::optional<Slot> to = allocator_.Allocate(from.slot.bytes);
  if (to.has_value()) {
    allocator_.Commit(*to, from.payload_bytes, from.owner);
  }
  return to;
}

std::vector<std::byte> HostTier::RestampHeader(const Record& record,
                                               uint64_t& generation) {
  generation = record.generation;
  absl::StatusOr<BlockHeader> header = ParseBlockHeader(record.header);
  // A damaged header moves as it is: the next Pin reports it.
  if (!header.ok() || header->generation != generation) return record.header;
  generation = NextGeneration();
  header->generation = generation;
  return SerializeBlockHeader(*header);
}

bool HostTier::FinishMove(Record* record, const TakenSlot& from,
                          const std::optional<Slot>& to) {
  uint64_t generation = 0;
  std::vector<std::byte> header = RestampHeader(*record, generation);
  std::unique_ptr<Record> gone;
  bool is_moved = false;
  {
    Shard& shard = ShardOf(from.owner);
    const MutexLock lock(shard.mutex);
    record->is_moving = false;
    if (record->pin_count == 0 && record->is_erased) {
      gone = std::move(shard.leaving.extract(record).mapped());
    } else if (record->pin_count == 0 && to.has_value()) {
      record->slot = *to;
      record->header = std::move(header);
      record->generation = generation;
      is_moved = true;
    }
  }
  if (is_moved) moved_bytes_ += from.payload_bytes;
  const MutexLock lock(space_mutex_);
  if (is_moved || gone != nullptr) allocator_.Free(from.slot);
  if (to.has_value() && !is_moved) allocator_.Free(*to);
  return is_moved || gone != nullptr;
}

}  // namespace banyan::tiers
