// A disk that fails, fills up or hangs: each fault is an error with a name, a
// counter and no more harm than it must do.
//
// Method: a FaultDisk with rules that pick calls.
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/units.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/ssd_cases.h"

namespace banyan::tiers {
namespace {

using testing::FaultDisk;
using testing::IdentityNo;
using testing::IdNo;
using testing::ReadNo;
using testing::StoreNo;
using testing::StoreSsdNo;
using Durability = SsdTier::Durability;
using Effect = FaultDisk::Effect;
using Op = FaultDisk::Op;

constexpr uint64_t kBlock = 10'000;
constexpr uint64_t kAlways = ~uint64_t{0} / 2;

class SsdDiskFaultTest : public ::testing::Test {
 protected:
  void Open() { tier_ = testing::OpenSsd(options_); }
  uint64_t Errors(const std::string& op, const std::string& name) {
    return tier_->counters().errors[{op, name}];
  }

  FaultDisk disk_;
  SsdTier::Options options_ = testing::SsdOptionsOn(disk_);
  std::unique_ptr<SsdTier> tier_;
};

TEST_F(SsdDiskFaultTest, ReadErrorIsTriedOnceMore) {
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  disk_.Add({.op = Op::kRead, .path_part = ".seg"});

  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());

  EXPECT_EQ(Errors("read", "EIO"), 1u);
  EXPECT_EQ(tier_->counters().rereads, 1u);
}

TEST_F(SsdDiskFaultTest, SecondReadErrorIsAMissAndTheBlockIsDropped) {
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  disk_.Add({.op = Op::kRead, .path_part = ".seg", .count = 2});

  EXPECT_TRUE(absl::IsNotFound(ReadNo(*tier_, 1, kBlock)));

  EXPECT_FALSE(tier_->Contains(IdNo(1)));
  EXPECT_EQ(Errors("read", "EIO"), 2u);
  EXPECT_EQ(tier_->counters().blocks_dropped_unreadable, 1u);
}

TEST_F(SsdDiskFaultTest, MisdirectedReadIsCaughtAndReadAgain) {
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  ASSERT_TRUE(StoreNo(*tier_, 2, kBlock).ok());
  disk_.Add(
      {.op = Op::kRead, .path_part = ".seg", .effect = Effect::kMisdirected});

  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());

  EXPECT_EQ(tier_->counters().rereads, 1u);
  EXPECT_EQ(tier_->counters().corruptions, 0u);
}

TEST_F(SsdDiskFaultTest, LostWriteIsNeverServed) {
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  disk_.Add({.op = Op::kWrite, .path_part = ".seg", .effect = Effect::kLost});
  ASSERT_TRUE(StoreNo(*tier_, 2, kBlock).ok());

  EXPECT_TRUE(absl::IsDataLoss(ReadNo(*tier_, 2, kBlock)));

  EXPECT_EQ(tier_->counters().corruptions, 1u);
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
}

TEST_F(SsdDiskFaultTest, MisdirectedWriteIsNeverServed) {
  Open();
  disk_.Add({.op = Op::kWrite,
             .path_part = ".seg",
             .effect = Effect::kMisdirected,
             .skip = 1});  // The first is the segment's header.
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());

  EXPECT_TRUE(absl::IsDataLoss(ReadNo(*tier_, 1, kBlock)));
}

TEST_F(SsdDiskFaultTest, ThreeDamagedRecordsQuarantineTheSegment) {
  Open();
  for (uint64_t n = 0; n < 4; ++n) {
    ASSERT_TRUE(StoreNo(*tier_, n, kBlock).ok());
  }
  disk_.Edit(disk_.Paths("/ssd/segments")[0], [](std::string& file) {
    for (size_t at = 3 * kIoAlignment; at < 13 * kIoAlignment;
         at += kIoAlignment) {
      file[at] ^= 1;
    }
  });
  for (uint64_t n = 0; n < 3; ++n) {
    EXPECT_TRUE(absl::IsDataLoss(ReadNo(*tier_, n, kBlock))) << n;
  }

  EXPECT_EQ(tier_->counters().segments_quarantined, 1u);
  ASSERT_TRUE(StoreNo(*tier_, 10, kBlock).ok());
  EXPECT_EQ(disk_.Paths("/ssd/segments").size(), 2u);
  EXPECT_TRUE(ReadNo(*tier_, 10, kBlock).ok());
}

TEST_F(SsdDiskFaultTest, FailedSyncMakesReadOnlyAndIsNeverTriedAgain) {
  Open();
  ASSERT_TRUE(StoreSsdNo(*tier_, 1, kBlock, Durability::kDurable).ok());
  disk_.Add({.op = Op::kSync, .path_part = ".seg"});  // Then it would succeed.

  const absl::Status second =
      StoreSsdNo(*tier_, 2, kBlock, Durability::kDurable);

  EXPECT_TRUE(absl::IsUnavailable(second)) << second;
  EXPECT_EQ(ErrorReason(second), "SSD_READ_ONLY");
  EXPECT_NE(second.message().find("read-only since"), absl::string_view::npos);
  EXPECT_EQ(ErrorReason(tier_->Sync()), "SSD_READ_ONLY");
  EXPECT_EQ(ErrorReason(tier_->Stage(kBlock).status()), "SSD_READ_ONLY");
  EXPECT_EQ(Errors("sync", "EIO"), 1u);
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
  tier_.reset();
  Open();
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
  EXPECT_TRUE(StoreSsdNo(*tier_, 3, kBlock, Durability::kDurable).ok());
}

