// HostTier beyond the Tier contract: moving blocks to change size classes,
// generations, the shared arena, damage in headers while moving, and threads.
//
// Method: self-describing payloads tell whose bytes a slot holds; every block
// that should be there is read back after moves.
#include "tiers/host/host_tier.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/units.h"
#include "tests/testing/self_describing.h"

namespace banyan::tiers {

// Takes a move apart, so that tests can do what other threads would do in its
// middle.
class HostTierPeer {
 public:
  // Begins to move the block, which nobody has pinned.
  HostTierPeer(HostTier& tier, const BlockId& id, const Slot& slot,
               uint64_t payload_bytes)
      : tier_(tier), from_{slot, true, payload_bytes, id} {
    bool is_gone = false;
    record_ = tier.BeginMove(from_, is_gone);
    EXPECT_NE(record_, nullptr);
    to_ = tier.AllocateCopy(from_);
    EXPECT_TRUE(to_.has_value());
    const auto bytes = tier.Payload(slot, payload_bytes);
    std::copy(bytes.begin(), bytes.end(),
              tier.Payload(*to_, payload_bytes).begin());
  }

  bool Finish() { return tier_.FinishMove(record_, from_, to_); }

 private:
  HostTier& tier_;
  const TakenSlot from_;
  HostTier::Record* record_ = nullptr;
  std::optional<Slot> to_;
};

namespace {

using testing::IdentityNo;
using testing::IdNo;
using testing::ReadNo;
using testing::StoreNo;

std::unique_ptr<HostTier> MakeTier(uint64_t capacity_bytes, uint16_t boot = 0) {
  auto tier = HostTier::Open(
      {.capacity_bytes = capacity_bytes, .prefault = false, .boot = boot});
  EXPECT_TRUE(tier.ok()) << tier.status();
  return *std::move(tier);
}

std::unique_ptr<BlockPin> PinNo(HostTier& tier, uint64_t n) {
  auto pin = tier.Pin(IdNo(n), IdentityNo(n));
  EXPECT_TRUE(pin.ok()) << pin.status();
  return pin.ok() ? *std::move(pin) : nullptr;
}

uint64_t Fill(HostTier& tier, uint64_t first, uint64_t payload_bytes) {
  uint64_t n = first;
  while (StoreNo(tier, n, payload_bytes).ok()) ++n;
  return n - first;
}

// Erases blocks of `victims` until block n fits; returns how many it took.
size_t EvictUntilStored(HostTier& tier, uint64_t n, uint64_t payload_bytes,
                        std::vector<uint64_t>& victims) {
  size_t evictions = 0;
  while (!StoreNo(tier, n, payload_bytes).ok()) {
    EXPECT_FALSE(victims.empty());
    if (victims.empty()) return evictions;
    tier.Erase(IdNo(victims.back()));
    victims.pop_back();
    ++evictions;
  }
  return evictions;
}

std::vector<uint64_t> Shuffled(uint64_t count, uint64_t seed) {
  std::vector<uint64_t> numbers(count);
  for (uint64_t i = 0; i < count; ++i) numbers[i] = i;
  std::mt19937_64 random(seed);
  std::shuffle(numbers.begin(), numbers.end(), random);
  return numbers;
}

TEST(HostTierTest, WholePagesHoldExactlyTheirNumberOfBlocks) {
  for (const uint64_t blocks : {1000u, 3000u, 10000u}) {
    const auto tier = MakeTier(blocks * 4096);
    EXPECT_EQ(Fill(*tier, 0, 4096), blocks);
  }
}

TEST(HostTierTest, CapacityThatCannotBeIsAnError) {
  EXPECT_TRUE(absl::IsInvalidArgument(HostTier::Open({}).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      HostTier::Open({.capacity_bytes = 100 * kTiB}).status()));
}

TEST(HostTierTest, GenerationsCarryTheBoot) {
  const auto tier = MakeTier(kMiB, 0xabcd);
  ASSERT_TRUE(StoreNo(*tier, 1, 100).ok());

  EXPECT_EQ(PinNo(*tier, 1)->header().generation >> 48, 0xabcdu);
}

TEST(HostTierTest, ReadersOfTheArenaFindThePinnedPayload) {
  const auto tier = MakeTier(kMiB);
  ASSERT_TRUE(StoreNo(*tier, 1, 10000).ok());
  const auto pin = PinNo(*tier, 1);
  const Arena& arena = tier->arena();
  void* const seen =
      mmap(nullptr, arena.file_bytes(), PROT_READ, MAP_SHARED, arena.fd(), 0);
  ASSERT_NE(seen, MAP_FAILED);

  const Slot slot = tier->SlotOf(*pin);

  EXPECT_EQ(std::memcmp(static_cast<std::byte*>(seen) + slot.offset_bytes,
                        testing::PayloadNo(1, 10000).data(), 10000),
            0);
  munmap(seen, arena.file_bytes());
}

TEST(HostTierTest, OneSlabOfScatteredEvictionsServesAnotherClass) {
  const auto tier = MakeTier(4 * kMiB);  // 64 slabs of 16 blocks.
  const uint64_t count = Fill(*tier, 0, 4096);
  ASSERT_EQ(count, 1024u);
  std::vector<uint64_t> victims = Shuffled(count, 1);

  const size_t evictions = EvictUntilStored(*tier, count, 40000, victims);

  EXPECT_EQ(evictions, 16u);
  EXPECT_GT(tier->moved_bytes(), 0u);
  EXPECT_TRUE(ReadNo(*tier, count, 40000).ok());
  for (const uint64_t n : victims) ASSERT_TRUE(ReadNo(*tier, n, 4096).ok());
}

TEST(HostTierTest, LargeBlocksNeedLittleMoreEvictionThanTheirSize) {
  const auto tier = MakeTier(4 * kMiB);
  const uint64_t count = Fill(*tier, 0, 4096);
  std::vector<uint64_t> victims = Shuffled(count, 2);

  const size_t evictions = EvictUntilStored(*tier, count, kMiB, victims);

  EXPECT_LE(evictions, 256u);
  for (const uint64_t n : victims) ASSERT_TRUE(ReadNo(*tier, n, 4096).ok());
  EXPECT_TRUE(ReadNo(*tier, count, kMiB).ok());
}

TEST(HostTierTest, AnySizeFitsAfterEverythingUnpinnedIsErased) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const auto tier = MakeTier(3 * kMiB + 4711);
    std::mt19937_64 random(seed);
    std::vector<uint64_t> stored;
    for (uint64_t n = 0; n < 2000; ++n) {
      const uint64_t bytes = 1 + (random() % kMiB >> random() % 15);
      if (StoreNo(*tier, n, bytes).ok()) stored.push_back(n);
      if (random() % 3 == 0 && !stored.empty()) {
        std::swap(stored[random() % stored.size()], stored.back());
        tier->Erase(IdNo(stored.back()));
        stored.pop_back();
      }
    }

