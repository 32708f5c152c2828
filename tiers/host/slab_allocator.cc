#include "tiers/host/slab_allocator.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kSlabBytesMin = 64 * kKiB;
constexpr uint64_t kSlabBytesMax = 64 * kMiB;
constexpr uint64_t kSlabsAimed = 1024;

// An extent is made longer, by up to this many slabs, while its tail wastes
// more than this share.
constexpr uint32_t kExtraSlabsMax = 3;
constexpr double kTailShareMax = 0.02;

uint64_t ChooseSlabBytes(uint64_t capacity_bytes) {
  return std::clamp(std::bit_ceil(CeilDiv(capacity_bytes, kSlabsAimed)),
                    kSlabBytesMin, kSlabBytesMax);
}

}  // namespace

SlabAllocator::SlabAllocator(uint64_t capacity_bytes)
    : capacity_bytes_(capacity_bytes),
      slab_bytes_(ChooseSlabBytes(capacity_bytes)),
      slab_count_(static_cast<uint32_t>(CeilDiv(capacity_bytes, slab_bytes_))),
      size_classes_(capacity_bytes),
      extent_of_slab_(slab_count_, nullptr) {
  BANYAN_CHECK(capacity_bytes > 0);
  usage_.capacity_bytes = capacity_bytes;
  usage_.free_bytes = capacity_bytes;
}

absl::Status SlabAllocator::AddSizeClass(uint64_t block_bytes) {
  return size_classes_.Add(block_bytes);
}

uint64_t SlabAllocator::SlabOffset(uint32_t slab) const {
  return std::min(slab * slab_bytes_, capacity_bytes_);
}

uint64_t SlabAllocator::RangeBytes(SlabRange range) const {
  return SlabOffset(range.first + range.count) - SlabOffset(range.first);
}

uint32_t SlabAllocator::SlabsFor(uint64_t slot_bytes) const {
  return static_cast<uint32_t>(CeilDiv(slot_bytes, slab_bytes_));
}

uint32_t SlabAllocator::PreferredSlabs(uint64_t slot_bytes) const {
  const uint32_t least = SlabsFor(slot_bytes);
  uint32_t best = least;
  double best_share = 1;
  for (uint32_t count = least; count <= least + kExtraSlabsMax; ++count) {
    // Long extents in a small range would be hard to place.
    if (count > least && count > slab_count_ / 8) break;
    const uint64_t bytes = count * slab_bytes_;
    const double share =
        static_cast<double>(bytes % slot_bytes) / static_cast<double>(bytes);
    if (share < best_share) {
      best = count;
      best_share = share;
    }
    if (best_share <= kTailShareMax) break;
  }
  return best;
}

bool SlabAllocator::IsFree(uint32_t slab) const {
  return extent_of_slab_[slab] == nullptr &&
         (slab < vacating_.first || slab >= vacating_.first + vacating_.count);
}

std::optional<SlabRange> SlabAllocator::FindFreeRun(uint32_t count,
                                                    uint64_t bytes_min) const {
  // Best fit keeps long runs for large blocks.
  std::optional<SlabRange> best;
  uint32_t best_run = UINT32_MAX;
  for (uint32_t first = 0; first < slab_count_;) {
    uint32_t end = first;
    while (end < slab_count_ && IsFree(end)) ++end;
    const uint32_t run = end - first;
    const SlabRange range{first, count};
    if (run >= count && run < best_run && RangeBytes(range) >= bytes_min) {
      best = range;
      best_run = run;
    }
    first = end + 1;
  }
  return best;
}

SlabAllocator::Extent* SlabAllocator::CutExtent(SizeClass& size_class) {
  const uint64_t slot_bytes = size_class.slot_bytes;
  const uint32_t least = SlabsFor(slot_bytes);
  std::optional<SlabRange> slabs;
  for (uint32_t count = PreferredSlabs(slot_bytes); count >= least; --count) {
    slabs = FindFreeRun(count, slot_bytes);
    if (slabs.has_value()) break;
  }
  if (!slabs.has_value()) return nullptr;

  std::list<Extent>& bucket = size_class.buckets[0];
  Extent& extent = bucket.emplace_front();
  extent.self = bucket.begin();
  extent.size_class = &size_class;
  extent.slabs = *slabs;
  extent.slot_count = static_cast<uint32_t>(RangeBytes(*slabs) / slot_bytes);
  extent.entries.reset(new SlotEntry[extent.slot_count]);
  for (uint32_t i = 0; i < slabs->count; ++i) {
    extent_of_slab_[slabs->first + i] = &extent;
  }
  size_class.free_slot_count += extent.slot_count;
  const uint64_t tail = RangeBytes(*slabs) % slot_bytes;
  usage_.free_bytes -= tail;
  usage_.waste_bytes += tail;
  return &extent;
}

void SlabAllocator::ReleaseExtent(Extent& extent) {
  SizeClass& size_class = *extent.size_class;
  const uint64_t tail = RangeBytes(extent.slabs) % size_class.slot_bytes;
  usage_.waste_bytes -= tail;
  usage_.free_bytes += tail;
  if (extent.bucket != kVacateBucket) {
    size_class.free_slot_count -= extent.slot_count;
  }
  for (uint32_t i = 0; i < extent.slabs.count; ++i) {
    extent_of_slab_[extent.slabs.first + i] = nullptr;
  }
  size_class.buckets[extent.bucket].erase(extent.self);
}

