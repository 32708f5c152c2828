// Lent memory is aligned, bounded, and kept for the next borrower.
#include "tiers/io/buffer_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tiers/io/file.h"

namespace banyan::tiers {
namespace {

TEST(BufferPoolTest, BuffersAreAlignedAndLargeEnough) {
  BufferPool pool(64 * kMiB);
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4096}, uint64_t{4097},
                               100 * kKiB, 2 * kMiB + 4096}) {
    const auto buffer = pool.Take(bytes);

    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_GE(buffer->bytes().size(), bytes);
    EXPECT_LE(buffer->bytes().size(), bytes + bytes / 16 + kIoAlignment);
    EXPECT_EQ(buffer->bytes().size() % kIoAlignment, 0u);
    EXPECT_EQ(
        reinterpret_cast<uintptr_t>(buffer->bytes().data()) % kIoAlignment, 0u);
  }
  EXPECT_EQ(pool.lent_bytes(), 0u);
}

TEST(BufferPoolTest, BudgetIsHeldAndComesBack) {
  BufferPool pool(3 * kIoAlignment);
  auto first = pool.Take(2 * kIoAlignment);
  ASSERT_TRUE(first.ok());

  const auto second = pool.Take(2 * kIoAlignment);

  EXPECT_EQ(ErrorReason(second.status()), "BUFFERS_LENT");
  first = PooledBuffer();
  EXPECT_TRUE(pool.Take(2 * kIoAlignment).ok());
}

TEST(BufferPoolTest, LargerThanTheBudgetIsLentAlone) {
  BufferPool pool(kIoAlignment);

  const auto large = pool.Take(kMiB);

  EXPECT_TRUE(large.ok());
  EXPECT_FALSE(pool.Take(1).ok());
}

TEST(BufferPoolTest, ReturnedBufferIsLentAgain) {
  BufferPool pool(kMiB);
  const std::byte* const first = pool.Take(64 * kKiB)->bytes().data();

  EXPECT_EQ(pool.Take(64 * kKiB)->bytes().data(), first);
}

TEST(BufferPoolTest, MovedBufferGoesBackOnce) {
  BufferPool pool(kMiB);
  auto buffer = pool.Take(kIoAlignment);
  ASSERT_TRUE(buffer.ok());

  PooledBuffer moved = *std::move(buffer);
  PooledBuffer again = std::move(moved);

  EXPECT_EQ(again.bytes().size(), kIoAlignment);
  EXPECT_TRUE(moved.bytes().empty());  // NOLINT: a moved one has no bytes.
  EXPECT_EQ(pool.lent_bytes(), kIoAlignment);
}

TEST(BufferPoolTest, BuffersOfTheRegionLieInOneChunkEachAndApart) {
  BufferPool pool(4 * kIoChunkBytes);
  ASSERT_EQ(pool.region().size(), 4 * kIoChunkBytes);
  std::mt19937_64 random(1);
  std::vector<PooledBuffer> lent;
  uint64_t in_region = 0;
  for (int step = 0; step < 5000; ++step) {
    if (!lent.empty() && random() % 2 == 0) {
      std::swap(lent[random() % lent.size()], lent.back());
      lent.pop_back();
      continue;
    }
    auto buffer = pool.Take(1 + random() % (uint64_t{1} << random() % 24));
    if (!buffer.ok()) continue;
    const auto bytes = buffer->bytes();
    for (const PooledBuffer& other : lent) {
      const bool is_apart =
          bytes.data() + bytes.size() <= other.bytes().data() ||
          other.bytes().data() + other.bytes().size() <= bytes.data();
      ASSERT_TRUE(is_apart) << "step " << step;
    }
    const auto at = bytes.data() - pool.region().data();
    if (at >= 0 && at < static_cast<int64_t>(pool.region().size())) {
      ++in_region;
      ASSERT_LE(at % kIoChunkBytes + bytes.size(), kIoChunkBytes);
    }
    lent.push_back(*std::move(buffer));
  }
  EXPECT_GT(in_region, 1000u);
}

TEST(BufferPoolTest, LargerThanAChunkIsLentFromTheHeap) {
  BufferPool pool(4 * kIoChunkBytes);

  const auto buffer = pool.Take(kIoChunkBytes + 1);

  ASSERT_TRUE(buffer.ok());
  const auto at = buffer->bytes().data() - pool.region().data();
  EXPECT_TRUE(at < 0 || at >= static_cast<int64_t>(pool.region().size()));
}

}  // namespace
}  // namespace banyan::tiers