    EvictUntilStored(*tier, 5000, tier->block_bytes_max(), stored);

    EXPECT_TRUE(ReadNo(*tier, 5000, tier->block_bytes_max()).ok());
  }
}

TEST(HostTierTest, ClassesTakeTurnsWithoutGettingStuck) {
  constexpr uint64_t kCapacity = 4 * kMiB;
  const auto tier = MakeTier(kCapacity);
  uint64_t next = Fill(*tier, 0, 4096);
  std::vector<uint64_t> victims = Shuffled(next, 3);
  for (const uint64_t bytes : {60000u, 300u, 200000u, 4096u, 12000u}) {
    // Until all blocks of the class before are gone and no more fit.
    const uint64_t first = next;
    for (;;) {
      if (StoreNo(*tier, next, bytes).ok()) {
        ++next;
        continue;
      }
      if (victims.empty()) break;
      tier->Erase(IdNo(victims.back()));
      victims.pop_back();
    }

    // 200000 takes four of 64 slabs a block: few fit, and gaps stay.
    EXPECT_GT((next - first) * bytes, kCapacity * 6 / 10) << bytes;
    for (uint64_t n = first; n < next; ++n) {
      ASSERT_TRUE(ReadNo(*tier, n, bytes).ok());
      victims.push_back(n);
    }
  }
}

