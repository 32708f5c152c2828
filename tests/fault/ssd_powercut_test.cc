// A power cut at any moment costs no block that was acknowledged as durable, and
// makes nobody see a wrong byte.
//
// Method: seeded workloads of stores, erases and reclaim on a FaultDisk, which
// records every write and barrier of segments and catalogue. 2,000 disks as a
// power cut may leave them are made from the recordings, each is opened by a new
// tier, and every block is read. 4,000 more lose their catalogue as well, in
// whole or in part. A failure names the seeds that replay it.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/ssd_cases.h"

namespace banyan::tiers {
namespace {

using testing::FaultDisk;
using testing::IdentityNo;
using testing::IdNo;
using testing::StoreSsdNo;

constexpr int kWorkloads = 20;
constexpr int kImagesEach = testing::Repetitions(100, 5);
constexpr uint64_t kImages = kWorkloads / 2 * kImagesEach;  // Of a case.
constexpr uint64_t kNever = ~uint64_t{0};

SsdTier::Options OptionsOn(FaultDisk& disk) {
  SsdTier::Options options = testing::SsdOptionsOn(disk);
  options.capacity_bytes = 512 * kKiB;
  options.segment_bytes = 64 * kKiB;
  options.commit_rows = 16;
  return options;
}

// When, on the disk's timeline, a block was promised, and when let go.
struct Life {
  uint64_t payload_bytes = 0;
  uint64_t durable_at = kNever;
  uint64_t let_go_at = kNever;
};

class Workload final : public SsdDropSink {
 public:
  Workload(uint64_t seed, SsdTier::Reclaim reclaim)
      : random_(seed), reclaim_(reclaim) {
    disk_.Record();
  }

  void Run() {
    SsdTier::Options options = OptionsOn(disk_);
    options.reclaim = reclaim_;
    options.drop_sink = this;
    for (int start = 0; start < 3; ++start) {
      auto tier = testing::OpenSsd(options);
      for (int step = 0; step < 40; ++step) Step(*tier);
    }
  }

  void OnDropped(absl::Span<const BlockId> ids) override {
    for (auto& [n, life] : lives_) {
      for (const BlockId& id : ids) {
        // The catalogue forgets it no earlier than the sink hears of it.
        if (id == IdNo(n)) LetGo(life);
      }
    }
  }

  const FaultDisk& disk() const { return disk_; }
  const std::map<uint64_t, Life>& lives() const { return lives_; }

 private:
  void LetGo(Life& life) {
    life.let_go_at = std::min(life.let_go_at, disk_.event_count());
  }

  void Step(SsdTier& tier) {
    const uint64_t dice = random_() % 10;
    if (dice < 2 && !lives_.empty()) {
      auto it = lives_.begin();
      std::advance(it, random_() % lives_.size());
      LetGo(it->second);
      tier.Erase(IdNo(it->first));
    } else if (dice == 2) {
      SyncAll(tier);
    } else {
      StoreOne(tier, dice < 6 ? SsdTier::Durability::kDurable
                              : SsdTier::Durability::kWritten);
    }
  }

  void SyncAll(SsdTier& tier) {
    ASSERT_TRUE(tier.Sync().ok());
    for (auto& [n, life] : lives_) MakeDurable(life);
  }

  void MakeDurable(Life& life) {
    life.durable_at = std::min(life.durable_at, disk_.event_count());
  }

  void StoreOne(SsdTier& tier, SsdTier::Durability durability) {
    const uint64_t n = next_++;
    Life& life = lives_[n];
    life.payload_bytes = 1 + random_() % (24 * kKiB);
    const absl::Status status =
        StoreSsdNo(tier, n, life.payload_bytes, durability);
    if (!status.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
      lives_.erase(n);
      EraseOldest(tier);
    } else if (durability == SsdTier::Durability::kDurable) {
      MakeDurable(life);
    }
  }

  void EraseOldest(SsdTier& tier) {
    int count = 4;
    for (auto& [n, life] : lives_) {
      if (life.let_go_at != kNever) continue;
      LetGo(life);
      tier.Erase(IdNo(n));
      if (--count == 0) return;
    }
  }

