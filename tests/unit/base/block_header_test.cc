// The block header: what is written is read back, and nothing else passes.
//
// Method: round trips; then each single bit of a header is flipped, random
// bytes are changed, and the length is cut: all must be refused.
#include "base/block_header.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/error.h"
#include "tests/testing/self_describing.h"

namespace banyan {
namespace {

using testing::HeaderNo;
using testing::IdentityNo;
using testing::PayloadNo;

std::vector<std::byte> SampleBytes() {
  BlockHeader header = HeaderNo(1, PayloadNo(1, 1000), 300);
  header.codec = 3;
  header.generation = 77;
  return SerializeBlockHeader(header);
}

void ExpectDamaged(absl::Span<const std::byte> bytes) {
  const auto header = ParseBlockHeader(bytes);
  ASSERT_FALSE(header.ok());
  EXPECT_EQ(header.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorReason(header.status()), "HEADER");
}

TEST(BlockHeaderTest, RoundTripKeepsAllFields) {
  for (const uint64_t piece_bytes : {1, 7, 300, 999, 1000}) {
    BlockHeader header = HeaderNo(5, PayloadNo(5, 1000), piece_bytes);
    header.codec = 9;
    header.generation = UINT64_MAX;
    const auto bytes = SerializeBlockHeader(header);
    EXPECT_EQ(bytes.size(), BlockHeaderSize(header.piece_count()));
    const auto parsed = ParseBlockHeaderOf(bytes, IdentityNo(5));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, header);
  }
}

TEST(BlockHeaderTest, EachFlippedBitIsFound) {
  std::vector<std::byte> bytes = SampleBytes();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1 << bit % 8);
    bytes[bit / 8] ^= mask;
    ExpectDamaged(bytes);
    bytes[bit / 8] ^= mask;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "bit " << bit;
  }
  EXPECT_TRUE(ParseBlockHeader(bytes).ok());
}

TEST(BlockHeaderTest, RandomDamageIsFound) {
  std::mt19937_64 rng(3);
  const std::vector<std::byte> sample = SampleBytes();
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> bytes = sample;
    for (uint64_t n = 1 + rng() % 6; n > 0; --n) {
      bytes[rng() % bytes.size()] = static_cast<std::byte>(rng());
    }
    if (bytes != sample) ExpectDamaged(bytes);
  }
}

TEST(BlockHeaderTest, WrongLengthIsFound) {
  std::vector<std::byte> bytes = SampleBytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    ExpectDamaged(absl::MakeConstSpan(bytes).first(size));
  }
  bytes.push_back(std::byte{0});
  ExpectDamaged(bytes);
}

TEST(BlockHeaderTest, HeaderOfAnotherBlockIsIdentityError) {
  const std::vector<std::byte> bytes = SampleBytes();
  BlockIdentity other_space = IdentityNo(1);
  other_space.namespace_id[15] ^= 1;
  BlockIdentity other_salt = IdentityNo(1);
  other_salt.salt_digest = SaltDigest("x");
  for (const BlockIdentity& wrong : {IdentityNo(2), other_space, other_salt}) {
    EXPECT_EQ(ErrorReason(ParseBlockHeaderOf(bytes, wrong).status()),
              "IDENTITY");
  }
}

TEST(BlockHeaderTest, PieceCountCoversThePayload) {
  EXPECT_EQ(PieceCount(0, 1), 0u);
  EXPECT_EQ(PieceCount(1, 0), 0u);
  EXPECT_EQ(PieceCount(1, 2), 0u);
  EXPECT_EQ(PieceCount(1, 1), 1u);
  EXPECT_EQ(PieceCount(10, 3), 4u);
  EXPECT_EQ(PieceCount(kPiecesMax, 1), kPiecesMax);
  EXPECT_EQ(PieceCount(kPiecesMax + 1, 1), 0u);
  EXPECT_EQ(PieceCount(uint64_t{1} << 40, uint64_t{1} << 40), 1u);
  EXPECT_EQ(PieceCount((uint64_t{1} << 40) + 1, uint64_t{1} << 40), 0u);
}

TEST(BlockHeaderTest, ChecksumDependsOnBlockAndPiece) {
  const std::vector<std::byte> bytes = PayloadNo(1, 64);
  const uint64_t seed = IdentityNo(1).ChecksumSeed();
  EXPECT_EQ(PieceChecksum(seed, 0, bytes), PieceChecksum(seed, 0, bytes));
  EXPECT_FALSE(PieceChecksum(seed, 0, bytes) == PieceChecksum(seed, 1, bytes));
  EXPECT_FALSE(PieceChecksum(seed, 0, bytes) ==
               PieceChecksum(IdentityNo(2).ChecksumSeed(), 0, bytes));
}

}  // namespace
}  // namespace banyan
