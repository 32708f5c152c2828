// SlabAllocator: slots never overlap, the books add up after every step, and
// slabs change their class.
//
// Method: exact cases, and random runs against a naive model that knows all
// slots. Nothing is touched, so sizes are free.
#include "tiers/host/slab_allocator.h"

#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <random>
#include <vector>

#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr auto kNothingFixed = [](uint32_t) { return false; };

// The naive model: all slots by offset, checked against the books.
class SlabModel {
 public:
  explicit SlabModel(uint64_t capacity_bytes) : allocator_(capacity_bytes) {}

  SlabAllocator& allocator() { return allocator_; }
  size_t size() const { return slots_.size(); }

  bool Add(uint64_t bytes) {
    const auto slot = allocator_.Allocate(bytes);
    if (!slot.has_value()) return false;
    EXPECT_GE(slot->bytes, bytes);
    EXPECT_LE(slot->offset_bytes + slot->bytes, allocator_.capacity_bytes());
    const auto [it, is_new] = slots_.emplace(slot->offset_bytes, Entry{*slot});
    EXPECT_TRUE(is_new);
    if (it != slots_.begin()) {
      EXPECT_LE(End(std::prev(it)->second.slot), slot->offset_bytes);
    }
    if (std::next(it) != slots_.end()) {
      EXPECT_LE(End(*slot), std::next(it)->first);
    }
    staged_bytes_ += slot->bytes;
    it->second.payload_bytes = bytes;
    return true;
  }

  void CommitNth(size_t n) {
    Entry& entry = std::next(slots_.begin(), n)->second;
    if (entry.is_committed) return;
    entry.is_committed = true;
    allocator_.Commit(entry.slot, entry.payload_bytes, {.low = n});
    staged_bytes_ -= entry.slot.bytes;
    used_bytes_ += entry.slot.bytes;
    payload_bytes_ += entry.payload_bytes;
  }

  void FreeNth(size_t n) {
    const auto it = std::next(slots_.begin(), n);
    const Entry& entry = it->second;
    (entry.is_committed ? used_bytes_ : staged_bytes_) -= entry.slot.bytes;
    if (entry.is_committed) payload_bytes_ -= entry.payload_bytes;
    allocator_.Free(entry.slot);
    slots_.erase(it);
  }

  void Check() const {
    const TierUsage& usage = allocator_.usage();
    ASSERT_EQ(usage.used_bytes, used_bytes_);
    ASSERT_EQ(usage.staged_bytes, staged_bytes_);
    ASSERT_EQ(usage.payload_bytes, payload_bytes_);
    ASSERT_EQ(usage.used_bytes + usage.staged_bytes + usage.free_bytes +
                  usage.waste_bytes,
              allocator_.capacity_bytes());
  }

 private:
  struct Entry {
    Slot slot;
    uint64_t payload_bytes = 0;
    bool is_committed = false;
  };
  static uint64_t End(const Slot& slot) {
    return slot.offset_bytes + slot.bytes;
  }

  SlabAllocator allocator_;
  std::map<uint64_t, Entry> slots_;
  uint64_t staged_bytes_ = 0;
  uint64_t used_bytes_ = 0;
  uint64_t payload_bytes_ = 0;
};

TEST(SlabAllocatorTest, WholePagesHoldExactlyTheirNumberOfBlocks) {
  for (const uint64_t blocks : {1u, 7u, 1000u, 3000u, 10000u, 123457u}) {
    SlabAllocator allocator(blocks * 4096);
    uint64_t count = 0;
    while (allocator.Allocate(4096).has_value()) ++count;
    EXPECT_EQ(count, blocks);
    EXPECT_EQ(allocator.usage().free_bytes, 0u);
    EXPECT_EQ(allocator.usage().waste_bytes, 0u);
  }
}

TEST(SlabAllocatorTest, BlockAsLargeAsTheRangeFitsForAnyCapacity) {
  for (const uint64_t capacity :
       {uint64_t{1}, uint64_t{4097}, 64 * kKiB + 1, 1000 * 4096 + uint64_t{77},
        3 * kGiB + 12345, 5 * kTiB}) {
    SlabAllocator allocator(capacity);
    const auto slot = allocator.Allocate(capacity);
    ASSERT_TRUE(slot.has_value()) << capacity;
    EXPECT_EQ(slot->bytes, capacity);
    EXPECT_FALSE(allocator.Allocate(1).has_value());
    allocator.Free(*slot);
    EXPECT_EQ(allocator.usage().free_bytes, capacity);
  }
}