TEST(HostTierTest, PinnedBlocksAreNotMoved) {
  const auto tier = MakeTier(kMiB);
  const uint64_t count = Fill(*tier, 0, 4096);
  std::vector<std::unique_ptr<BlockPin>> pins;
  for (uint64_t n = 0; n < count; n += 16) pins.push_back(PinNo(*tier, n));
  std::vector<Slot> slots;
  for (const auto& pin : pins) slots.push_back(tier->SlotOf(*pin));

  for (uint64_t n = 0; n < count; ++n) {
    if (n % 16 != 0) tier->Erase(IdNo(n));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(tier->Stage(60000).status()));

  for (size_t i = 0; i < pins.size(); ++i) {
    EXPECT_TRUE(testing::CheckPinNo(*pins[i], i * 16, 4096).ok());
    EXPECT_EQ(tier->SlotOf(*PinNo(*tier, i * 16)), slots[i]);
  }
  pins.clear();
  EXPECT_TRUE(tier->Stage(60000).ok());
  for (uint64_t n = 0; n < count; n += 16) {
    EXPECT_TRUE(ReadNo(*tier, n, 4096).ok());
  }
}

TEST(HostTierTest, MovedBlockHasANewGeneration) {
  const auto tier = MakeTier(kMiB);
  const uint64_t count = Fill(*tier, 0, 4096);
  std::set<uint64_t> generations;
  for (uint64_t n = 0; n < count; ++n) {
    generations.insert(PinNo(*tier, n)->header().generation);
  }
  for (uint64_t n = 0; n < count; ++n) {
    if (n % 16 != 0) tier->Erase(IdNo(n));
  }

  ASSERT_TRUE(tier->Stage(60000).ok());

  ASSERT_GT(tier->moved_bytes(), 0u);
  size_t moved = 0;
  for (uint64_t n = 0; n < count; n += 16) {
    moved += !generations.contains(PinNo(*tier, n)->header().generation);
  }
  EXPECT_EQ(moved * 4096, tier->moved_bytes());
}

TEST(HostTierTest, BlockPinnedDuringItsMoveStaysWhereItIs) {
  const auto tier = MakeTier(kMiB);
  ASSERT_TRUE(StoreNo(*tier, 1, 4096).ok());
  const Slot slot = tier->SlotOf(*PinNo(*tier, 1));
  HostTierPeer move(*tier, IdNo(1), slot, 4096);

  const auto pin = PinNo(*tier, 1);

  EXPECT_FALSE(move.Finish());
  EXPECT_EQ(tier->SlotOf(*PinNo(*tier, 1)), slot);
  EXPECT_TRUE(testing::CheckPinNo(*pin, 1, 4096).ok());
  EXPECT_EQ(tier->usage().used_bytes, 4096u);
}

TEST(HostTierTest, BlockReadDuringItsMoveMoves) {
  const auto tier = MakeTier(kMiB);
  ASSERT_TRUE(StoreNo(*tier, 1, 4096).ok());
  const Slot slot = tier->SlotOf(*PinNo(*tier, 1));
  HostTierPeer move(*tier, IdNo(1), slot, 4096);

  EXPECT_TRUE(ReadNo(*tier, 1, 4096).ok());
  EXPECT_FALSE(tier->IsPinned(IdNo(1)));

  EXPECT_TRUE(move.Finish());
  EXPECT_FALSE(tier->SlotOf(*PinNo(*tier, 1)) == slot);
  EXPECT_TRUE(ReadNo(*tier, 1, 4096).ok());
  EXPECT_EQ(tier->usage().used_bytes, 4096u);
}

TEST(HostTierTest, BlockErasedDuringItsMoveLeavesNothing) {
  const auto tier = MakeTier(kMiB);
  ASSERT_TRUE(StoreNo(*tier, 1, 4096).ok());
  const Slot slot = tier->SlotOf(*PinNo(*tier, 1));
  HostTierPeer move(*tier, IdNo(1), slot, 4096);

  tier->Erase(IdNo(1));
  ASSERT_TRUE(StoreNo(*tier, 1, 5000).ok());

  EXPECT_TRUE(move.Finish());
  EXPECT_TRUE(ReadNo(*tier, 1, 5000).ok());
  tier->Erase(IdNo(1));
  EXPECT_EQ(tier->usage().free_bytes, kMiB);
}

