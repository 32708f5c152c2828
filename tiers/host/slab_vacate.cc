// The part of SlabAllocator that looks at all slabs: fragmentation, and which
// slabs to vacate for a class that needs some.
#include <algorithm>

#include "base/check.h"
#include "tiers/host/slab_allocator.h"

namespace banyan::tiers {

SlabRange SlabsOf(const Slot& slot, uint64_t slab_bytes) {
  const uint64_t last = slot.offset_bytes + slot.bytes - 1;
  const auto first = static_cast<uint32_t>(slot.offset_bytes / slab_bytes);
  return {first, static_cast<uint32_t>(last / slab_bytes) - first + 1};
}

double SlabAllocator::UnusableShare(uint64_t block_bytes) const {
  const uint64_t unused_bytes = usage_.free_bytes + usage_.waste_bytes;
  if (unused_bytes == 0) return 0;
  const uint64_t slot_bytes = size_classes_.SlotBytes(block_bytes);
  uint64_t usable_bytes = 0;
  if (const auto it = classes_.find(slot_bytes); it != classes_.end()) {
    usable_bytes = it->second.free_slot_count * slot_bytes;
  }
  for (uint32_t first = 0; first < slab_count_;) {
    uint32_t end = first;
    while (end < slab_count_ && IsFree(end)) ++end;
    const uint64_t run_bytes = RangeBytes({first, end - first});
    usable_bytes += run_bytes - run_bytes % slot_bytes;
    first = end + 1;
  }
  return 1.0 -
         static_cast<double>(usable_bytes) / static_cast<double>(unused_bytes);
}

bool SlabAllocator::FitsElsewhere(const std::vector<ClassDemand>& demands,
                                  uint64_t free_slabs) const {
  uint64_t slabs_needed = 0;
  for (const ClassDemand& demand : demands) {
    const uint64_t room =
        demand.size_class->free_slot_count - demand.lost_free_slots;
    if (demand.moved_slots <= room) continue;
    const uint64_t slot_bytes = demand.size_class->slot_bytes;
    const uint32_t slabs = SlabsFor(slot_bytes);
    const uint64_t slots = slabs * slab_bytes_ / slot_bytes;
    slabs_needed += (demand.moved_slots - room + slots - 1) / slots * slabs;
  }
  return slabs_needed <= free_slabs;
}

bool SlabAllocator::IsStuck(const Extent& extent, uint64_t free_slabs,
                            absl::FunctionRef<bool(uint32_t)> is_fixed) const {
  const SizeClass& size_class = *extent.size_class;
  const uint64_t own_free = extent.slot_count - extent.taken_count;
  const uint64_t room = size_class.free_slot_count - own_free;
  if (extent.taken_count > room &&
      free_slabs < SlabsFor(size_class.slot_bytes)) {
    return true;
  }
  for (uint32_t i = 0; i < extent.slabs.count; ++i) {
    if (is_fixed(extent.slabs.first + i)) return true;
  }
  return false;
}

std::optional<uint64_t> SlabAllocator::BytesToMove(
    SlabRange window, uint64_t limit_bytes, uint64_t free_slabs,
    std::vector<ClassDemand>& demands) const {
  uint64_t moved_bytes = 0;
  demands.clear();
  const uint32_t end = window.first + window.count;
  for (uint32_t slab = window.first; slab < end;) {
    const Extent* const extent = extent_of_slab_[slab];
    if (extent == nullptr) {
      --free_slabs;
      ++slab;
      continue;
    }
    moved_bytes += extent->taken_count * extent->size_class->slot_bytes;
    if (moved_bytes >= limit_bytes) return std::nullopt;
    auto demand = std::find_if(
        demands.begin(), demands.end(),
        [&](const auto& d) { return d.size_class == extent->size_class; });
    if (demand == demands.end()) {
      demand = demands.insert(demand, {extent->size_class, 0, 0});
    }
    demand->moved_slots += extent->taken_count;
    demand->lost_free_slots += extent->slot_count - extent->taken_count;
    slab = extent->slabs.first + extent->slabs.count;
  }
  if (!FitsElsewhere(demands, free_slabs)) return std::nullopt;
  return moved_bytes;
}

std::optional<SlabRange> SlabAllocator::CheapestWindow(
    uint64_t block_bytes, absl::FunctionRef<bool(uint32_t)> is_fixed) const {
  const uint64_t slot_bytes = size_classes_.SlotBytes(block_bytes);
  // Moving blocks around makes no bytes: the common "full" ends here.
  if (usage_.free_bytes + usage_.waste_bytes < slot_bytes) return std::nullopt;
  const uint32_t count = SlabsFor(slot_bytes);
  const auto free_slabs = static_cast<uint64_t>(
      std::count(extent_of_slab_.begin(), extent_of_slab_.end(), nullptr));
  std::optional<SlabRange> best;
  uint64_t best_bytes = UINT64_MAX;
  std::vector<ClassDemand> demands;
  // A window cannot contain an extent that is stuck by itself. This rules out
  // nearly all windows of a tier that is nearly full, at one look each.
  const Extent* previous = nullptr;
  bool is_stuck = false;
  uint32_t run = 0;
  for (uint32_t slab = 0; slab < slab_count_; ++slab) {
    const Extent* const extent = extent_of_slab_[slab];
    if (extent != previous) {
      is_stuck = extent != nullptr && IsStuck(*extent, free_slabs, is_fixed);
      previous = extent;
    }
    run = is_stuck ? 0 : run + 1;
    if (run < count) continue;
    const SlabRange window{slab + 1 - count, count};
    if (RangeBytes(window) < slot_bytes) continue;
    const auto bytes = BytesToMove(window, best_bytes, free_slabs, demands);
    if (!bytes.has_value()) continue;
    best = window;
    best_bytes = *bytes;
  }
  return best;
}

void SlabAllocator::BeginVacate(SlabRange window) {
  BANYAN_CHECK(vacating_.count == 0 && window.count > 0);
  vacating_ = window;
  for (uint32_t i = 0; i < window.count; ++i) {
    Extent* const extent = extent_of_slab_[window.first + i];
    if (extent != nullptr) SetBucket(*extent, kVacateBucket);
  }
}

std::vector<TakenSlot> SlabAllocator::TakenSlots(SlabRange window) const {
  std::vector<TakenSlot> taken;
  const Extent* previous = nullptr;
  for (uint32_t i = 0; i < window.count; ++i) {
    const Extent* const extent = extent_of_slab_[window.first + i];
    if (extent == nullptr || extent == previous) continue;
    previous = extent;
    const uint64_t slot_bytes = extent->size_class->slot_bytes;
    for (uint32_t index = 0; index < extent->fresh; ++index) {
      const SlotEntry& entry = extent->entries[index];
      if (entry.state == SlotState::kFree) continue;
      taken.push_back(
          {.slot = {SlabOffset(extent->slabs.first) + index * slot_bytes,
                    slot_bytes},
           .is_committed = entry.state == SlotState::kUsed,
           .payload_bytes = entry.payload_bytes,
           .owner = entry.owner});
    }
  }
  return taken;
}

void SlabAllocator::EndVacate() {
  const SlabRange window = vacating_;
  vacating_ = {};
  for (uint32_t i = 0; i < window.count; ++i) {
    Extent* const extent = extent_of_slab_[window.first + i];
    if (extent != nullptr && extent->bucket == kVacateBucket) Rebucket(*extent);
  }
}

}  // namespace banyan::tiers