TEST(SlabAllocatorTest, DeclaredSizesWasteAlmostNothing) {
  constexpr uint64_t kMlaBlock = 1124352;
  SlabAllocator grid(8 * kGiB);
  SlabAllocator declared(8 * kGiB);
  ASSERT_TRUE(declared.AddSizeClass(kMlaBlock).ok());

  uint64_t grid_count = 0;
  while (grid.Allocate(kMlaBlock).has_value()) ++grid_count;
  uint64_t count = 0;
  while (declared.Allocate(kMlaBlock).has_value()) ++count;

  EXPECT_GT(count * kMlaBlock, 8 * kGiB * 0.98);
  EXPECT_GT(count, grid_count);
}

TEST(SlabAllocatorTest, RealBlockSizesFillTheRange) {
  for (const uint64_t block : {8 * kKiB, 64 * kKiB, 2 * kMiB, 5 * kMiB,
                               20 * kMiB, 32 * kMiB, 80 * kMiB, 128 * kMiB}) {
    SlabAllocator allocator(16 * kGiB);
    uint64_t count = 0;
    while (allocator.Allocate(block).has_value()) ++count;
    EXPECT_GT(count * block, 16 * kGiB * 0.93) << block;
  }
}

TEST(SlabAllocatorTest, GridRoundsUpByAnEighthAtMost) {
  const SizeClasses classes(kTiB);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t bytes = 32 * kKiB + random() % (kTiB - 32 * kKiB);
    const uint64_t slot = classes.SlotBytes(bytes);
    ASSERT_GE(slot, bytes);
    ASSERT_LE(slot, bytes + bytes / 8 + 4096);
    ASSERT_EQ(classes.SlotBytes(slot), slot);
  }
}

TEST(SlabAllocatorTest, SizesThatCannotBeAreRefused) {
  SlabAllocator allocator(kMiB);

  EXPECT_TRUE(absl::IsInvalidArgument(allocator.AddSizeClass(0)));
  EXPECT_TRUE(absl::IsInvalidArgument(allocator.AddSizeClass(kMiB + 1)));
}

TEST(SlabAllocatorTest, DeclaredSizesHaveALimit) {
  SlabAllocator allocator(kGiB);
  for (uint64_t i = 1; i <= kDeclaredSizesMax; ++i) {
    ASSERT_TRUE(allocator.AddSizeClass(i * 8 * kKiB).ok());
  }

  EXPECT_TRUE(
      absl::IsResourceExhausted(allocator.AddSizeClass(512 * kMiB + 4096)));
  EXPECT_TRUE(allocator.AddSizeClass(16 * kKiB).ok()) << "known already";
}

TEST(SlabAllocatorTest, FreedSlotsAreReusedLast) {
  SlabAllocator allocator(64 * kKiB);
  std::vector<Slot> slots;
  for (int i = 0; i < 15; ++i) slots.push_back(*allocator.Allocate(4096));
  allocator.Free(slots[3]);
  allocator.Free(slots[9]);
  allocator.Free(slots[5]);

  EXPECT_EQ(allocator.Allocate(4096)->offset_bytes, 15 * 4096u);
  EXPECT_EQ(*allocator.Allocate(4096), slots[3]);
  EXPECT_EQ(*allocator.Allocate(4096), slots[9]);
  EXPECT_EQ(*allocator.Allocate(4096), slots[5]);
  EXPECT_FALSE(allocator.Allocate(4096).has_value());
}

TEST(SlabAllocatorTest, FullestSlabIsFilledFirst) {
  SlabAllocator allocator(4 * 64 * kKiB);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  // 12 of 16 slots of slab 0 become free, 2 of slab 1.
  for (int i = 0; i < 12; ++i) allocator.Free(slots[i]);
  for (int i = 16; i < 18; ++i) allocator.Free(slots[i]);

  EXPECT_EQ(allocator.Allocate(4096)->offset_bytes / allocator.slab_bytes(),
            slots[16].offset_bytes / allocator.slab_bytes());
}

TEST(SlabAllocatorTest, EmptySlabsChangeTheirClass) {
  SlabAllocator allocator(kMiB);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  ASSERT_FALSE(allocator.Allocate(64).has_value());

  for (size_t i = 0; i < 16; ++i) allocator.Free(slots[i]);

  EXPECT_TRUE(allocator.Allocate(64).has_value());
  EXPECT_FALSE(allocator.Allocate(4096).has_value());
}

TEST(SlabAllocatorTest, WindowIsTheSlabWithLeastToMove) {
  SlabAllocator allocator(8 * 64 * kKiB);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  EXPECT_FALSE(allocator.CheapestWindow(32 * kKiB, kNothingFixed).has_value());
  for (size_t i = 0; i < 9; ++i) allocator.Free(slots[2 * 16 + i]);
  for (size_t i = 0; i < 6; ++i) allocator.Free(slots[5 * 16 + i]);
  // 15 slots are free: one too few to empty any slab.
  EXPECT_FALSE(allocator.CheapestWindow(32 * kKiB, kNothingFixed).has_value());
  allocator.Free(slots[5 * 16 + 6]);

  const auto window = allocator.CheapestWindow(32 * kKiB, kNothingFixed);
  const uint64_t slab = slots[2 * 16].offset_bytes / allocator.slab_bytes();

  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->first, slab);
  EXPECT_EQ(window->count, 1u);
  const auto other = allocator.CheapestWindow(
      32 * kKiB, [&](uint32_t s) { return s == slab; });
  ASSERT_TRUE(other.has_value());
  EXPECT_NE(other->first, slab);
}

