// Goal: blocks move between memory and SSD without becoming wrong, unfindable
// or doubled, durable means on disk, and a restart finds what was there.
// Method: a BlockStore over a small host tier and an SSD tier on a disk in
// memory that can fail, with self-describing payloads. The mover's steps are
// called by hand, so every order is the test's.
#include "cache_server/engine/cold_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "cache_server/engine/namespace_note.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

using testing::ChainKeys;
using ::testing::Each;
using testing::FaultDisk;
using ::testing::HasSubstr;
using testing::StoreDriver;

constexpr uint64_t kBytes = 16 * kKiB;
constexpr uint64_t kPiece = 4 * kKiB;
constexpr uint32_t kBlocks = 48;  // Of a chain; three make the host tier full.

class ColdStoreTest : public ::testing::Test {
 protected:
  ColdStoreTest() { Start(); }

  StoreDriver::Options Options() {
    StoreDriver::Options options;
    options.capacity_bytes = 2 * kMiB;
    options.store.index.group_blocks = 8;
    options.ssd = testing::SsdOptionsIn("/ssd");
    options.ssd.capacity_bytes = 16 * kMiB;
    options.ssd.file_system = disk_.get();
    options.ssd.catalogue_file_system = disk_->ForRocksDb();
    options.ssd.reclaim = reclaim_;
    options.ssd.carry_share = 0.9;
    options.cold.demote_above = 0.5;
    return options;
  }

  void Start() {
    driver_.emplace(Options());
    session_ = driver_->OpenSession("client");
  }

  // What a crash leaves: all that was synced, and nothing else.
  void CrashAndStart() {
    driver_.reset();
    disk_ = disk_->AfterPowerCut(event_at_crash_, 1);
    Start();
  }
  void MarkCrash() { event_at_crash_ = disk_->event_count(); }

  void Restart() {
    driver_.reset();
    Start();
  }

  Target Chain(uint32_t branch) {
    keys_.push_back(ChainKeys(1, branch, kBlocks));
    return driver_->On(keys_.back());
  }

  void Put(uint32_t branch, Durability durability = Durability::kMemory) {
    const auto verdicts =
        driver_->Put(session_, Chain(branch), kBytes, kPiece, durability);
    ASSERT_TRUE(verdicts.ok()) << verdicts.status();
    ASSERT_THAT(*verdicts, Each(WriteVerdict::kWrite));
  }

  // Leading blocks of the chain that can be read, each verified.
  size_t Get(uint32_t branch, ColdReads cold = ColdReads::kRead) {
    const Target target = Chain(branch);
    const auto pins =
        driver_->store().Read(target, AcquireMode::kLongestPrefix, cold);
    EXPECT_TRUE(pins.ok()) << pins.status();
    if (!pins.ok()) return 0;
    EXPECT_EQ(StoreDriver::CheckPins(**pins, target), absl::OkStatus());
    return (*pins)->size();
  }

  void DemoteAll() {
    while (driver_->cold().DemoteSome() > 0) {
    }
  }

  uint64_t Count(absl::string_view name) { return driver_->Gauge(name); }

  std::deque<std::string> keys_;  // Targets are views of them.
  std::unique_ptr<FaultDisk> disk_ = [] {
    auto disk = std::make_unique<FaultDisk>();
    disk->Record();
    return disk;
  }();
  uint64_t event_at_crash_ = 0;
  tiers::SsdTier::Reclaim reclaim_ = tiers::SsdTier::Reclaim::kKeepAll;
  std::optional<StoreDriver> driver_;
  std::string session_;
};

TEST_F(ColdStoreTest, WhatLeavesMemoryIsReadFromTheSsd) {
  Put(1);
  Put(2);

  DemoteAll();

  EXPECT_LT(driver_->host().usage().blocks, 2 * kBlocks);
  EXPECT_GT(Count("banyan_demotions_total"), 0u);
  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(2), kBlocks);
  EXPECT_GT(driver_->ssd().counters().reads, 0u);
}

TEST_F(ColdStoreTest, NothingMovesWhileThereIsRoom) {
  Put(1);

  EXPECT_EQ(driver_->cold().DemoteSome(), 0u);
  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);
}

