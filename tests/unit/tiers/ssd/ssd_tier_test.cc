// What an SSD tier promises beyond tiers/tier.h: durability, a warm restart,
// room by reclaim, ownership of its directory.
//
// Method: real files below TMPDIR, small segments; a restart is a new tier on
// the same directory. Faults of the disk are in tests/fault/.
#include "tiers/ssd/ssd_tier.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/ssd_cases.h"
#include "tests/testing/temp_directory.h"

namespace banyan::tiers {
namespace {

using testing::CheckPinNo;
using testing::IdentityNo;
using testing::IdNo;
using testing::OpenSsd;
using testing::ReadNo;
using testing::StoreNo;
using testing::StoreSsdNo;
using Durability = SsdTier::Durability;

constexpr uint64_t kBlock = 16 * kKiB;

class CollectDropped final : public SsdDropSink {
 public:
  void OnDropped(absl::Span<const BlockId> ids) override {
    const MutexLock lock(mutex_);
    for (const BlockId& id : ids) lows_.insert(id.low);
  }
  bool Has(const BlockId& id) const {
    const MutexLock lock(mutex_);
    return lows_.contains(id.low);
  }
  size_t count() const {
    const MutexLock lock(mutex_);
    return lows_.size();
  }

 private:
  mutable Mutex mutex_;
  std::set<uint64_t> lows_ ABSL_GUARDED_BY(mutex_);
};

class SsdTierTest : public ::testing::Test {
 protected:
  testing::TempDirectory directory_;
  SsdTier::Options options_ = testing::SsdOptionsIn(directory_.path());
};

TEST_F(SsdTierTest, BlocksAreThereAfterARestart) {
  {
    auto tier = OpenSsd(options_);
    for (uint64_t n = 0; n < 100; ++n) {
      ASSERT_TRUE(StoreSsdNo(*tier, n, kBlock + n, Durability::kWritten).ok());
    }
    tier->Erase(IdNo(7));
    ASSERT_TRUE(tier->Sync().ok());
  }

  auto tier = OpenSsd(options_);

  EXPECT_EQ(tier->open_report().blocks, 99u);
  EXPECT_EQ(tier->open_report().records_recovered, 0u);
  EXPECT_FALSE(tier->open_report().is_rebuilt);
  EXPECT_TRUE(absl::IsNotFound(ReadNo(*tier, 7, kBlock + 7)));
  for (uint64_t n = 0; n < 100; ++n) {
    EXPECT_EQ(ReadNo(*tier, n, kBlock + n).ok(), n != 7) << n;
  }
}

TEST_F(SsdTierTest, AStartTellsEachBlockWithItsAnnotation) {
  {
    auto tier = OpenSsd(options_);
    for (uint64_t n = 0; n < 20; ++n) {
      ASSERT_TRUE(StoreSsdNo(*tier, n, kBlock, Durability::kWritten).ok());
    }
    tier->Erase(IdNo(7));
    ASSERT_TRUE(tier->PutNote("space-1", "llama").ok());
  }
  testing::FoundBlocks found;
  options_.found_sink = &found;
  auto tier = OpenSsd(options_);

  const auto told = found.by_annotation();

  EXPECT_EQ(told.size(), 19u);
  EXPECT_FALSE(told.contains("note 7"));
  for (const auto& [annotation, id] : told) {
    EXPECT_EQ(id, IdNo(std::stoull(annotation.substr(5)))) << annotation;
  }
  int notes = 0;
  EXPECT_TRUE(
      tier->ForEachNote([&](absl::string_view key, absl::string_view note) {
            EXPECT_EQ(key, "space-1");
            EXPECT_EQ(note, "llama");
            ++notes;
            return absl::OkStatus();
          })
          .ok());
  EXPECT_EQ(notes, 1);
}

TEST_F(SsdTierTest, GenerationsGoUpOverRestarts) {
  uint64_t first = 0;
  {
    auto tier = OpenSsd(options_);
    ASSERT_TRUE(StoreNo(*tier, 1, kBlock).ok());
    first = (*tier->Pin(IdNo(1), IdentityNo(1)))->header().generation;
    tier->Erase(IdNo(1));
  }
  auto tier = OpenSsd(options_);

  ASSERT_TRUE(StoreNo(*tier, 1, kBlock).ok());

  EXPECT_GT((*tier->Pin(IdNo(1), IdentityNo(1)))->header().generation, first);
}

TEST_F(SsdTierTest, ManyPiecesNeedALongHeaderAndReadBack) {
  auto tier = OpenSsd(options_);
  ASSERT_TRUE(StoreNo(*tier, 1, 100'000, 100).ok());   // 1000 pieces.
  ASSERT_TRUE(StoreNo(*tier, 2, 64 * kKiB, 16).ok());  // 4096 pieces.

  EXPECT_TRUE(ReadNo(*tier, 1, 100'000).ok());
  EXPECT_TRUE(ReadNo(*tier, 2, 64 * kKiB).ok());
}

TEST_F(SsdTierTest, HeaderIsReadWithoutAPin) {
  auto tier = OpenSsd(options_);
  ASSERT_TRUE(StoreNo(*tier, 1, 100'000, 100).ok());

  const auto header = tier->ReadHeader(IdNo(1));

  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->identity, IdentityNo(1));
  EXPECT_EQ(header->piece_count(), 1000u);
  EXPECT_FALSE(tier->IsPinned(IdNo(1)));
  EXPECT_TRUE(absl::IsNotFound(tier->ReadHeader(IdNo(2)).status()));
}

TEST_F(SsdTierTest, BatchesStoreAndReadAllAtOnce) {
  auto tier = OpenSsd(options_);
  std::vector<SsdTier::StoreRequest> requests;
  for (uint64_t n = 0; n < 32; ++n) {
    auto staged = *tier->Stage(kBlock);
    testing::FillPayloadNo(n, staged->bytes());
    BlockHeader header = testing::HeaderNo(n, staged->bytes());
    requests.push_back({.id = IdNo(n),
                        .header = std::move(header),
                        .staged = std::move(staged)});
  }

  for (const absl::Status& status :
       tier->StoreBatch(std::move(requests), Durability::kDurable)) {
    EXPECT_TRUE(status.ok()) << status;
  }

  std::vector<SsdTier::PinRequest> pins;
  for (uint64_t n = 0; n < 33; ++n) {
    pins.push_back({.id = IdNo(n), .identity = IdentityNo(n)});
  }
  auto results = tier->PinBatch(pins, absl::Seconds(10));
  ASSERT_EQ(results.size(), 33u);
  for (uint64_t n = 0; n < 32; ++n) {
    ASSERT_TRUE(results[n].ok()) << results[n].status();
    EXPECT_TRUE(CheckPinNo(**results[n], n, kBlock).ok());
  }
  EXPECT_TRUE(absl::IsNotFound(results[32].status()));
}

TEST_F(SsdTierTest, ConcurrentDurableStoresShareCommits) {
  auto tier = OpenSsd(options_);
  std::vector<std::thread> threads;
  std::atomic<int> failed_count{0};
  for (uint64_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t n = 0; n < 8; ++n) {
        const absl::Status status =
            StoreSsdNo(*tier, t * 100 + n, 4096, Durability::kDurable);
        if (!status.ok()) ++failed_count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(failed_count, 0);
  EXPECT_EQ(tier->usage().blocks, 64u);
  EXPECT_LT(tier->counters().commits, 60u);
}

TEST_F(SsdTierTest, ColdBlocksGoAndReadOnesAreCarried) {
  CollectDropped dropped;
  options_.reclaim = SsdTier::Reclaim::kDropCold;
  options_.carry_share = 0.25;
  options_.drop_sink = &dropped;
  auto tier = OpenSsd(options_);

  // Twice what fits; blocks 0 to 3 are read again and again.
  for (uint64_t n = 0; n < 900; ++n) {
    ASSERT_TRUE(StoreNo(*tier, n, kBlock).ok()) << n;
    for (uint64_t hot = 0; hot < 4 && n >= 4 && n % 10 == 0; ++hot) {
      ASSERT_TRUE(ReadNo(*tier, hot, kBlock).ok()) << hot << " after " << n;
    }
  }

  EXPECT_EQ(dropped.count() + tier->usage().blocks, 900u);
  EXPECT_GT(dropped.count(), 400u);
  EXPECT_TRUE(dropped.Has(IdNo(10)));
  EXPECT_GT(tier->counters().segments_reclaimed, 10u);
  EXPECT_GT(tier->counters().carried_bytes, 0u);
  for (uint64_t n = 0; n < 900; ++n) {
    EXPECT_EQ(ReadNo(*tier, n, kBlock).ok(), !dropped.Has(IdNo(n))) << n;
  }
}

TEST_F(SsdTierTest, ErasedSpaceComesBackByCarryingTheRest) {
  auto tier = OpenSsd(options_);
  uint64_t count = 0;
  while (StoreNo(*tier, count, kBlock).ok()) ++count;
  for (uint64_t n = 0; n < count; n += 2) tier->Erase(IdNo(n));

  for (uint64_t n = 0; n < count; n += 2) {
    ASSERT_TRUE(StoreNo(*tier, 10'000 + n, kBlock).ok()) << n << "/" << count;
  }

  for (uint64_t n = 0; n < count; ++n) {
    const uint64_t stored = n % 2 == 0 ? 10'000 + n : n;
    EXPECT_TRUE(ReadNo(*tier, stored, kBlock).ok()) << stored;
  }
  EXPECT_GT(tier->counters().carried_bytes, 0u);
}

// Stores blocks of a tier that drops the cold, with one block that is used
// before each, for as long as it takes to fill the tier three times.
void StoreManyUsingOne(SsdTier& tier, const std::function<void()>& use) {
  for (uint64_t n = 0; n < 3000; ++n) {
    use();
    ASSERT_TRUE(StoreNo(tier, n, kBlock).ok()) << n;
  }
  ASSERT_GT(tier.counters().blocks_dropped_cold, 1000u);
}

TEST_F(SsdTierTest, ABlockThatIsUsedElsewhereSurvivesReclaim) {
  options_.reclaim = SsdTier::Reclaim::kDropCold;
  auto tier = OpenSsd(options_);
  constexpr uint64_t kHot = 100'000;
  const BlockId hot = IdNo(kHot);
  ASSERT_TRUE(StoreNo(*tier, kHot, kBlock).ok());

  StoreManyUsingOne(*tier, [&] { tier->Touch(absl::MakeConstSpan(&hot, 1)); });

  EXPECT_TRUE(ReadNo(*tier, kHot, kBlock).ok());
  EXPECT_EQ(tier->counters().reads, 1u);
}

TEST_F(SsdTierTest, ABlockThatNobodyUsesDoesNot) {
  options_.reclaim = SsdTier::Reclaim::kDropCold;
  auto tier = OpenSsd(options_);
  constexpr uint64_t kCold = 100'000;
  ASSERT_TRUE(StoreNo(*tier, kCold, kBlock).ok());

  StoreManyUsingOne(*tier, [] {});

  EXPECT_TRUE(absl::IsNotFound(ReadNo(*tier, kCold, kBlock)));
}

TEST_F(SsdTierTest, TouchingWhatIsNotThereDoesNothing) {
  auto tier = OpenSsd(options_);
  const BlockId absent = IdNo(1);

  tier->Touch(absl::MakeConstSpan(&absent, 1));

  EXPECT_FALSE(tier->Contains(absent));
}

TEST_F(SsdTierTest, SecondTierOnTheDirectoryIsRefusedWithThePid) {
  const auto tier = OpenSsd(options_);

  const auto second = SsdTier::Open(options_);

  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_EQ(ErrorReason(second.status()), "DIRECTORY_LOCKED");
  EXPECT_NE(second.status().message().find(std::to_string(getpid())),
            absl::string_view::npos)
      << second.status();
}

TEST_F(SsdTierTest, DirectoryOfAnotherNodeIsRefusedByName) {
  OpenSsd(options_).reset();
  options_.node_id = "node-2";

  const auto tier = SsdTier::Open(options_);

  EXPECT_EQ(ErrorReason(tier.status()), "DIRECTORY_FOREIGN");
  EXPECT_NE(tier.status().message().find("node-1"), absl::string_view::npos);
}

TEST_F(SsdTierTest, SeveralDirectoriesAreAllUsedAndAllComeBack) {
  const testing::TempDirectory second;
  options_.directories.push_back(second.path());
  {
    auto tier = OpenSsd(options_);
    for (uint64_t n = 0; n < 200; ++n) {
      ASSERT_TRUE(StoreNo(*tier, n, kBlock).ok());
    }
  }
  for (const std::string& directory : options_.directories) {
    const auto segments = std::filesystem::directory_iterator(
        std::filesystem::path(directory) / "segments");
    EXPECT_GE(std::distance(begin(segments), end(segments)), 2);
  }

  auto tier = OpenSsd(options_);

  for (uint64_t n = 0; n < 200; ++n) {
    EXPECT_TRUE(ReadNo(*tier, n, kBlock).ok()) << n;
  }
}

TEST_F(SsdTierTest, ScrubReadsEverythingOnce) {
  auto tier = OpenSsd(options_);
  for (uint64_t n = 0; n < 50; ++n) {
    ASSERT_TRUE(StoreNo(*tier, n, kBlock).ok());
  }
  uint64_t records = 0;
  SsdTier::ScrubReport report;

  while (report.passes == 0) {
    report = tier->ScrubSome(64 * kKiB);
    records += report.records;
    EXPECT_EQ(report.findings, 0u);
  }

  EXPECT_EQ(records, 50u);
}

TEST_F(SsdTierTest, OptionsOutOfTheirDomainAreInvalid) {
  options_.segment_bytes = 4096;
  EXPECT_TRUE(absl::IsInvalidArgument(SsdTier::Open(options_).status()));
  options_.segment_bytes = kMiB;
  options_.node_id = "";
  EXPECT_TRUE(absl::IsInvalidArgument(SsdTier::Open(options_).status()));
  options_.node_id = "node-1";
  options_.directories.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(SsdTier::Open(options_).status()));
}

}  // namespace
}  // namespace banyan::tiers
