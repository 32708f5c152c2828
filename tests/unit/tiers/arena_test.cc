// Arena: readers elsewhere see the bytes and cannot change them or the size.
//
// Method: the descriptor is used as another process would use it.
#include "tiers/host/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/units.h"

namespace banyan::tiers {
namespace {

std::unique_ptr<Arena> MakeArena(uint64_t bytes) {
  auto arena = Arena::Create({.bytes = bytes, .huge_pages = false});
  EXPECT_TRUE(arena.ok()) << arena.status();
  return *std::move(arena);
}

TEST(ArenaTest, IsZeroAndWritableFromFirstToLastByte) {
  const auto arena = MakeArena(3 * kMiB + 5);

  const auto bytes = arena->bytes();

  ASSERT_EQ(bytes.size(), 3 * kMiB + 5);
  EXPECT_EQ(bytes.front(), std::byte{0});
  std::memset(bytes.data(), 0x5a, bytes.size());
  EXPECT_EQ(bytes.back(), std::byte{0x5a});
}

TEST(ArenaTest, ReadersSeeWhatIsWrittenLater) {
  const auto arena = MakeArena(kMiB);
  const void* const seen =
      mmap(nullptr, arena->file_bytes(), PROT_READ, MAP_SHARED, arena->fd(), 0);
  ASSERT_NE(seen, MAP_FAILED);

  arena->bytes()[4711] = std::byte{42};

  EXPECT_EQ(static_cast<const std::byte*>(seen)[4711], std::byte{42});
  munmap(const_cast<void*>(seen), arena->file_bytes());
}

TEST(ArenaTest, SecondWritableMappingIsRefused) {
  const auto arena = MakeArena(kMiB);

  EXPECT_EQ(
      mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd(), 0),
      MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
}

TEST(ArenaTest, ReadOnlyMappingCannotBeMadeWritable) {
  const auto arena = MakeArena(kMiB);
  void* const seen = mmap(nullptr, kMiB, PROT_READ, MAP_SHARED, arena->fd(), 0);
  ASSERT_NE(seen, MAP_FAILED);

  EXPECT_EQ(mprotect(seen, kMiB, PROT_READ | PROT_WRITE), -1);
  munmap(seen, kMiB);
}

TEST(ArenaTest, WriteShrinkGrowAndNewSealsAreRefused) {
  const auto arena = MakeArena(kMiB);

  EXPECT_EQ(pwrite(arena->fd(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(arena->fd(), kMiB / 2), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(arena->fd(), 2 * kMiB), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(fcntl(arena->fd(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

TEST(ArenaTest, PrefaultTakesAllMemoryAtOnce) {
  constexpr uint64_t kBytes = 160 * kMiB;  // Enough for two threads.
  const auto arena = MakeArena(kBytes);

  struct stat status;
  ASSERT_EQ(fstat(arena->fd(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_blocks) * 512, kBytes);
}

TEST(ArenaTest, PrefaultedLaterMemoryIsTakenInPartsAndKeepsWhatIsInIt) {
  constexpr uint64_t kBytes = 8 * kMiB;
  const auto arena = Arena::Create(
      {.bytes = kBytes, .is_prefaulted_later = true, .huge_pages = false});
  ASSERT_TRUE(arena.ok()) << arena.status();
  struct stat status;
  ASSERT_EQ(fstat((*arena)->fd(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
  (*arena)->bytes()[5 * kMiB] = std::byte{42};

  EXPECT_TRUE((*arena)->Prefault(0, 5 * kMiB).ok());
  EXPECT_TRUE((*arena)->Prefault(5 * kMiB, 5 * kMiB).ok());
  EXPECT_TRUE((*arena)->Prefault(10 * kMiB, 5 * kMiB).ok());

  ASSERT_EQ(fstat((*arena)->fd(), &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_blocks) * 512, kBytes);
  EXPECT_EQ((*arena)->bytes()[5 * kMiB], std::byte{42});
}

TEST(ArenaTest, MemoryThatIsNotThereIsRefusedAlsoIfItIsTakenLater) {
  const auto arena = Arena::Create({.bytes = uint64_t{1} << 44,
                                    .is_prefaulted_later = true,
                                    .huge_pages = false});

  EXPECT_TRUE(absl::IsResourceExhausted(arena.status())) << arena.status();
}

TEST(ArenaTest, WithoutPrefaultNoMemoryIsTaken) {
  const auto arena =
      Arena::Create({.bytes = kGiB, .prefault = false, .huge_pages = false});

  ASSERT_TRUE(arena.ok()) << arena.status();
  struct stat status;
  ASSERT_EQ(fstat((*arena)->fd(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
}

TEST(ArenaTest, HugePagesFallBackToNormalOnes) {
  const auto arena = Arena::Create({.bytes = 5 * kMiB, .huge_pages = true});

  ASSERT_TRUE(arena.ok()) << arena.status();
  EXPECT_GE((*arena)->page_bytes(), 4 * kKiB);
  EXPECT_EQ((*arena)->file_bytes() % (*arena)->page_bytes(), 0u);
  (*arena)->bytes().back() = std::byte{1};
}

TEST(ArenaTest, MoreMemoryThanThereIsIsExhausted) {
  const auto arena = Arena::Create({.bytes = 64 * kTiB});

  EXPECT_TRUE(absl::IsResourceExhausted(arena.status())) << arena.status();
}

TEST(ArenaTest, SizesWithoutMeaningAreInvalid) {
  EXPECT_TRUE(absl::IsInvalidArgument(Arena::Create({.bytes = 0}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Arena::Create({.bytes = 1000 * kTiB}).status()));
}

}  // namespace
}  // namespace banyan::tiers