TEST(HostTierTest, BlockPinnedAndErasedDuringItsMoveLivesUntilUnpinned) {
  const auto tier = MakeTier(kMiB);
  ASSERT_TRUE(StoreNo(*tier, 1, 4096).ok());
  const Slot slot = tier->SlotOf(*PinNo(*tier, 1));
  HostTierPeer move(*tier, IdNo(1), slot, 4096);

  auto pin = PinNo(*tier, 1);
  tier->Erase(IdNo(1));

  EXPECT_FALSE(move.Finish());
  EXPECT_TRUE(testing::CheckPinNo(*pin, 1, 4096).ok());
  EXPECT_EQ(tier->usage().used_bytes, 4096u);
  pin.reset();
  EXPECT_EQ(tier->usage().free_bytes, kMiB);
}

TEST(HostTierTest, DeclaredSizeIsUsedExactly) {
  constexpr uint64_t kMlaBlock = 1124352;
  const auto tier = MakeTier(128 * kMiB);
  ASSERT_TRUE(tier->AddSizeClass(kMlaBlock).ok());
  ASSERT_TRUE(StoreNo(*tier, 1, kMlaBlock).ok());

  EXPECT_EQ(tier->usage().used_bytes, RoundUp(kMlaBlock, 4096));
}

// Threads store, pin, read and erase blocks of several sizes in a tier that is
// too small for them, so that Stage moves blocks under readers all the time.
TEST(HostTierTest, ThreadsNeverSeeWrongBytesAndLeakNothing) {
  constexpr int kThreads = 4;
  constexpr int kSteps = 4000;
  constexpr uint64_t kIds = 600;
  const auto size_of = [](uint64_t n) {
    return std::array<uint64_t, 4>{4096, 700, 20000, 70000}[n % 4];
  };
  const auto tier = MakeTier(2 * kMiB);
  std::atomic<int> wrong{0};
  std::atomic<int> reads{0};
  const auto run = [&](int thread) {
    std::mt19937_64 random(thread);
    std::vector<std::pair<uint64_t, std::unique_ptr<BlockPin>>> held;
    for (int step = 0; step < kSteps; ++step) {
      const uint64_t n = random() % kIds;
      absl::Status status = StoreNo(*tier, n, size_of(n));
      for (int i = 0; i < 40 && absl::IsResourceExhausted(status); ++i) {
        tier->Erase(IdNo(random() % kIds));
        status = StoreNo(*tier, n, size_of(n));
      }
      const uint64_t other = random() % kIds;
      auto pin = tier->Pin(IdNo(other), IdentityNo(other));
      if (pin.ok()) {
        wrong += !testing::CheckPinNo(**pin, other, size_of(other)).ok();
        ++reads;
        // Once more later: the bytes must not change under a pin.
        held.emplace_back(other, *std::move(pin));
        const auto& [first, first_pin] = held.front();
        wrong += !testing::CheckPinNo(*first_pin, first, size_of(first)).ok();
        if (held.size() > 3) held.erase(held.begin());
      } else {
        wrong += !absl::IsNotFound(pin.status());
      }
    }
  };

  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(wrong, 0);
  EXPECT_GT(reads, kSteps / 10);
  EXPECT_GT(tier->moved_bytes(), 0u);
  for (uint64_t n = 0; n < kIds; ++n) tier->Erase(IdNo(n));
  EXPECT_EQ(tier->usage().used_bytes, 0u);
  EXPECT_EQ(tier->usage().pinned_bytes, 0u);
  EXPECT_EQ(tier->usage().free_bytes, 2 * kMiB);
  EXPECT_TRUE(tier->Stage(tier->block_bytes_max()).ok());
}

}  // namespace
}  // namespace banyan::tiers
