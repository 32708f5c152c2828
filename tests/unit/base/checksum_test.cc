// Checksums: the published XXH3 values, dependence on seed and bytes, and the
// stored form.
#include "base/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/bytes.h"

namespace banyan {
namespace {

TEST(ChecksumTest, EmptyInputHasThePublishedValues) {
  EXPECT_EQ(Xxh3_64({}, 0), 0x2d06800538d394c2u);
  EXPECT_EQ(ToHex(Xxh3_128({}, 0)), "99aa06d3014798d86001c324468d497f");
}

TEST(ChecksumTest, SeedChangesTheValue) {
  EXPECT_FALSE(Xxh3_128(AsBytes("abc"), 0) == Xxh3_128(AsBytes("abc"), 1));
  EXPECT_NE(Xxh3_64(AsBytes("abc"), 0), Xxh3_64(AsBytes("abc"), 1));
}

TEST(ChecksumTest, EachFlippedBitChangesTheValue) {
  std::vector<std::byte> bytes(700, std::byte{0x5a});
  const Checksum128 sum = Xxh3_128(bytes, 9);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1 << bit % 8);
    bytes[bit / 8] ^= mask;
    ASSERT_FALSE(Xxh3_128(bytes, 9) == sum) << bit;
    bytes[bit / 8] ^= mask;
  }
}

TEST(ChecksumTest, PartsHaveTheSumOfTheWhole) {
  std::vector<std::byte> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * i);
  }
  Xxh3Sum sum(77);
  EXPECT_EQ(sum.Sum(), Xxh3_128({}, 77));
  size_t done = 0;
  for (size_t size = 1; done + size <= bytes.size(); size *= 3) {
    sum.Add(absl::MakeConstSpan(bytes).subspan(done, size));
    done += size;
    EXPECT_EQ(sum.Sum(), Xxh3_128(absl::MakeConstSpan(bytes).first(done), 77));
  }
}

TEST(ChecksumTest, StoredFormIsLittleEndianLowFirst) {
  const Checksum128 sum{.low = 0x0102030405060708, .high = 0x1112131415161718};
  std::array<std::byte, kChecksumBytes> stored;
  StoreChecksum(sum, stored.data());
  EXPECT_EQ(stored[0], std::byte{0x08});
  EXPECT_EQ(stored[7], std::byte{0x01});
  EXPECT_EQ(stored[8], std::byte{0x18});
  EXPECT_EQ(LoadChecksum(stored.data()), sum);
  EXPECT_EQ(ToHex(sum), "11121314151617180102030405060708");
}

}  // namespace
}  // namespace banyan
