// Goal: whatever the parts in which the bytes of a block come, they land where they
// belong, and each piece is told once, and is intact only if all its bytes are.
#include "client/transport/arriving_pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "base/block_header.h"
#include "tests/testing/random_bytes.h"

namespace banyan::transport {
namespace {

constexpr uint64_t kSeed = 77;
constexpr uint64_t kPayloadBytes = 10007;
constexpr uint64_t kPieceBytes = 3000;
constexpr uint32_t kPieces = 4;

class ArrivingPiecesTest : public ::testing::Test {
 protected:
  Checksum128 ChecksumOf(uint32_t piece) const {
    const uint64_t begin = piece * kPieceBytes;
    const uint64_t size = std::min(kPieceBytes, kPayloadBytes - begin);
    return PieceChecksum(kSeed, piece,
                         absl::MakeConstSpan(sent_).subspan(begin, size));
  }
  ArrivingPieces Expect(uint32_t first, uint64_t end,
                        Verification verification = Verification::kOn) {
    return {
        absl::MakeSpan(buffer_), kPieceBytes, first, end, kSeed, verification};
  }
  // Pieces that were told, in order, and whether they are intact.
  std::vector<std::pair<uint32_t, bool>> Send(ArrivingPieces& pieces,
                                              size_t part_max) {
    std::vector<std::pair<uint32_t, bool>> told;
    while (pieces.left_bytes() > 0) {
      auto part =
          absl::MakeConstSpan(sent_)
              .subspan(pieces.at())
              .first(std::min(random_() % part_max, pieces.left_bytes()));
      while (pieces.Take(part)) {
        told.emplace_back(pieces.piece(),
                          pieces.IsIntact(checksums_[pieces.piece()]));
      }
      EXPECT_TRUE(part.empty());
    }
    return told;
  }

  std::mt19937_64 random_{5};
  std::vector<std::byte> sent_ = testing::RandomBytes(kPayloadBytes, 1);
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kPayloadBytes);
  const std::vector<Checksum128> checksums_ = {ChecksumOf(0), ChecksumOf(1),
                                               ChecksumOf(2), ChecksumOf(3)};
};

TEST_F(ArrivingPiecesTest, AllOfABlockInPartsOfAnySize) {
  for (const size_t part_max : {2, 100, 3500, 20000}) {
    std::fill(buffer_.begin(), buffer_.end(), std::byte{0});
    ArrivingPieces pieces = Expect(0, kPayloadBytes);

    const auto told = Send(pieces, part_max);

    ASSERT_EQ(told.size(), kPieces);
    for (uint32_t i = 0; i < kPieces; ++i) {
      EXPECT_EQ(told[i], std::make_pair(i, true)) << part_max;
    }
    EXPECT_EQ(buffer_, sent_);
  }
}

TEST_F(ArrivingPiecesTest, SomePieces) {
  ArrivingPieces pieces = Expect(1, 3 * kPieceBytes);
  EXPECT_EQ(pieces.at(), kPieceBytes);
  EXPECT_EQ(pieces.left_bytes(), 2 * kPieceBytes);

  const auto told = Send(pieces, 700);

  EXPECT_EQ(told,
            (std::vector<std::pair<uint32_t, bool>>{{1, true}, {2, true}}));
  EXPECT_EQ(buffer_[kPieceBytes - 1], std::byte{0});
  EXPECT_EQ(buffer_[3 * kPieceBytes], std::byte{0});
}

TEST_F(ArrivingPiecesTest, AWrongByteSpoilsItsPieceOnly) {
  sent_[2 * kPieceBytes + 5] ^= std::byte{1};
  ArrivingPieces pieces = Expect(0, kPayloadBytes);

  const auto told = Send(pieces, 999);

  ASSERT_EQ(told.size(), kPieces);
  for (uint32_t i = 0; i < kPieces; ++i) EXPECT_EQ(told[i].second, i != 2);
}

TEST_F(ArrivingPiecesTest, WithoutAChecksumNothingIsIntact) {
  ArrivingPieces pieces = Expect(3, kPayloadBytes);
  absl::Span<const std::byte> rest =
      absl::MakeConstSpan(sent_).subspan(3 * kPieceBytes);

  ASSERT_TRUE(pieces.Take(rest));

  EXPECT_FALSE(pieces.IsIntact(std::nullopt));
  EXPECT_TRUE(pieces.IsIntact(checksums_[3]));
}

TEST_F(ArrivingPiecesTest, WithoutVerificationAllIs) {
  sent_[4] ^= std::byte{1};
  ArrivingPieces pieces = Expect(0, kPayloadBytes, Verification::kOffForBench);

  for (const auto& [piece, is_intact] : Send(pieces, 5000)) {
    EXPECT_TRUE(is_intact) << piece;
  }

  EXPECT_EQ(buffer_, sent_);
}

}  // namespace
}  // namespace banyan::transport
