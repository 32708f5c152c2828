// Goal: CopyXxh3 copies, and sums as the library does, for every length and
// alignment that takes another way inside.
#include "base/copy_checksum.h"

#include <gtest/gtest.h>

#include <random>

#include "base/block_header.h"
#include "tests/testing/random_bytes.h"

namespace banyan {
namespace {

// Copies `size` bytes from one misaligned place to another, and looks at what
// is around the destination, too.
void ExpectCopied(const std::vector<std::byte>& source, size_t size,
                  size_t from_at, size_t to_at, uint64_t seed) {
  constexpr std::byte kUntouched{0xAB};
  std::vector<std::byte> memory(size + 256, kUntouched);
  const auto from = absl::MakeConstSpan(source).subspan(from_at, size);
  const size_t slack = 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
  std::byte* const to = memory.data() + slack + to_at;

  std::vector<std::byte> other(size);
  ASSERT_EQ(CopyXxh3InSteps(from, other.data(), seed), Xxh3_128(from, seed));
  ASSERT_TRUE(std::equal(from.begin(), from.end(), other.begin()));
  std::fill(other.begin(), other.end(), kUntouched);
  ASSERT_EQ(CopyXxh3Cached(from, other.data(), seed), Xxh3_128(from, seed));
  ASSERT_TRUE(std::equal(from.begin(), from.end(), other.begin()));

  const Checksum128 sum = CopyXxh3(from, to, seed);

  ASSERT_EQ(sum, Xxh3_128(from, seed))
      << size << " " << from_at << " " << to_at;
  ASSERT_TRUE(std::equal(from.begin(), from.end(), to)) << size;
  for (std::byte* at = memory.data(); at < to; ++at) ASSERT_EQ(*at, kUntouched);
  for (std::byte* at = to + size; at < memory.data() + memory.size(); ++at) {
    ASSERT_EQ(*at, kUntouched);
  }
}

TEST(CopyChecksumTest, EveryShortLength) {
  const auto source = testing::RandomBytes(5000, 1);
  for (size_t size = 0; size <= 4200; ++size) {
    ExpectCopied(source, size, size % 7, size % 5, size * 77);
  }
}

TEST(CopyChecksumTest, LongLengthsAtEveryAlignment) {
  const auto source = testing::RandomBytes((2 << 20) + 100, 2);
  for (const size_t size : {size_t{128} << 10, (size_t{128} << 10) + 1,
                            (size_t{1} << 20) - 1, size_t{2} << 20}) {
    for (const size_t to_at : {0, 1, 4, 8, 16, 28, 32, 36, 48, 60, 63}) {
      ExpectCopied(source, size, to_at % 3 * 5, to_at, ~uint64_t{0} - to_at);
    }
  }
}

TEST(CopyChecksumTest, PieceIsThatOfPieceChecksum) {
  const auto source = testing::RandomBytes(70000, 3);
  std::vector<std::byte> copy(source.size());

  const Checksum128 sum = CopyPiece(42, 7, source, copy.data());

  EXPECT_EQ(sum, PieceChecksum(42, 7, source));
  EXPECT_EQ(copy, source);
  std::vector<std::byte> cached(source.size());
  EXPECT_EQ(CopyPieceCached(42, 7, source, cached.data()), sum);
  EXPECT_EQ(cached, source);
}

// Copies in parts of `part` bytes to a place with that alignment.
void ExpectCopiedInParts(const std::vector<std::byte>& source, size_t size,
                         size_t part, size_t to_at) {
  constexpr std::byte kUntouched{0xAB};
  std::vector<std::byte> memory(size + 256, kUntouched);
  const size_t slack = 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
  std::byte* const to = memory.data() + slack + to_at;
  const auto from = absl::MakeConstSpan(source).first(size);

  PartedCopy copy(absl::MakeSpan(to, size), size);
  for (size_t at = 0; at < size; at += part) {
    ASSERT_EQ(copy.left_bytes(), size - at);
    copy.Add(from.subspan(at, part));
  }

  ASSERT_EQ(copy.left_bytes(), 0u);
  ASSERT_EQ(copy.Sum(), Xxh3_128(from, size)) << size << " " << part;
  ASSERT_TRUE(std::equal(from.begin(), from.end(), to)) << size;
  for (std::byte* at = memory.data(); at < to; ++at) ASSERT_EQ(*at, kUntouched);
  for (std::byte* at = to + size; at < memory.data() + memory.size(); ++at) {
    ASSERT_EQ(*at, kUntouched);
  }
}

TEST(CopyChecksumTest, PartsOfAnySizeMakeTheWhole) {
  const auto source = testing::RandomBytes(100000, 5);
  std::mt19937_64 random(6);
  for (int i = 0; i < 500; ++i) {
    const auto from = absl::MakeConstSpan(source).first(
        random() % (i % 2 == 0 ? 5000 : source.size()));
    std::vector<std::byte> to(from.size());
    PartedCopy copy(absl::MakeSpan(to), 9);
    while (copy.left_bytes() > 0) {
      const size_t part = random() % (i % 3 == 0 ? 200 : 9000);
      copy.Add(from.subspan(to.size() - copy.left_bytes())
                   .first(std::min(part, copy.left_bytes())));
    }
    ASSERT_EQ(copy.Sum(), Xxh3_128(from, 9)) << i;
    ASSERT_TRUE(std::equal(to.begin(), to.end(), from.begin())) << i;
  }
}

TEST(CopyChecksumTest, PartsMakeTheWhole) {
  const auto source = testing::RandomBytes((size_t{1} << 20) + 100, 4);
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{240}, size_t{241}, size_t{1023},
        size_t{1024}, size_t{1025}, size_t{2048}, size_t{4097}, size_t{70001},
        (size_t{256} << 10) + 1, (size_t{256} << 10) + 64,
        (size_t{1} << 20) + 37}) {
    for (const size_t part : {size_t{7}, size_t{1000}, size_t{1024},
                              size_t{7168}, size_t{8183}, size_t{256} << 10}) {
      for (const size_t to_at : {0, 1, 4, 32, 60}) {
        ExpectCopiedInParts(source, size, part, to_at);
      }
    }
  }
}

}  // namespace
}  // namespace banyan
