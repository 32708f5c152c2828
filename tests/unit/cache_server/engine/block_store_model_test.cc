// The BlockStore under random calls: it may forget a block, but it never shows
// one that was not committed, never serves a wrong byte, and leaks nothing.
//
// Method: seeded random puts, gets, leases, aborts, session ends, deletes,
// trims and time steps over a few hundred chains that share prefixes, on a tier
// that holds a fraction of them. A model remembers what was ever committed;
// payloads tell whose bytes were read. Once more with ids of 12 bits, so that
// blocks collide all the time, and once with threads, for the sanitizers.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

using testing::ChainKeys;
using testing::StoreDriver;

constexpr uint32_t kChainBlocks = 24;
constexpr uint64_t kPiece = 3000;

struct Variant {
  uint32_t group_blocks = 4;
  int id_bits = 128;
};

StoreDriver::Options OptionsOf(const Variant& setup) {
  StoreDriver::Options options;
  options.store.index = {.shards = 4, .group_blocks = setup.group_blocks};
  options.store.namespaces.id_bits = setup.id_bits;
  return options;
}

// One client that does random things with a store and checks each answer.
// Threads: one actor a thread.
class Actor {
 public:
  Actor(StoreDriver& driver, std::string name, uint64_t seed, bool may_collide)
      : driver_(driver),
        name_(std::move(name)),
        rng_(seed),
        may_collide_(may_collide),
        session_(driver.OpenSession(name_)) {}

  void Step() {
    driver_.store().TouchSession(session_).IgnoreError();
    const size_t dice = Dice(100);
    if (dice < 25) return Put();
    if (dice < 35) return BeginWrite();
    if (dice < 45) return EndWrite();
    if (dice < 65) return Get();
    if (dice < 75) return Lease();
    if (dice < 85) return EndLease();
    if (dice < 92) return Match();
    if (dice < 95) return Delete();
    if (dice < 97) return Trim();
    if (dice < 98) return Restart();
    driver_.store().Tick();
    driver_.ExpectUsageAddsUp();
  }

  // Ends all that is open.
  void Quit() {
    driver_.store().EndSession(session_);
    leases_.clear();
    writes_.clear();
  }

  const std::set<std::string>& committed() const { return committed_; }

 private:
  // Blocks [begin, end) of one chain of the set.
  struct Stretch {
    std::string keys;
    std::string salt;
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  struct Write {
    Stretch stretch;
    BlockStore::Reserved reserved;
    uint64_t bytes = 0;
  };
  struct Leased {
    Stretch stretch;
    std::string id;
  };

  size_t Dice(size_t n) { return static_cast<size_t>(rng_() % n); }

  Stretch RandomStretch() {
    Stretch stretch;
    const uint32_t family = static_cast<uint32_t>(Dice(12));
    stretch.keys =
        ChainKeys(family, static_cast<uint32_t>(Dice(4)), kChainBlocks, 6);
    stretch.salt = Dice(5) == 0 ? "salted" : "";
    stretch.begin =
        Dice(2) == 0 ? 0 : static_cast<uint32_t>(Dice(kChainBlocks));
    stretch.end = stretch.begin + 1 +
                  static_cast<uint32_t>(Dice(kChainBlocks - stretch.begin));
    return stretch;
  }

  Target On(const Stretch& stretch) const {
    return driver_.On(stretch.keys, stretch.begin, stretch.end, stretch.salt);
  }

  // Equal keys have equal sizes: a block is what its identity says.
  static uint64_t BytesOf(const Stretch& stretch) {
    return 500 + 3000 * (static_cast<uint8_t>(stretch.keys[0]) % 5);
  }

  static std::string NameOf(const Stretch& stretch, size_t i) {
    return stretch.salt + "/" +
           stretch.keys.substr((stretch.begin + i) * testing::kTestKeyBytes,
                               testing::kTestKeyBytes);
  }

  std::optional<Write> Reserve() {
    Write write{.stretch = RandomStretch()};
    write.bytes = BytesOf(write.stretch);
    auto reserved = driver_.store().Reserve(session_, 0, On(write.stretch),
                                            {write.bytes}, kPiece);
    if (!reserved.ok()) {
      // Two keys of one run may have one short id.
      EXPECT_TRUE(may_collide_ && ErrorReason(reserved.status()) == "KEYS")
          << reserved.status();
      return std::nullopt;
    }
    write.reserved = *std::move(reserved);
    if (write.reserved.write_id.empty()) return std::nullopt;
    return write;
  }