TEST_F(ColdStoreTest, AReadThatMayNotBlockIsDeferredOrMisses) {
  Put(1);
  Put(2);
  DemoteAll();
  const Target target = Chain(1);

  const auto deferred = driver_->store().Read(
      target, AcquireMode::kLongestPrefix, ColdReads::kDefer);

  EXPECT_TRUE(IsDeferred(deferred.status())) << deferred.status();
  EXPECT_LT(Get(1, ColdReads::kSkip), kBlocks);
  EXPECT_EQ(Get(1, ColdReads::kRead), kBlocks);
}

TEST_F(ColdStoreTest, WhatWasReadComesBackToMemoryAndKeepsItsCopy) {
  Put(1);
  Put(2);
  DemoteAll();
  ASSERT_EQ(Get(1), kBlocks);

  EXPECT_GT(driver_->cold().PromoteSome(), 0u);

  const auto again = driver_->store().Read(
      Chain(1), AcquireMode::kLongestPrefix, ColdReads::kDefer);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->size(), kBlocks);
  EXPECT_EQ(driver_->cold().PromoteSome(), 0u);
}

TEST_F(ColdStoreTest, ABlockWithACopyIsEvictedWithoutBeingLost) {
  Put(1, Durability::kDurable);
  Put(2);
  Put(3);
  Put(4);  // Takes the room of chain 1.

  EXPECT_GT(Count("banyan_evictions_total{tier=\"host\","
                  "reason=\"copy_on_ssd\"}"),
            0u);
  EXPECT_EQ(Get(1), kBlocks);
}

TEST_F(ColdStoreTest, DurableBlocksSurviveACrashAndOthersMayNot) {
  Put(1, Durability::kDurable);
  MarkCrash();
  Put(2);

  CrashAndStart();

  EXPECT_EQ(Count("banyan_recovered_blocks_total"), kBlocks);
  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(2), 0u);
  // Its namespace is there under its name, before anybody opens it.
  EXPECT_EQ(driver_->store().BlocksOf(driver_->ns()), kBlocks);
}

TEST_F(ColdStoreTest, AnExistingBlockIsMadeDurableToo) {
  Put(1);
  const auto verdicts =
      driver_->Put(session_, Chain(1), kBytes, kPiece, Durability::kDurable);
  ASSERT_TRUE(verdicts.ok()) << verdicts.status();
  EXPECT_THAT(*verdicts, Each(WriteVerdict::kExists));
  MarkCrash();

  CrashAndStart();

  EXPECT_EQ(Get(1), kBlocks);
}

TEST_F(ColdStoreTest, APlannedRestartKeepsWhatWasMoved) {
  Put(1);
  Put(2);
  driver_->cold().DemoteEverything(absl::InfiniteDuration());

  Restart();

  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(2), kBlocks);
}

TEST_F(ColdStoreTest, ADeletedBlockIsGoneFromBothTiers) {
  Put(1, Durability::kDurable);
  Put(2);
  const Target target = Chain(1);

  const auto removed = driver_->store().Delete(
      driver_->ns().name, "", {*BlockKey::FromBytes(target.run.key(8))});

  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, 8u);  // The rest of its group.
  EXPECT_EQ(Get(1), 8u);
  EXPECT_EQ(driver_->ssd().usage().blocks, kBlocks - 8u);
}

TEST_F(ColdStoreTest, ADroppedNamespaceDoesNotComeBack) {
  Put(1, Durability::kDurable);
  ASSERT_TRUE(driver_->store().DropNamespace("first").ok());
  driver_->cold().WriteNotes();
  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);

  Restart();

  EXPECT_EQ(Get(1), 0u);
  EXPECT_EQ(Count("banyan_blocks"), 0u);
}

TEST_F(ColdStoreTest, WhatTheTierDropsIsForgotten) {
  Put(1, Durability::kDurable);
  Put(2);
  Put(3);
  Put(4);  // Chain 1 is on the SSD only.
  const uint64_t blocks = Count("banyan_blocks");
  for (const std::string& path : disk_->Paths("/ssd/segments")) {
    disk_->Edit(path, [](std::string& bytes) {
      for (size_t at = 4096; at < bytes.size(); at += 512) bytes[at] ^= 1;
    });
  }

  EXPECT_EQ(Get(1), 0u);
  driver_->cold().Tick();

  EXPECT_LT(Count("banyan_blocks"), blocks);
  EXPECT_GT(driver_->ssd().counters().corruptions, 0u);
}

