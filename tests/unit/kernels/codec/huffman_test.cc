// Codes of bytes: as short as they can be, whole, and back to the same bytes;
// strings that no encoder writes are found.
#include "kernels/codec/huffman.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace banyan::codec {
namespace {

// Kinds of bytes: the first few values only, each half as often as the last.
std::vector<uint8_t> Skewed(size_t count, int kinds, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::geometric_distribution<int> geometric(0.5);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) {
    b = static_cast<uint8_t>(37 * (geometric(rng) % kinds));
  }
  return bytes;
}

CodeLengths LengthsOf(const std::vector<uint8_t>& bytes) {
  ByteCounts counts{};
  CountBytes(bytes, counts);
  return HuffmanLengths(counts);
}

std::vector<uint8_t> Encode(const std::vector<uint8_t>& bytes,
                            StreamBytes& sizes) {
  const HuffmanEncoder encoder(LengthsOf(bytes));
  sizes = encoder.EncodedBytes(bytes);
  const uint64_t sum = std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  std::vector<uint8_t> encoded(sum + HuffmanEncoder::kSlackBytes);
  EXPECT_EQ(encoder.Encode(bytes, encoded.data()), encoded.data() + sum);
  encoded.resize(sum);
  return encoded;
}

TEST(HuffmanTest, EveryCountOfBytesComesBack) {
  for (const int kinds : {1, 2, 5, 40}) {
    for (size_t count = 1; count < 300; ++count) {
      const auto bytes = Skewed(count, kinds, count);
      StreamBytes sizes;
      const auto encoded = Encode(bytes, sizes);
      HuffmanTable table;
      ASSERT_TRUE(MakeHuffmanTable(LengthsOf(bytes), table));
      std::vector<uint8_t> decoded(count, 0xA5);
      ASSERT_TRUE(
          HuffmanDecode(table, sizes, encoded, absl::MakeSpan(decoded)));
      ASSERT_EQ(decoded, bytes) << kinds << " kinds, " << count;
    }
  }
}

// Counts that double want codes as long as there are kinds.
TEST(HuffmanTest, CodesAreNoLongerThanTheyCanBe) {
  ByteCounts counts{};
  for (int i = 0; i < 30; ++i) counts[3 * i] = 1u << i;
  const CodeLengths lengths = HuffmanLengths(counts);
  HuffmanTable table;
  EXPECT_TRUE(MakeHuffmanTable(lengths, table));
  for (int i = 0; i < 256; ++i) {
    EXPECT_LE(lengths[i], kHuffmanBitsMax);
    EXPECT_EQ(lengths[i] > 0, counts[i] > 0) << i;
  }
}

TEST(HuffmanTest, SizeIsNearTheEntropy) {
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal(128, 6);
  std::vector<uint8_t> bytes(100000);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(normal(rng));
  ByteCounts counts{};
  CountBytes(bytes, counts);
  double bits = 0;
  for (const uint32_t count : counts) {
    if (count > 0) bits -= count * std::log2(1.0 * count / bytes.size());
  }
  StreamBytes sizes;
  EXPECT_LE(8.0 * Encode(bytes, sizes).size(), 1.02 * bits);
}

TEST(HuffmanTest, LengthsThatAreNoWholeCodeAreRefused) {
  HuffmanTable table;
  CodeLengths lengths{};
  EXPECT_FALSE(MakeHuffmanTable(lengths, table));
  lengths[1] = 1;
  EXPECT_FALSE(MakeHuffmanTable(lengths, table));
  lengths[2] = 1;
  EXPECT_TRUE(MakeHuffmanTable(lengths, table));
  lengths[3] = 11;
  EXPECT_FALSE(MakeHuffmanTable(lengths, table));
  lengths[2] = lengths[3] = 2;
  EXPECT_TRUE(MakeHuffmanTable(lengths, table));
  lengths[9] = 12;
  EXPECT_FALSE(MakeHuffmanTable(lengths, table));
}

// A string that is longer or shorter by a byte, or does not end in zeros.
TEST(HuffmanTest, StringsThatNoEncoderWritesAreRefused) {
  const auto bytes = Skewed(4000, 40, 2);
  StreamBytes sizes;
  const auto encoded = Encode(bytes, sizes);
  HuffmanTable table;
  ASSERT_TRUE(MakeHuffmanTable(LengthsOf(bytes), table));
  std::vector<uint8_t> decoded(bytes.size());
  const auto decodes = [&](const StreamBytes& s, std::vector<uint8_t> from) {
    from.resize(std::accumulate(s.begin(), s.end(), uint64_t{0}));
    return HuffmanDecode(table, s, from, absl::MakeSpan(decoded));
  };
  ASSERT_TRUE(decodes(sizes, encoded));
  for (size_t stream = 0; stream < kHuffmanStreams; ++stream) {
    for (const uint64_t by : {uint64_t{1}, ~uint64_t{0}}) {
      StreamBytes other = sizes;
      other[stream] += by;
      EXPECT_FALSE(decodes(other, encoded)) << stream;
    }
  }
  EXPECT_FALSE(decodes({}, {}));
  auto padded = encoded;
  int found = 0;
  for (uint64_t end = 0, stream = 0; stream < kHuffmanStreams; ++stream) {
    end += sizes[stream];
    padded[end - 1] ^= 0x80;
    found += !decodes(sizes, padded);
    padded[end - 1] ^= 0x80;
  }
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace banyan::codec
