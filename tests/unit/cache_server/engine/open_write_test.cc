// One write: chunks in order, pieces summed as they fill, all or nothing at the
// end; each error with its message.
#include "cache_server/engine/open_write.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace banyan::engine