TEST(SlabAllocatorTest, VacatedWindowServesTheLargeBlock) {
  SlabAllocator allocator(8 * 64 * kKiB);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  for (size_t i = 0; i < slots.size(); i += 4) allocator.Free(slots[i]);
  const auto window = allocator.CheapestWindow(100 * kKiB, kNothingFixed);
  ASSERT_TRUE(window.has_value());
  ASSERT_EQ(window->count, 2u);

  allocator.BeginVacate(*window);
  for (const TakenSlot& taken : allocator.TakenSlots(*window)) {
    const auto to = allocator.Allocate(taken.slot.bytes);
    ASSERT_TRUE(to.has_value());
    const uint64_t slab = to->offset_bytes / allocator.slab_bytes();
    EXPECT_TRUE(slab < window->first || slab >= window->first + window->count);
    allocator.Free(taken.slot);
  }
  EXPECT_FALSE(allocator.Allocate(100 * kKiB).has_value());
  allocator.EndVacate();

  EXPECT_TRUE(allocator.Allocate(100 * kKiB).has_value());
}

TEST(SlabAllocatorTest, NoWindowWhereItsBlocksWouldNotFitElsewhere) {
  SlabAllocator allocator(8 * 64 * kKiB);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  // 31 free slots empty one slab, but not the two that 100 KiB take.
  for (size_t i = 0; i < 31; ++i) allocator.Free(slots[i * 4]);
  EXPECT_TRUE(allocator.CheapestWindow(60 * kKiB, kNothingFixed).has_value());
  EXPECT_FALSE(allocator.CheapestWindow(100 * kKiB, kNothingFixed).has_value());

  allocator.Free(slots[1]);

  EXPECT_TRUE(allocator.CheapestWindow(100 * kKiB, kNothingFixed).has_value());
}

TEST(SlabAllocatorTest, UnusableShareSeesScatteredRoom) {
  SlabAllocator allocator(kMiB);
  EXPECT_EQ(allocator.UnusableShare(32 * kKiB), 0);
  std::vector<Slot> slots;
  while (const auto slot = allocator.Allocate(4096)) slots.push_back(*slot);
  EXPECT_EQ(allocator.UnusableShare(32 * kKiB), 0);

  for (size_t i = 0; i < slots.size(); i += 2) allocator.Free(slots[i]);

  EXPECT_EQ(allocator.UnusableShare(32 * kKiB), 1);
  EXPECT_EQ(allocator.UnusableShare(4096), 0);
}

class SlabAllocatorModelTest
    : public ::testing::TestWithParam<std::pair<uint64_t, uint64_t>> {};

TEST_P(SlabAllocatorModelTest, RandomRunAgreesWithTheModel) {
  const auto [capacity, seed] = GetParam();
  SCOPED_TRACE(::testing::Message() << capacity << " seed " << seed);
  std::mt19937_64 random(seed);
  SlabModel model(capacity);
  ASSERT_TRUE(model.allocator().AddSizeClass(capacity / 50 + 1).ok());

  for (int step = 0; step < 20000; ++step) {
    const uint64_t draw = random() % 100;
    if (draw < 45 || model.size() == 0) {
      // Sizes over all magnitudes; now and then the declared one.
      const int shift = static_cast<int>(random() % 40);
      const uint64_t bytes =
          draw < 5 ? capacity / 50 : 1 + (random() % capacity >> shift);
      model.Add(bytes);
    } else if (draw < 70) {
      model.CommitNth(random() % model.size());
    } else {
      model.FreeNth(random() % model.size());
    }
    model.Check();
    if (HasFatalFailure()) return;
  }
  while (model.size() > 0) model.FreeNth(random() % model.size());
  EXPECT_EQ(model.allocator().usage().free_bytes, capacity);
}

INSTANTIATE_TEST_SUITE_P(Capacities, SlabAllocatorModelTest,
                         ::testing::Values(std::pair{256 * kKiB, 1},
                                           std::pair{64 * kMiB + 4097, 2},
                                           std::pair{1000 * uint64_t{4096}, 3},
                                           std::pair{8 * kGiB + 1, 4},
                                           std::pair{uint64_t{100003}, 5}));

}  // namespace
}  // namespace banyan::tiers