TEST_F(ColdStoreTest, AdmissionNoneWritesOnlyWhatIsDurable) {
  driver_.reset();
  StoreDriver::Options options = Options();
  options.admission = "none";
  driver_.emplace(options);
  session_ = driver_->OpenSession("client");
  Put(1);
  Put(2);

  DemoteAll();
  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);

  Put(3, Durability::kDurable);
  EXPECT_EQ(driver_->ssd().usage().blocks, kBlocks);
}

TEST_F(ColdStoreTest, ADiskThatFailsRefusesDurablePutsAndKeepsServing) {
  Put(1, Durability::kDurable);
  Put(2);
  disk_->Add({.op = FaultDisk::Op::kSync, .count = 1});

  const auto failed =
      driver_->Put(session_, Chain(3), kBytes, kPiece, Durability::kDurable);
  const auto refused =
      driver_->Put(session_, Chain(4), kBytes, kPiece, Durability::kDurable);

  EXPECT_TRUE(absl::IsUnavailable(failed.status())) << failed.status();
  EXPECT_EQ(ErrorReason(failed.status()), "DURABILITY");
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  EXPECT_EQ(ErrorReason(refused.status()), "SSD_READ_ONLY");
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("Durable puts refused."));
  Put(5);  // Memory does not need the disk.
  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(3), kBlocks);  // Stored, but not durable.
}

TEST_F(ColdStoreTest, AFullDiskIsAskedAgainLaterAndHeals) {
  Put(1);
  Put(2);
  disk_->SetSpace(disk_->used_bytes());

  EXPECT_EQ(driver_->cold().DemoteSome(), 0u);
  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);
  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(2), kBlocks);

  disk_->SetSpace(64 * kMiB);
  EXPECT_EQ(driver_->cold().DemoteSome(), 0u) << "not at once";
  driver_->clock().Advance(absl::Seconds(2));
  EXPECT_GT(driver_->cold().DemoteSome(), 0u);
  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_EQ(Get(2), kBlocks);
}

TEST_F(ColdStoreTest, DamageInMemoryIsNotWrittenToDisk) {
  Put(1);
  Put(2);
  for (std::byte& byte : driver_->host().arena().bytes()) byte ^= std::byte{1};

  DemoteAll();

  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);
  EXPECT_GT(Count("banyan_corruption_detected_total{where=\"checksum\"}"), 0u);
  EXPECT_LT(Count("banyan_blocks"), 2 * kBlocks);
}

TEST_F(ColdStoreTest, WithoutAnSsdDurablePutsAreRefused) {
  StoreDriver driver({.capacity_bytes = 2 * kMiB});
  const std::string session = driver.OpenSession("client");
  const std::string keys = ChainKeys(1, 1, 1);

  const auto refused = driver.Put(session, driver.On(keys), kBytes, kPiece,
                                  Durability::kDurable);

  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_EQ(ErrorReason(refused.status()), "DURABILITY");
}

TEST_F(ColdStoreTest, WhatIsHotInMemoryKeepsItsCopyUnderReclaim) {
  reclaim_ = tiers::SsdTier::Reclaim::kDropCold;
  Restart();
  Put(1, Durability::kDurable);
  for (uint32_t branch = 2; branch < 60; ++branch) {
    Put(branch);
    ASSERT_EQ(Get(1, ColdReads::kSkip), kBlocks) << branch;
    DemoteAll();
    driver_->cold().TouchSome();
    driver_->cold().Tick();
  }
  ASSERT_GT(driver_->ssd().counters().blocks_dropped_cold, kBlocks);
  ASSERT_EQ(driver_->ssd().counters().reads, 0u);

  // The copies are all there is after a crash.
  MarkCrash();
  CrashAndStart();

  EXPECT_EQ(Get(1), kBlocks);
  EXPECT_LT(Get(2), kBlocks);
}

TEST_F(ColdStoreTest, OtherGroupsThanTheDataHasAreRefused) {
  Put(1, Durability::kDurable);
  driver_.reset();
  StoreDriver::Options options = Options();
  RecoveredBlocks recovered;
  options.ssd.found_sink = &recovered;
  const auto ssd = testing::OpenSsd(options.ssd);
  const auto host = *tiers::HostTier::Open({.capacity_bytes = 2 * kMiB});
  const auto admission = *tiers::MakeAdmissionPolicy("all");
  DropQueue drops;
  BlockStore::Options store_options;
  store_options.index.group_blocks = 16;
  testing::FakeClock clock;
  BlockStore store(
      store_options, *host, *tiers::MakeEvictionPolicy("lru"), clock,
      BlockStore::Cold{
          .ssd = ssd.get(), .admission = admission.get(), .drops = &drops});

  const absl::Status status = store.cold()->Recover(recovered);

  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(ErrorReason(status), "GROUPS");
}