  FaultDisk disk_;
  std::mt19937_64 random_;
  const SsdTier::Reclaim reclaim_;
  std::map<uint64_t, Life> lives_;
  uint64_t next_ = 1;
};

struct Tally {
  uint64_t images = 0;
  uint64_t durable_blocks = 0;
  uint64_t other_blocks_found = 0;
  uint64_t rebuilt = 0;
};

// What happens to the catalogue after the power cut, before the next start.
enum class Loss { kNone, kDeleted, kCut };

void DamageCatalogue(FaultDisk& disk, Loss loss, uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<std::string> paths = disk.Paths("/ssd/catalogue");
  if (loss == Loss::kDeleted) {
    ASSERT_TRUE(disk.RemoveTree("/ssd/catalogue").ok());
    return;
  }
  // Each file keeps some beginning, or goes.
  for (const std::string& path : paths) {
    if (random() % 4 == 0) {
      ASSERT_TRUE(disk.Remove(path).ok());
      continue;
    }
    disk.Edit(path, [&](std::string& bytes) {
      if (!bytes.empty()) bytes.resize(random() % bytes.size());
    });
  }
}

void CheckImage(const Workload& workload, uint64_t cut, uint64_t seed,
                Loss loss, Tally& tally) {
  const auto disk = workload.disk().AfterPowerCut(cut, seed);
  if (loss != Loss::kNone) DamageCatalogue(*disk, loss, seed);
  auto opened = SsdTier::Open(OptionsOn(*disk));
  ASSERT_TRUE(opened.ok()) << opened.status();
  SsdTier& tier = **opened;
  ++tally.images;
  tally.rebuilt += tier.open_report().is_rebuilt ? 1 : 0;
  for (const auto& [n, life] : workload.lives()) {
    const absl::Status status = testing::ReadNo(tier, n, life.payload_bytes);
    const bool is_promised = life.durable_at <= cut && life.let_go_at > cut;
    ASSERT_FALSE(absl::IsInternal(status)) << "block " << n << ": " << status;
    if (is_promised) {
      ASSERT_TRUE(status.ok())
          << "durable block " << n << " is gone: " << status << ", durable at "
          << life.durable_at;
      ++tally.durable_blocks;
    } else {
      tally.other_blocks_found += status.ok() ? 1 : 0;
    }
  }
  const TierUsage usage = tier.usage();
  ASSERT_EQ(usage.used_bytes + usage.staged_bytes + usage.free_bytes +
                usage.waste_bytes,
            usage.capacity_bytes);
  ASSERT_LE(usage.used_bytes, usage.capacity_bytes);
  // It goes on working.
  ASSERT_TRUE(tier.Sync().ok());
}

void Print(const Tally& tally) {
  std::printf("%lu images, %lu durable blocks read, %lu others, %lu rebuilt\n",
              tally.images, tally.durable_blocks, tally.other_blocks_found,
              tally.rebuilt);
}

void RunImages(SsdTier::Reclaim reclaim, Loss loss, uint64_t first_seed,
               Tally& tally) {
  for (int w = 0; w < kWorkloads / 2; ++w) {
    const uint64_t seed = first_seed + w;
    Workload workload(seed, reclaim);
    workload.Run();
    ASSERT_FALSE(::testing::Test::HasFailure());
    std::mt19937_64 random(seed);
    for (int i = 0; i < kImagesEach; ++i) {
      const uint64_t cut = random() % (workload.disk().event_count() + 1);
      const uint64_t image_seed = random();
      CheckImage(workload, cut, image_seed, loss, tally);
      ASSERT_FALSE(::testing::Test::HasFailure())
          << "workload seed " << seed << ", image " << i << ", cut " << cut;
    }
  }
}

TEST(SsdPowerCut, DurableBlocksAreThereAndNoByteIsWrongWhenNothingIsDropped) {
  Tally tally;
  RunImages(SsdTier::Reclaim::kKeepAll, Loss::kNone, 1000, tally);

  EXPECT_EQ(tally.images, kImages);
  EXPECT_GT(tally.durable_blocks, 5 * kImages);
  Print(tally);
}

TEST(SsdPowerCut, DurableBlocksAreThereAndNoByteIsWrongUnderReclaim) {
  Tally tally;
  RunImages(SsdTier::Reclaim::kDropCold, Loss::kNone, 2000, tally);

  EXPECT_EQ(tally.images, kImages);
  EXPECT_GT(tally.durable_blocks, 5 * kImages);
  Print(tally);
}

// After a power cut the catalogue may be lost as well.
TEST(SsdPowerCut, DurableBlocksAreThereAlsoWhenTheCatalogueIsDeleted) {
  for (const auto reclaim :
       {SsdTier::Reclaim::kKeepAll, SsdTier::Reclaim::kDropCold}) {
    Tally tally;
    RunImages(reclaim, Loss::kDeleted, 3000, tally);

    EXPECT_EQ(tally.images, kImages);
    EXPECT_GT(tally.durable_blocks, 5 * kImages);
    EXPECT_GT(tally.rebuilt, kImages * 8 / 10);
    Print(tally);
  }
}

TEST(SsdPowerCut, DurableBlocksAreThereAlsoWhenTheCatalogueIsCut) {
  for (const auto reclaim :
       {SsdTier::Reclaim::kKeepAll, SsdTier::Reclaim::kDropCold}) {
    Tally tally;
    RunImages(reclaim, Loss::kCut, 4000, tally);

    EXPECT_EQ(tally.images, kImages);
    EXPECT_GT(tally.durable_blocks, 5 * kImages);
    EXPECT_GT(tally.rebuilt, kImages / 2);
    Print(tally);
  }
}

// The check above can fail: a disk that lies about syncs loses promises.
TEST(SsdPowerCut, DiskThatLosesSyncsIsCaughtByTheseChecks) {
  FaultDisk disk;
  disk.Record();
  disk.Add({.op = FaultDisk::Op::kSync,
            .path_part = ".seg",
            .effect = FaultDisk::Effect::kLost,
            .count = kNever});
  auto tier = testing::OpenSsd(OptionsOn(disk));
  for (uint64_t n = 0; n < 8; ++n) {
    ASSERT_TRUE(StoreSsdNo(*tier, n, 8000, SsdTier::Durability::kDurable).ok());
  }
  uint64_t lost_count = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto image = disk.AfterPowerCut(disk.event_count(), seed);
    auto opened = SsdTier::Open(OptionsOn(*image));
    ASSERT_TRUE(opened.ok()) << opened.status();
    for (uint64_t n = 0; n < 8; ++n) {
      const absl::Status status = testing::ReadNo(**opened, n, 8000);
      EXPECT_FALSE(absl::IsInternal(status)) << status;
      lost_count += status.ok() ? 0 : 1;
    }
  }
  EXPECT_GT(lost_count, 0u);
}

}  // namespace
}  // namespace banyan::tiers
