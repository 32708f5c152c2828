// One write: chunks in order, pieces summed as they fill, all or nothing at the
// end; each error with its message.
#include "cache_server/engine/open_write.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan::engine {
namespace {

using testing::HeaderNo;
using testing::IdentityNo;
using testing::PayloadNo;

constexpr uint64_t kBytes = 1000;
constexpr uint64_t kPiece = 300;

class OpenWriteTest : public ::testing::Test {
 protected:
  OpenWriteTest() {
    std::vector<OpenWrite::Room> rooms;
    for (const uint32_t n : {1, 4}) {  // Ordinals are block numbers here.
      rooms.push_back({.ordinal = n,
                       .identity = IdentityNo(n),
                       .payload_bytes = kBytes,
                       .piece_bytes = kPiece,
                       .staged = *tier_->Stage(kBytes)});
    }
    write_ = std::make_unique<OpenWrite>(std::move(rooms));
  }

  absl::Status Fill(uint32_t n, uint64_t chunk_bytes) {
    const std::vector<std::byte> payload = PayloadNo(n, kBytes);
    const auto bytes = absl::MakeConstSpan(payload);
    for (uint64_t at = 0; at < kBytes; at += chunk_bytes) {
      const absl::Status status =
          write_->Write(n, at, bytes.subspan(at, chunk_bytes));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  static OpenWrite::Claim ClaimNo(uint32_t n) {
    return {.ordinal = n,
            .checksums = HeaderNo(n, PayloadNo(n, kBytes), kPiece).pieces};
  }

  static void ExpectError(const absl::Status& status, absl::string_view reason,
                          absl::string_view message) {
    EXPECT_EQ(ErrorReason(status), reason) << status;
    EXPECT_EQ(status.message(), message);
  }

  std::unique_ptr<tiers::HostTier> tier_ = *tiers::HostTier::Open(
      {.capacity_bytes = 4 * kMiB, .prefault = false, .huge_pages = false});
  std::unique_ptr<OpenWrite> write_;
};

TEST_F(OpenWriteTest, HowFarABlockIsOffIsKeptInItsHeader) {
  ASSERT_TRUE(Fill(1, kBytes).ok());
  ASSERT_TRUE(Fill(4, kBytes).ok());
  OpenWrite::Claim lossy = ClaimNo(4);
  lossy.error_class = 26;
  const auto written = write_->Finish({ClaimNo(1), lossy});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ((*written)[0].header.codec, 0);
  EXPECT_EQ((*written)[1].header.codec, 26 << 8);
}

TEST_F(OpenWriteTest, ChunksOfAnySizeMakeTheBlock) {
  ASSERT_TRUE(Fill(1, 7).ok());
  ASSERT_TRUE(Fill(4, 1000).ok());
  ASSERT_TRUE(write_->Write(4, kBytes, {}).ok()) << "an empty chunk is none";
  auto written = write_->Finish({ClaimNo(4), ClaimNo(1)});
  ASSERT_TRUE(written.ok()) << written.status();
  ASSERT_EQ(written->size(), 2u);
  for (WrittenBlock& block : *written) {
    const uint32_t n = block.ordinal;
    EXPECT_EQ(block.header, HeaderNo(n, PayloadNo(n, kBytes), kPiece));
    ASSERT_TRUE(tier_
                    ->Store(testing::IdNo(n), std::move(block.header),
                            std::move(block.staged))
                    .ok());
    EXPECT_TRUE(testing::ReadNo(*tier_, n, kBytes).ok());
  }
}

TEST_F(OpenWriteTest, WrongChunksAreRefusedAndChangeNothing) {
  const std::vector<std::byte> bytes(kBytes + 1);
  ExpectError(write_->Write(2, 0, bytes), "ORDINAL",
              "chunks.ordinal: block 2 has no WRITE verdict. Send those only.");
  ExpectError(write_->Write(1, 1, {bytes.data(), 1}), "OFFSET",
              "offset: 1, expected 0.");
  ExpectError(write_->Write(1, 0, bytes), "LENGTH",
              "data: ends at 1001, block 1 has 1000 bytes.");
  EXPECT_TRUE(Fill(1, 100).ok());
  ExpectError(write_->Write(1, 0, {bytes.data(), 1}), "OFFSET",
              "offset: 0, expected 1000.");
  EXPECT_TRUE(write_->Finish({ClaimNo(1)}).ok());
}

TEST_F(OpenWriteTest, WrongChecksumDropsAll) {
  ASSERT_TRUE(Fill(1, 1000).ok());
  ASSERT_TRUE(Fill(4, 1000).ok());
  OpenWrite::Claim wrong = ClaimNo(4);
  wrong.checksums.back().low ^= 1;
  ExpectError(write_->Finish({ClaimNo(1), wrong}).status(), "CHECKSUM",
              "checksum mismatch on arrival; nothing stored. Send again; check "
              "the network path.");
  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
}

TEST_F(OpenWriteTest, MissingChecksumsDropAll) {
  ASSERT_TRUE(Fill(1, 1000).ok());
  OpenWrite::Claim fewer = ClaimNo(1);
  fewer.checksums.pop_back();
  EXPECT_EQ(ErrorReason(write_->Finish({fewer}).status()), "CHECKSUM");
}

TEST_F(OpenWriteTest, IncompleteBlockDropsAll) {
  ASSERT_TRUE(Fill(1, 1000).ok());
  ExpectError(write_->Finish({ClaimNo(1), ClaimNo(4)}).status(), "SIZE",
              "size: said 1000, received 0. Publish dropped.");
  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
}

TEST_F(OpenWriteTest, UnknownOrRepeatedClaimDropsAll) {
  ASSERT_TRUE(Fill(1, 1000).ok());
  ExpectError(write_->Finish({ClaimNo(1), ClaimNo(1)}).status(), "ORDINAL",
              "blocks.ordinal: 1 is not in this write, or twice. Publish "
              "dropped.");
  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
}

TEST_F(OpenWriteTest, EndedWriteTakesNothing) {
  write_->Drop();
  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
  EXPECT_EQ(ErrorReason(Fill(1, 1000)), "WRITE");
  EXPECT_EQ(ErrorReason(write_->Finish({}).status()), "WRITE");
}

// --------------------------------------------------------------- by layers ---

// Counts what it is told.
class CountingWatcher final : public BlockWatcher {
 public:
  void OnGrowth() override { ++count; }
  int count = 0;
};

class OpenWriteByLayersTest : public OpenWriteTest {
 protected:
  OpenWriteByLayersTest() {
    std::vector<OpenWrite::Room> rooms;
    for (const uint32_t n : {1, 4}) {
      rooms.push_back({.ordinal = n,
                       .identity = IdentityNo(n),
                       .payload_bytes = kBytes,
                       .piece_bytes = kPiece,
                       .staged = *tier_->Stage(kBytes)});
    }
    write_ = std::make_unique<OpenWrite>(std::move(rooms), WriteOrder::kLayers);
    growing_ = write_->Growing();
  }

  static uint64_t SizeOf(uint32_t piece) {
    return std::min(kPiece, kBytes - piece * kPiece);
  }

  absl::Status Send(uint32_t n, uint32_t piece) {
    const std::vector<std::byte> payload = PayloadNo(n, kBytes);
    return write_->Write(
        n, piece * kPiece,
        absl::MakeConstSpan(payload).subspan(piece * kPiece, SizeOf(piece)));
  }
  absl::Status SendAndVouch(uint32_t n, uint32_t piece) {
    const absl::Status status = Send(n, piece);
    if (!status.ok()) return status;
    return write_->Vouch(n, piece, ClaimNo(n).checksums[piece]);
  }

  std::vector<std::shared_ptr<GrowingBlock>> growing_;
};

TEST_F(OpenWriteByLayersTest, PiecesInAnyOrderMakeTheBlock) {
  for (const uint32_t piece : {3, 0, 2, 1}) {
    ASSERT_TRUE(SendAndVouch(1, piece).ok());
  }
  auto written = write_->Finish({ClaimNo(1)});
  ASSERT_TRUE(written.ok()) << written.status();
  ASSERT_EQ(written->size(), 1u);
  EXPECT_EQ((*written)[0].header, HeaderNo(1, PayloadNo(1, kBytes), kPiece));
  EXPECT_EQ(growing_[0]->state(), GrowingBlock::State::kGrowing)
      << "until it is stored";
  EXPECT_EQ(growing_[1]->state(), GrowingBlock::State::kWithdrawn)
      << "it was not claimed";
}

TEST_F(OpenWriteByLayersTest, APieceIsThereOnceItWasVouchedFor) {
  ASSERT_TRUE(Send(1, 2).ok());
  EXPECT_FALSE(growing_[0]->ChecksumOf(2).has_value());
  const Checksum128 sum = ClaimNo(1).checksums[2];
  ASSERT_TRUE(write_->Vouch(1, 2, sum).ok());
  EXPECT_EQ(growing_[0]->ChecksumOf(2), sum);
  const auto payload = PayloadNo(1, kBytes);
  EXPECT_EQ(growing_[0]->BytesOf(2),
            absl::MakeConstSpan(payload).subspan(2 * kPiece, kPiece));
  EXPECT_FALSE(growing_[0]->ChecksumOf(1).has_value());
  EXPECT_FALSE(growing_[1]->ChecksumOf(2).has_value());
}

TEST_F(OpenWriteByLayersTest, APieceMayComeInStretches) {
  const std::vector<std::byte> payload = PayloadNo(4, kBytes);
  const auto bytes = absl::MakeConstSpan(payload);
  for (uint64_t at = kPiece; at < 2 * kPiece; at += 100) {
    ASSERT_TRUE(write_->Write(4, at, bytes.subspan(at, 100)).ok());
  }
  EXPECT_TRUE(write_->Vouch(4, 1, ClaimNo(4).checksums[1]).ok());
}

TEST_F(OpenWriteByLayersTest, AWatcherIsToldOnce) {
  const auto watcher = std::make_shared<CountingWatcher>();
  EXPECT_TRUE(growing_[0]->Watch(1, watcher));
  const auto again = growing_[0]->Watch(1, watcher);
  ASSERT_TRUE(again.has_value());
  growing_[0]->Unwatch(*again);
  EXPECT_EQ(growing_[0]->watchers(), 1u);
  ASSERT_TRUE(SendAndVouch(1, 0).ok());
  EXPECT_EQ(watcher->count, 0);
  ASSERT_TRUE(SendAndVouch(1, 1).ok());
  EXPECT_EQ(watcher->count, 1);
  EXPECT_FALSE(growing_[0]->Watch(1, watcher)) << "it is there";

  EXPECT_TRUE(growing_[0]->Watch(GrowingBlock::kEnd, watcher));
  ASSERT_TRUE(SendAndVouch(1, 2).ok());
  EXPECT_EQ(watcher->count, 1);
  write_->Drop();
  EXPECT_EQ(watcher->count, 2);
  EXPECT_EQ(growing_[0]->state(), GrowingBlock::State::kWithdrawn);
  EXPECT_EQ(growing_[0]->ChecksumOf(0), ClaimNo(1).checksums[0])
      << "its bytes are there as long as somebody reads them";
}

TEST_F(OpenWriteByLayersTest, APieceThatComesAfterTheEndChangesNothing) {
  const Checksum128 late{.low = 1, .high = 2};
  growing_[0]->Add(0, ClaimNo(1).checksums[0]);
  growing_[0]->Add(0, late);
  EXPECT_EQ(growing_[0]->ChecksumOf(0), ClaimNo(1).checksums[0]);
  write_->Drop();
  growing_[0]->Add(1, late);
  EXPECT_FALSE(growing_[0]->ChecksumOf(1).has_value());
}

TEST_F(OpenWriteByLayersTest, AWrongChecksumEndsTheWrite) {
  ASSERT_TRUE(SendAndVouch(4, 0).ok());
  ASSERT_TRUE(Send(1, 0).ok());
  Checksum128 wrong = ClaimNo(1).checksums[0];
  wrong.low ^= 1;
  EXPECT_EQ(ErrorReason(write_->Vouch(1, 0, wrong)), "CHECKSUM");
  EXPECT_EQ(ErrorReason(SendAndVouch(4, 1)), "WRITE");
  EXPECT_EQ(ErrorReason(write_->Finish({ClaimNo(4)}).status()), "WRITE");
  for (const auto& growing : growing_) {
    EXPECT_EQ(growing->state(), GrowingBlock::State::kWithdrawn);
  }
}

TEST_F(OpenWriteByLayersTest, WrongPiecesAreRefusedAndChangeNothing) {
  const std::vector<std::byte> bytes(kBytes);
  const auto some = absl::MakeConstSpan(bytes);
  ExpectError(write_->Write(1, 0, some), "LENGTH",
              "data: ends at 1000, piece 0 ends at 300. Send each by itself.");
  ExpectError(write_->Write(1, 301, some.first(1)), "OFFSET",
              "offset: 301, expected 300.");
  ExpectError(write_->Write(1, kBytes, some.first(0)), "OFFSET",
              "offset: 1000, expected 0.");
  ExpectError(write_->Vouch(1, 4, {}), "PIECE",
              "sums: piece 4 of block 1 is none of this write's, or it is no "
              "write by layers.");
  ExpectError(write_->Vouch(1, 0, {}), "PIECE",
              "sums: piece 0 of block 1 has not come, or was told of before.");
  EXPECT_EQ(ErrorReason(write_->Vouch(2, 0, {})), "ORDINAL");
  ASSERT_TRUE(SendAndVouch(1, 0).ok());
  EXPECT_EQ(ErrorReason(Send(1, 0)), "OFFSET") << "twice";
  EXPECT_EQ(ErrorReason(write_->Vouch(1, 0, ClaimNo(1).checksums[0])), "PIECE");
  for (const uint32_t piece : {1, 2, 3}) {
    ASSERT_TRUE(SendAndVouch(1, piece).ok());
  }
  EXPECT_TRUE(write_->Finish({ClaimNo(1)}).ok());
}

TEST_F(OpenWriteByLayersTest, APieceThatNobodyVouchedForIsMissing) {
  for (const uint32_t piece : {0, 1, 3}) {
    ASSERT_TRUE(SendAndVouch(1, piece).ok());
  }
  ASSERT_TRUE(Send(1, 2).ok());
  ExpectError(write_->Finish({ClaimNo(1)}).status(), "SIZE",
              "size: said 1000, received 900. Publish dropped.");
}

TEST_F(OpenWriteByLayersTest, MemoryStaysForWhoReadsIt) {
  ASSERT_TRUE(SendAndVouch(1, 0).ok());
  const auto bytes = growing_[0]->BytesOf(0);
  const std::vector<std::byte> before(bytes.begin(), bytes.end());
  growing_.pop_back();
  write_->Drop();
  const uint64_t staged = tier_->usage().staged_bytes;
  EXPECT_GT(staged, 0u);
  EXPECT_EQ(bytes, absl::MakeConstSpan(before));
  growing_.clear();
  EXPECT_EQ(tier_->usage().staged_bytes, 0u);
}

TEST_F(OpenWriteByLayersTest, AStoredBlockStaysWhereItWas) {
  for (const uint32_t piece : {0, 1, 2, 3}) {
    ASSERT_TRUE(SendAndVouch(1, piece).ok());
  }
  auto written = *write_->Finish({ClaimNo(1)});
  const auto pieces = written[0].header.pieces;
  auto pin = tier_->StorePinned(testing::IdNo(1), std::move(written[0].header),
                                written[0].staged);
  ASSERT_TRUE(pin.ok()) << pin.status();
  EXPECT_EQ((*pin)->ReadPiece(0)->bytes().data(),
            growing_[0]->BytesOf(0).data());
  growing_[0]->SetStored(pieces, *std::move(pin));
  growing_[0]->Withdraw();
  EXPECT_EQ(growing_[0]->state(), GrowingBlock::State::kStored);
  written.clear();
  EXPECT_TRUE(tier_->IsPinned(testing::IdNo(1)));

  tier_->Erase(testing::IdNo(1));
  EXPECT_EQ(growing_[0]->BytesOf(0),
            absl::MakeConstSpan(PayloadNo(1, kBytes)).first(kPiece));
  growing_.clear();
  EXPECT_EQ(tier_->usage().pinned_bytes, 0u);
  EXPECT_EQ(tier_->usage().used_bytes, 0u);
}

TEST_F(OpenWriteByLayersTest, ABlockThatLostARaceStaysWhereItWasForItsReaders) {
  ASSERT_TRUE(testing::StoreNo(*tier_, 1, kBytes).ok());
  const uint64_t free_bytes = tier_->usage().free_bytes;
  for (const uint32_t piece : {0, 1, 2, 3}) {
    ASSERT_TRUE(SendAndVouch(1, piece).ok());
  }
  auto written = *write_->Finish({ClaimNo(1)});

  const auto pin = tier_->StorePinned(
      testing::IdNo(1), std::move(written[0].header), written[0].staged);

  ASSERT_TRUE(absl::IsAlreadyExists(pin.status())) << pin.status();
  growing_[0]->Withdraw(std::move(written[0].staged));
  written.clear();
  EXPECT_EQ(growing_[0]->state(), GrowingBlock::State::kWithdrawn);
  EXPECT_EQ(tier_->usage().blocks, 1u);
  EXPECT_GT(tier_->usage().staged_bytes, 0u);
  const auto others = tier_->Stage(kBytes);  // Would be given the same room.
  ASSERT_TRUE(others.ok());
  std::fill((*others)->bytes().begin(), (*others)->bytes().end(),
            std::byte{0xee});
  EXPECT_EQ(growing_[0]->BytesOf(0),
            absl::MakeConstSpan(PayloadNo(1, kBytes)).first(kPiece));
  growing_.clear();
  EXPECT_GE(tier_->usage().free_bytes + tier_->usage().staged_bytes,
            free_bytes);
}

}  // namespace
}  // namespace banyan::engine