  void Commit(const Write& write) {
    const Target target = On(write.stretch);
    auto claims =
        driver_.Send(session_, write.reserved, target, write.bytes, kPiece);
    if (!claims.ok()) {  // It was idle for too long.
      EXPECT_EQ(ErrorReason(claims.status()), "WRITE") << claims.status();
      return;
    }
    const bool is_damaged = Dice(10) == 0;
    if (is_damaged) claims->back().checksums.back().low ^= 1;
    const auto done =
        driver_.store().Commit(session_, write.reserved.write_id, *claims);
    if (is_damaged) {
      EXPECT_EQ(ErrorReason(done.status()), "CHECKSUM") << done.status();
      return;
    }
    EXPECT_TRUE(done.ok()) << done.status();
    for (const auto& claim : *claims) {
      committed_.insert(NameOf(write.stretch, claim.ordinal));
    }
  }

  void Put() {
    const std::optional<Write> write = Reserve();
    if (write.has_value()) Commit(*write);
  }

  void BeginWrite() {
    std::optional<Write> write = Reserve();
    if (write.has_value()) writes_.push_back(*std::move(write));
  }

  void EndWrite() {
    if (writes_.empty()) return;
    const size_t at = Dice(writes_.size());
    const Write write = std::move(writes_[at]);
    writes_.erase(writes_.begin() + static_cast<ptrdiff_t>(at));
    if (Dice(3) == 0) {
      driver_.store().Abort(session_, write.reserved.write_id);
    } else {
      Commit(write);
    }
  }

  AcquireMode RandomMode() {
    constexpr AcquireMode kModes[] = {AcquireMode::kLongestPrefix,
                                      AcquireMode::kAllOrNone,
                                      AcquireMode::kEach};
    return kModes[Dice(3)];
  }

  void CheckPins(const std::vector<lease::PinnedBlock>& pins,
                 const Stretch& stretch) {
    const absl::Status status = StoreDriver::CheckPins(pins, On(stretch));
    EXPECT_TRUE(status.ok()) << status;
  }

  void Get() {
    const Stretch stretch = RandomStretch();
    const AcquireMode mode = RandomMode();
    const auto pins = driver_.store().Read(On(stretch), mode);
    ASSERT_TRUE(pins.ok()) << pins.status();
    CheckPins(**pins, stretch);
    if (mode != AcquireMode::kEach) {
      for (uint32_t i = 0; i < (*pins)->size(); ++i) {
        EXPECT_EQ((**pins)[i].ordinal, i) << "a prefix has no gaps";
      }
    }
    if (mode == AcquireMode::kAllOrNone && !(*pins)->empty()) {
      EXPECT_EQ((*pins)->size(), stretch.end - stretch.begin);
    }
    for (const auto& block : **pins)
      seen_.insert(NameOf(stretch, block.ordinal));
  }

  void Lease() {
    const Stretch stretch = RandomStretch();
    const auto granted =
        driver_.store().Acquire(session_, 0, On(stretch), RandomMode(),
                                absl::Milliseconds(500 + Dice(5000)));
    ASSERT_TRUE(granted.ok()) << granted.status();
    EXPECT_EQ(granted->lease_id.empty(), granted->pins->empty());
    if (granted->lease_id.empty()) return;
    leases_.push_back({.stretch = stretch, .id = granted->lease_id});
  }

  void EndLease() {
    if (leases_.empty()) return;
    const size_t at = Dice(leases_.size());
    const auto pins = driver_.store().ReadLease(session_, leases_[at].id);
    if (pins.ok()) {
      CheckPins(**pins, leases_[at].stretch);
    } else {
      EXPECT_EQ(ErrorReason(pins.status()), "LEASE");
    }
    driver_.store().Release(session_, {leases_[at].id});
    leases_.erase(leases_.begin() + static_cast<ptrdiff_t>(at));
  }

  void Match() {
    const Stretch stretch = RandomStretch();
    const auto hits = driver_.store().Match(On(stretch));
    ASSERT_TRUE(hits.ok()) << hits.status();
    EXPECT_LE(*hits, stretch.end - stretch.begin);
    for (uint32_t i = 0; i < *hits && !may_collide_; ++i) {
      seen_.insert(NameOf(stretch, i));
    }
  }

  void Delete() {
    const Stretch stretch = RandomStretch();
    const BlockKey key = *BlockKey::FromBytes(On(stretch).run.key(0));
    EXPECT_TRUE(driver_.store().Delete("first", stretch.salt, {key}).ok());
  }

  void Trim() {
    const uint64_t to_bytes = Dice(4) * kMiB;
    EXPECT_TRUE(
        driver_.store().Trim("", to_bytes, absl::InfiniteDuration()).ok());
  }

