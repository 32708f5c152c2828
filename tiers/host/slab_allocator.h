// A SlabAllocator says where blocks go in a range of `capacity_bytes`. It only
// keeps books: it never touches the memory, so it works for any size.
//
// The range is cut into uniform slabs (the last may be short and is used). An
// extent is a run of one or more slabs cut into slots of one size; empty
// extents go back to being free slabs, so slabs change their size class when
// the blocks do. A block takes one slot, and may be as large as the range.
//
// Where a class needs slabs that others hold partly, CheapestWindow names the
// run of slabs that is cheapest to vacate. The owner moves its blocks elsewhere
// between BeginVacate and EndVacate, and the slabs are free.
//
// Invariant: slots never overlap; used + staged + free + waste == capacity.
// Threads:   thread-compatible.
// Cost:      Allocate and Free are O(1), plus a walk over the slabs when an
//            extent is cut; 32 B for each slot; CheapestWindow walks the slabs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "base/block_id.h"
#include "tiers/host/size_classes.h"
#include "tiers/tier.h"

namespace banyan::tiers {

// Bytes [offset_bytes, offset_bytes + bytes) of the range.
struct Slot {
  uint64_t offset_bytes = 0;
  uint64_t bytes = 0;

  friend bool operator==(const Slot&, const Slot&) = default;
};

// A slot that is taken; `payload_bytes` and `owner` are set once committed.
struct TakenSlot {
  Slot slot;
  bool is_committed = false;
  uint64_t payload_bytes = 0;
  BlockId owner;
};

// Slabs [first, first + count).
struct SlabRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

// The slabs of this size that the slot touches.
SlabRange SlabsOf(const Slot& slot, uint64_t slab_bytes);

class SlabAllocator {
 public:
  // Requires: capacity_bytes > 0.
  explicit SlabAllocator(uint64_t capacity_bytes);

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t slab_bytes() const { return slab_bytes_; }
  uint32_t slab_count() const { return slab_count_; }

  // See SizeClasses::Add.
  absl::Status AddSizeClass(uint64_t block_bytes);

  // A slot for a block of this size, staged; nullopt if there is no room.
  // Prefers the fullest extent that has room, so that others run empty, and in
  // it the slot that was freed longest ago.
  // Requires: 0 < block_bytes <= capacity_bytes.
  std::optional<Slot> Allocate(uint64_t block_bytes);

  // The staged slot now holds a payload of this size, owned by `owner`.
  void Commit(const Slot& slot, uint64_t payload_bytes, const BlockId& owner);

  // The committed slot is staged again.
  void Uncommit(const Slot& slot);

  // Gives back a slot, staged or committed.
  void Free(const Slot& slot);

  // `blocks` counts committed slots; `pinned_bytes` is not known here.
  const TierUsage& usage() const { return usage_; }

  // Share, in [0, 1], of the bytes that hold no block and that a run of blocks
  // of this size cannot use as things are; 0 if everything is taken.
  double UnusableShare(uint64_t block_bytes) const;

  // The run of slabs that would hold a block of this size and has the fewest
  // bytes to move away, if they fit into the free slots elsewhere. Runs with a
  // slab that `is_fixed` are left out.
  std::optional<SlabRange> CheapestWindow(
      uint64_t block_bytes,
      absl::FunctionRef<bool(uint32_t slab)> is_fixed) const;

  // Until EndVacate, nothing new is allocated in extents that touch the window.
  // One window at a time.
  void BeginVacate(SlabRange window);

  // The taken slots of all extents that touch the window.
  std::vector<TakenSlot> TakenSlots(SlabRange window) const;

  // What is free in the window by now can be allocated again.
  void EndVacate();

 private:
  enum class SlotState : uint32_t { kFree, kStaged, kUsed };
  struct SlotEntry {
    BlockId owner;
    uint64_t payload_bytes;
    uint32_t next_free;
    SlotState state;
  };
  struct SizeClass;

  struct Extent {
    SizeClass* size_class;
    SlabRange slabs;
    uint32_t slot_count;
    uint32_t taken_count = 0;
    // Slots from here on were never taken; their entries are not yet written.
    uint32_t fresh = 0;
    // Freed slots, first in first out, linked by next_free.
    uint32_t free_head = 0;
    uint32_t free_tail = 0;
    uint32_t freed_count = 0;
    size_t bucket = 0;
    std::list<Extent>::iterator self;
    std::unique_ptr<SlotEntry[]> entries;
  };

  // Extents by fullness in eighths, then the full ones, then those that are
  // being vacated.
  static constexpr size_t kFullBucket = 8;
  static constexpr size_t kVacateBucket = 9;
  struct SizeClass {
    uint64_t slot_bytes;
    uint64_t free_slot_count = 0;  // Outside of kVacateBucket.
    std::array<std::list<Extent>, 10> buckets;
  };

  // How many blocks a window would push into which class.
  struct ClassDemand {
    const SizeClass* size_class;
    uint64_t moved_slots;
    uint64_t lost_free_slots;
  };

  uint64_t SlabOffset(uint32_t slab) const;
  uint64_t RangeBytes(SlabRange range) const;
  uint32_t SlabsFor(uint64_t slot_bytes) const;
  uint32_t PreferredSlabs(uint64_t slot_bytes) const;
  bool IsFree(uint32_t slab) const;
  std::optional<SlabRange> FindFreeRun(uint32_t count,
                                       uint64_t bytes_min) const;
  Extent* CutExtent(SizeClass& size_class);
  void ReleaseExtent(Extent& extent);
  void SetBucket(Extent& extent, size_t bucket);
  void Rebucket(Extent& extent);
  Slot TakeSlot(Extent& extent);
  Extent& ExtentOf(const Slot& slot, uint32_t& index);
  // True if the extent cannot be vacated, whatever else is.
  bool IsStuck(const Extent& extent, uint64_t free_slabs,
               absl::FunctionRef<bool(uint32_t)> is_fixed) const;
  // `demands` is scratch space.
  std::optional<uint64_t> BytesToMove(SlabRange window, uint64_t limit_bytes,
                                      uint64_t free_slabs,
                                      std::vector<ClassDemand>& demands) const;
  bool FitsElsewhere(const std::vector<ClassDemand>& demands,
                     uint64_t free_slabs) const;

  const uint64_t capacity_bytes_;
  const uint64_t slab_bytes_;
  const uint32_t slab_count_;
  SizeClasses size_classes_;
  std::map<uint64_t, SizeClass> classes_;  // By slot bytes.
  std::vector<Extent*> extent_of_slab_;    // nullptr: not cut.
  SlabRange vacating_;
  TierUsage usage_;
};

}  // namespace banyan::tiers