void SlabAllocator::SetBucket(Extent& extent, size_t bucket) {
  if (bucket == extent.bucket) return;
  auto& buckets = extent.size_class->buckets;
  const uint32_t free_count = extent.slot_count - extent.taken_count;
  if (bucket == kVacateBucket) extent.size_class->free_slot_count -= free_count;
  if (extent.bucket == kVacateBucket) {
    extent.size_class->free_slot_count += free_count;
  }
  buckets[bucket].splice(buckets[bucket].end(), buckets[extent.bucket],
                         extent.self);
  extent.bucket = bucket;
}

void SlabAllocator::Rebucket(Extent& extent) {
  SetBucket(extent,
            uint64_t{extent.taken_count} * kFullBucket / extent.slot_count);
}

Slot SlabAllocator::TakeSlot(Extent& extent) {
  uint32_t index = 0;
  if (extent.fresh < extent.slot_count) {
    index = extent.fresh++;
  } else {
    index = extent.free_head;
    extent.free_head = extent.entries[index].next_free;
    --extent.freed_count;
  }
  extent.entries[index] = {.payload_bytes = 0, .state = SlotState::kStaged};
  ++extent.taken_count;
  const uint64_t bytes = extent.size_class->slot_bytes;
  return {SlabOffset(extent.slabs.first) + index * bytes, bytes};
}

std::optional<Slot> SlabAllocator::Allocate(uint64_t block_bytes) {
  const uint64_t slot_bytes = size_classes_.SlotBytes(block_bytes);
  SizeClass& size_class = classes_[slot_bytes];
  size_class.slot_bytes = slot_bytes;
  Extent* extent = nullptr;
  for (size_t bucket = kFullBucket; bucket > 0 && extent == nullptr; --bucket) {
    auto& partial = size_class.buckets[bucket - 1];
    if (!partial.empty()) extent = &partial.front();
  }
  if (extent == nullptr) extent = CutExtent(size_class);
  if (extent == nullptr) return std::nullopt;

  const Slot slot = TakeSlot(*extent);
  --size_class.free_slot_count;
  Rebucket(*extent);
  usage_.free_bytes -= slot_bytes;
  usage_.staged_bytes += slot_bytes;
  return slot;
}

SlabAllocator::Extent& SlabAllocator::ExtentOf(const Slot& slot,
                                               uint32_t& index) {
  BANYAN_CHECK(slot.offset_bytes < capacity_bytes_);
  Extent* const extent = extent_of_slab_[slot.offset_bytes / slab_bytes_];
  BANYAN_CHECK(extent != nullptr &&
               extent->size_class->slot_bytes == slot.bytes);
  const uint64_t offset = slot.offset_bytes - SlabOffset(extent->slabs.first);
  BANYAN_CHECK(offset % slot.bytes == 0);
  index = static_cast<uint32_t>(offset / slot.bytes);
  BANYAN_CHECK(index < extent->fresh);
  return *extent;
}

void SlabAllocator::Commit(const Slot& slot, uint64_t payload_bytes,
                           const BlockId& owner) {
  uint32_t index = 0;
  SlotEntry& entry = ExtentOf(slot, index).entries[index];
  BANYAN_CHECK(entry.state == SlotState::kStaged);
  BANYAN_CHECK(payload_bytes > 0 && payload_bytes <= slot.bytes);
  entry.state = SlotState::kUsed;
  entry.payload_bytes = payload_bytes;
  entry.owner = owner;
  usage_.staged_bytes -= slot.bytes;
  usage_.used_bytes += slot.bytes;
  usage_.payload_bytes += payload_bytes;
  ++usage_.blocks;
}

void SlabAllocator::Uncommit(const Slot& slot) {
  uint32_t index = 0;
  SlotEntry& entry = ExtentOf(slot, index).entries[index];
  BANYAN_CHECK(entry.state == SlotState::kUsed);
  usage_.staged_bytes += slot.bytes;
  usage_.used_bytes -= slot.bytes;
  usage_.payload_bytes -= entry.payload_bytes;
  --usage_.blocks;
  entry.state = SlotState::kStaged;
  entry.payload_bytes = 0;
  entry.owner = BlockId();
}

void SlabAllocator::Free(const Slot& slot) {
  uint32_t index = 0;
  Extent& extent = ExtentOf(slot, index);
  SlotEntry& entry = extent.entries[index];
  BANYAN_CHECK(entry.state != SlotState::kFree);
  if (entry.state == SlotState::kStaged) {
    usage_.staged_bytes -= slot.bytes;
  } else {
    usage_.used_bytes -= slot.bytes;
    usage_.payload_bytes -= entry.payload_bytes;
    --usage_.blocks;
  }
  usage_.free_bytes += slot.bytes;
  entry.state = SlotState::kFree;
  if (extent.freed_count++ == 0) {
    extent.free_head = index;
  } else {
    extent.entries[extent.free_tail].next_free = index;
  }
  extent.free_tail = index;
  --extent.taken_count;
  if (extent.bucket != kVacateBucket) {
    ++extent.size_class->free_slot_count;
    Rebucket(extent);
  }
  if (extent.taken_count == 0) ReleaseExtent(extent);
}

}  // namespace banyan::tiers