// A namespace with blocks on the disk that an older version finds there.
class NewerNamespaceTest : public ColdStoreTest {
 protected:
  static constexpr char kName[] = "newer";
  const Fingerprint fingerprint_ = {.model = "m", .layout = "opaque"};

  void Store() {
    const auto opened = driver_->store().OpenNamespace(kName, fingerprint_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    id_ = opened->ns->id;
    const auto verdicts =
        driver_->Put(session_, OnNewer(), kBytes, kPiece, Durability::kDurable);
    ASSERT_TRUE(verdicts.ok()) << verdicts.status();
  }

  Target OnNewer() {
    keys_.push_back(ChainKeys(1, 7, 4));
    Target target = driver_->On(keys_.back());
    target.namespace_id = id_;
    return target;
  }

  void RestartWith(const NamespaceNote& note) {
    ASSERT_EQ(driver_->ssd().PutNote(id_, SerializeNamespaceNote(note)),
              absl::OkStatus());
    Restart();
  }

  void ExpectRefused(const absl::Status& status, absl::string_view why) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_EQ(ErrorReason(status), "REFUSED");
    EXPECT_THAT(std::string(status.message()),
                ::testing::StartsWith(
                    absl::StrCat("namespace: \"newer\" is on the disk, and "
                                 "cannot be served (",
                                 why)));
  }

  absl::Status Opened() {
    return driver_->store().OpenNamespace(kName, fingerprint_).status();
  }

  std::string id_;
};

TEST_F(NewerNamespaceTest, IsRefusedByNameAndKeptUntilItIsUnderstood) {
  Store();
  NamespaceNote note{.name = kName,
                     .fingerprint = fingerprint_,
                     .ssd_policy = {.codec = "zip9"}};

  RestartWith(note);

  EXPECT_EQ(Count("banyan_namespaces_refused_total"), 1u);
  ExpectRefused(Opened(), "ssd.codec: opaque blocks");
  ExpectRefused(driver_->store().Match(OnNewer()).status(), "ssd.codec: ");
  ExpectRefused(driver_->store().Read(OnNewer(), AcquireMode::kEach).status(),
                "ssd.codec: ");
  ExpectRefused(driver_->store().namespaces().FindByName(kName).status(),
                "ssd.codec: ");
  EXPECT_THAT(driver_->store().namespaces().RefusedLines(),
              ::testing::ElementsAre(HasSubstr("\"newer\"")));
  EXPECT_EQ(driver_->ssd().usage().blocks, 4u);

  // Once more, as it is; then with a version that knows it.
  Restart();
  ExpectRefused(Opened(), "ssd.codec: ");
  note.ssd_policy = {};
  RestartWith(note);
  EXPECT_EQ(Count("banyan_namespaces_refused_total"), 0u);
  EXPECT_EQ(Opened(), absl::OkStatus());
  const auto pins =
      driver_->store().Read(OnNewer(), AcquireMode::kLongestPrefix);
  ASSERT_TRUE(pins.ok()) << pins.status();
  EXPECT_EQ((*pins)->size(), 4u);
  EXPECT_EQ(StoreDriver::CheckPins(**pins, OnNewer()), absl::OkStatus());
}

// Its id follows from more than this version knows of.
TEST_F(NewerNamespaceTest, AFieldThatIsNotKnownHereIsSeen) {
  Store();
  NamespaceNote note{.name = kName, .fingerprint = fingerprint_};
  note.fingerprint.revision = "as if it were that field";

  RestartWith(note);

  ExpectRefused(Opened(), "its note has more than is known here");
  EXPECT_EQ(driver_->ssd().usage().blocks, 4u);
}

TEST_F(NewerNamespaceTest, CanBeDropped) {
  Store();
  RestartWith({.name = kName,
               .fingerprint = fingerprint_,
               .ssd_policy = {.codec = "zip9"}});

  const auto removed = driver_->store().DropNamespace(kName);

  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(*removed, 4u);
  EXPECT_EQ(driver_->ssd().usage().blocks, 0u);
  EXPECT_EQ(Opened(), absl::OkStatus());
  EXPECT_EQ(*driver_->store().Match(OnNewer()), 0u);
}

}  // namespace
}  // namespace banyan::engine