  void Restart() {
    Quit();
    session_ = driver_.OpenSession(name_);
  }

 public:
  // Blocks that were found at any time.
  const std::set<std::string>& seen() const { return seen_; }

 private:
  StoreDriver& driver_;
  const std::string name_;
  std::mt19937_64 rng_;
  const bool may_collide_;
  std::string session_;
  std::vector<Write> writes_;
  std::vector<Leased> leases_;
  std::set<std::string> committed_;
  std::set<std::string> seen_;
};

// What must hold when all clients are gone: nothing leaks.
void ExpectNothingLeft(StoreDriver& driver) {
  driver.ExpectQuiet();
  const tiers::TierUsage usage = driver.host().usage();
  EXPECT_EQ(driver.Gauge("banyan_blocks"), usage.blocks);
  EXPECT_EQ(driver.Gauge("banyan_eviction_candidates"), usage.blocks);
  EXPECT_TRUE(driver.store().Trim("", 0, absl::InfiniteDuration()).ok());
  EXPECT_EQ(driver.host().usage().used_bytes, 0u);
  EXPECT_EQ(driver.host().usage().blocks, 0u);
  EXPECT_EQ(driver.Gauge("banyan_blocks"), 0u);
}

void ExpectNoCorruption(const StoreDriver& driver) {
  for (const char* where : {"checksum", "header", "generation"}) {
    EXPECT_EQ(driver.Gauge(absl::StrCat(
                  "banyan_corruption_detected_total{where=\"", where, "\"}")),
              0u);
  }
}

class BlockStoreModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  void RunTwoActors(const Variant& setup) {
    SCOPED_TRACE(::testing::Message()
                 << "seed " << GetParam() << " group_blocks "
                 << setup.group_blocks << " id_bits " << setup.id_bits);
    StoreDriver driver(OptionsOf(setup));
    std::mt19937_64 rng(GetParam());
    const bool may_collide = setup.id_bits < 128;
    Actor a(driver, "a", rng(), may_collide);
    Actor b(driver, "b", rng(), may_collide);
    for (int step = 0; step < 2500; ++step) {
      (rng() % 2 == 0 ? a : b).Step();
      driver.clock().Advance(absl::Milliseconds(rng() % 200));
      if (HasFailure()) FAIL() << "step " << step;
    }
    for (const Actor* actor : {&a, &b}) {
      EXPECT_GT(actor->seen().size(), 100u) << "the test sees something";
      for (const std::string& name : actor->seen()) {
        EXPECT_TRUE(a.committed().contains(name) ||
                    b.committed().contains(name));
      }
    }
    a.Quit();
    b.Quit();
    ExpectNoCorruption(driver);
    if (!may_collide) {
      EXPECT_EQ(
          driver.Gauge("banyan_corruption_detected_total{where=\"identity\"}"),
          0u);
    }
    ExpectNothingLeft(driver);
  }
};

TEST_P(BlockStoreModelTest, RandomCallsNeverShowWrongBytesAndLeakNothing) {
  for (const uint32_t group_blocks : {1, 3, 32}) {
    RunTwoActors({.group_blocks = group_blocks});
  }
}

TEST_P(BlockStoreModelTest, CollidingIdsNeverShowWrongBytes) {
  for (const uint32_t group_blocks : {1, 4}) {
    RunTwoActors({.group_blocks = group_blocks, .id_bits = 12});
  }
}

TEST_P(BlockStoreModelTest, ThreadsNeverSeeWrongBytesAndLeakNothing) {
  SCOPED_TRACE(::testing::Message() << "seed " << GetParam());
  StoreDriver driver(OptionsOf({}));
  {
    std::vector<std::unique_ptr<Actor>> actors;
    for (uint64_t t = 0; t < 4; ++t) {
      actors.push_back(std::make_unique<Actor>(driver, absl::StrCat("c", t),
                                               GetParam() * 10 + t, false));
    }
    std::vector<std::thread> threads;
    for (const auto& actor : actors) {
      threads.emplace_back([&driver, &actor] {
        for (int step = 0; step < 1000; ++step) {
          actor->Step();
          driver.clock().Advance(absl::Milliseconds(20));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& actor : actors) actor->Quit();
  }
  ExpectNoCorruption(driver);
  driver.ExpectQuiet();
  EXPECT_TRUE(driver.store().Trim("", 0, absl::InfiniteDuration()).ok());
  EXPECT_EQ(driver.host().usage().used_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BlockStoreModelTest,
                         ::testing::Range(uint64_t{1}, uint64_t{5}));

}  // namespace
}  // namespace banyan::engine