TEST_F(SsdDiskFaultTest, FailedCatalogueSyncMakesReadOnly) {
  Open();
  ASSERT_TRUE(StoreSsdNo(*tier_, 1, kBlock, Durability::kDurable).ok());
  disk_.Add({.op = Op::kSync, .path_part = ".log"});

  EXPECT_FALSE(StoreSsdNo(*tier_, 2, kBlock, Durability::kDurable).ok());

  EXPECT_EQ(ErrorReason(tier_->read_only()), "SSD_READ_ONLY");
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
}

TEST_F(SsdDiskFaultTest, WriteErrorFailsOneStoreAndThreeMakeReadOnly) {
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  disk_.Add({.op = Op::kWrite, .path_part = ".seg"});
  EXPECT_TRUE(absl::IsUnavailable(StoreNo(*tier_, 2, kBlock)));
  EXPECT_TRUE(StoreNo(*tier_, 2, kBlock).ok());
  EXPECT_TRUE(ReadNo(*tier_, 2, kBlock).ok());

  disk_.Add({.op = Op::kWrite, .path_part = ".seg", .skip = 0, .count = 9});
  for (int i = 0; i < 3; ++i) {
    auto staged = tier_->Stage(kBlock);
    if (!staged.ok()) continue;
    testing::FillPayloadNo(3, (*staged)->bytes());
    BlockHeader header = testing::HeaderNo(3, (*staged)->bytes());
    EXPECT_FALSE(tier_->Store(IdNo(3), header, *std::move(staged)).ok());
  }
  EXPECT_GE(Errors("write", "EIO") + Errors("create", "EIO"), 3u);
  EXPECT_EQ(ErrorReason(tier_->read_only()), "SSD_READ_ONLY");
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
}

TEST_F(SsdDiskFaultTest, FullDiskRefusesWritesKeepsReadsAndHeals) {
  Open();
  ASSERT_TRUE(StoreSsdNo(*tier_, 1, kBlock, Durability::kDurable).ok());
  disk_.SetSpace(disk_.used_bytes() + 8 * kKiB);
  absl::Status refused;
  for (uint64_t n = 2; n < 200 && refused.ok(); ++n) {
    refused = StoreNo(*tier_, n, kBlock);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_EQ(ErrorReason(refused), "ENOSPC");
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
  EXPECT_TRUE(tier_->read_only().ok());

  disk_.SetSpace(kAlways);

  EXPECT_TRUE(StoreSsdNo(*tier_, 300, kBlock, Durability::kDurable).ok());
  EXPECT_TRUE(ReadNo(*tier_, 300, kBlock).ok());
  tier_.reset();
  Open();
  EXPECT_TRUE(ReadNo(*tier_, 1, kBlock).ok());
  EXPECT_TRUE(ReadNo(*tier_, 300, kBlock).ok());
}

TEST_F(SsdDiskFaultTest, StuckReadIsAbandonedAndHoldsUpNobody) {
  options_.make_engine = [] { return MakeThreadEngine(2); };
  Open();
  ASSERT_TRUE(StoreNo(*tier_, 1, kBlock).ok());
  ASSERT_TRUE(StoreNo(*tier_, 2, kBlock).ok());
  disk_.Add({.op = Op::kRead, .path_part = ".seg", .effect = Effect::kHeld});
  const SsdTier::PinRequest request = {.id = IdNo(1),
                                       .identity = IdentityNo(1)};

  const auto stuck =
      tier_->PinBatch(absl::MakeConstSpan(&request, 1), absl::Milliseconds(30));

  EXPECT_TRUE(absl::IsDeadlineExceeded(stuck[0].status()));
  EXPECT_EQ(tier_->counters().abandoned_reads, 1u);
  EXPECT_EQ(disk_.held_count(), 1u);
  EXPECT_TRUE(ReadNo(*tier_, 2, kBlock).ok());
  tier_->Erase(IdNo(1));
  disk_.Release();
  tier_.reset();  // Ends, and gives back what the read had.
}

TEST_F(SsdDiskFaultTest, EveryFailpointOfAStoreFailsItAndLosesNothingAcked) {
  const std::vector<std::string> names = {
      "ssd_before_segment_create", "ssd_after_segment_create",
      "ssd_before_record_write",   "ssd_after_record_write",
      "ssd_before_segment_sync",   "ssd_after_segment_sync",
      "ssd_after_catalogue_write"};
  uint64_t next = 1;
  std::vector<uint64_t> acked;
  for (const std::string& name : names) {
    Open();
    ASSERT_TRUE(ArmFailpoints(name + "=2nd:error").ok());
    int failed_count = 0;
    for (int i = 0; i < 120; ++i) {
      const uint64_t n = next++;
      const absl::Status status =
          StoreSsdNo(*tier_, n, 8 * kKiB, Durability::kDurable);
      if (status.ok()) {
        acked.push_back(n);
      } else {
        ++failed_count;
      }
    }
    ReleaseFailpoints();
    EXPECT_GT(failed_count, 0) << name;
    tier_.reset();
    Open();
    for (const uint64_t n : acked) {
      ASSERT_TRUE(ReadNo(*tier_, n, 8 * kKiB).ok()) << name << " " << n;
    }
    for (const uint64_t n : acked) tier_->Erase(IdNo(n));
    acked.clear();
    ASSERT_TRUE(tier_->Sync().ok());
    tier_.reset();
  }
}

}  // namespace
}  // namespace banyan::tiers
