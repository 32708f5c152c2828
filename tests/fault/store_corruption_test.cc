// Damage in host memory as the engine meets it: not served, dropped, and
// counted under the right reason of banyan_corruption_detected_total.
//
// Method: blocks of a StoreDriver are damaged through HostTierPeer, read as the
// service reads them (pin; each piece verified; ReportCorrupt for what is not),
// and stored again. Among the damages is the stale slot: the bytes that the
// slot held for its earlier block, as after a write that was lost. A damage
// that changes nothing is no injection.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/testing/host_tier_peer.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

using testing::ChainKeys;
using testing::StoreDriver;

constexpr uint32_t kBlocks = 16;
constexpr uint64_t kBytes = 2000;
constexpr uint64_t kPiece = 700;
constexpr int kInjections = testing::Repetitions(4000);  // Of each kind.
constexpr uint64_t kSeed = 20240302;

constexpr const char* kReasons[] = {"checksum", "header", "identity",
                                    "generation"};

class StoreCorruptionTest : public ::testing::Test {
 protected:
  StoreCorruptionTest() : driver_(StoreDriver::Options()) {
    session_ = driver_.OpenSession("writer");
    PutAll();
  }

  void TearDown() override {
    for (const auto& [reason, count] : expected_) {
      EXPECT_EQ(Count(reason), count) << reason;
      RecordProperty(reason, static_cast<int>(count));
    }
    driver_.store().EndSession(session_);
    driver_.ExpectQuiet();
  }

  uint64_t Draw(uint64_t end) { return random_() % end; }

  Target All() const { return driver_.On(keys_); }
  BlockId IdOf(uint32_t i) const { return driver_.ns().unsalted(KeyOf(i)); }
  absl::string_view KeyOf(uint32_t i) const { return All().run.key(i); }

  void PutAll() {
    const auto put = driver_.Put(session_, All(), kBytes, kPiece);
    ASSERT_TRUE(put.ok()) << put.status();
  }

  uint64_t Count(const std::string& reason) const {
    return driver_.Gauge(absl::StrCat(
        "banyan_corruption_detected_total{where=\"", reason, "\"}"));
  }

  // Reads all blocks as the service does; how many were served whole.
  uint32_t ReadAll() {
    const auto pins = driver_.store().Read(All(), AcquireMode::kEach);
    EXPECT_TRUE(pins.ok()) << pins.status();
    uint32_t served = 0;
    for (const lease::PinnedBlock& block : **pins) {
      served += ReadOne(block) ? 1 : 0;
    }
    return served;
  }

  bool ReadOne(const lease::PinnedBlock& block) {
    const BlockHeader& header = block.pin->header();
    for (uint32_t piece = 0; piece < header.piece_count(); ++piece) {
      const auto bytes = block.pin->ReadPiece(piece);
      if (!bytes.ok()) {
        driver_.store().ReportCorrupt(block.id, bytes.status());
        return false;
      }
      const auto truth = StoreDriver::Payload(All(), block.ordinal, kBytes);
      EXPECT_TRUE(std::equal(
          bytes->bytes().begin(), bytes->bytes().end(),
          truth.begin() + static_cast<ptrdiff_t>(header.PieceOffset(piece))))
          << "wrong bytes served";
    }
    return true;
  }

  // Block i is damaged: the next read drops it and what hangs below it, and
  // counts it once under this reason; then it can be stored again.
  void ExpectCaught(uint32_t i, const std::string& reason) {
    ++expected_[reason];
    // Below the damaged block, what was pinned already may still be read.
    ASSERT_LT(ReadAll(), kBlocks);
    for (const char* other : kReasons) {
      ASSERT_EQ(Count(other), expected_[other])
          << "block " << i << " as " << other;
    }
    const auto exists = driver_.store().Exists(All());
    ASSERT_TRUE(exists.ok());
    for (uint32_t b = 0; b < kBlocks; ++b) {
      ASSERT_EQ((*exists)[b], b < i) << "block " << b;
    }
    PutAll();
    ASSERT_EQ(ReadAll(), kBlocks);
  }

  StoreDriver driver_;
  tiers::HostTierPeer peer_{driver_.host()};
  const std::string keys_ = ChainKeys(1, 0, kBlocks);
  std::string session_;
  std::mt19937_64 random_{kSeed};
  std::map<std::string, uint64_t> expected_;
};

TEST_F(StoreCorruptionTest, DamagedPayloadsAreCountedAsChecksum) {
  for (int n = 0; n < kInjections && !HasFatalFailure(); ++n) {
    const auto i = static_cast<uint32_t>(Draw(kBlocks));
    peer_.Payload(IdOf(i))[Draw(kBytes)] ^= std::byte{1} << Draw(8);
    ExpectCaught(i, "checksum");
  }
}

TEST_F(StoreCorruptionTest, DamagedHeadersAreCountedAsHeader) {
  for (int n = 0; n < kInjections && !HasFatalFailure(); ++n) {
    const auto i = static_cast<uint32_t>(Draw(kBlocks));
    std::vector<std::byte>& header = peer_.Header(IdOf(i));
    if (Draw(2) == 0) {
      header[Draw(header.size())] ^= std::byte{1} << Draw(8);
    } else {
      header.resize(Draw(header.size()));
    }
    ExpectCaught(i, "header");
  }
}

TEST_F(StoreCorruptionTest, AHeaderOfAnotherBlockIsCountedAsIdentity) {
  for (int n = 0; n < kInjections && !HasFatalFailure(); ++n) {
    const auto i = static_cast<uint32_t>(Draw(kBlocks));
    const auto other =
        static_cast<uint32_t>((i + 1 + Draw(kBlocks - 1)) % kBlocks);
    peer_.Header(IdOf(i)) = peer_.Header(IdOf(other));
    ExpectCaught(i, "identity");
  }
}

TEST_F(StoreCorruptionTest, AHeaderOfAnEarlierLifeIsCountedAsGeneration) {
  for (int n = 0; n < kInjections && !HasFatalFailure(); ++n) {
    const auto i = static_cast<uint32_t>(Draw(kBlocks));
    const std::vector<std::byte> stale = peer_.Header(IdOf(i));
    const BlockKey key = *BlockKey::FromBytes(KeyOf(i));
    ASSERT_TRUE(driver_.store().Delete("first", "", {key}).ok());
    PutAll();
    ASSERT_NE(peer_.Header(IdOf(i)), stale);
    peer_.Header(IdOf(i)) = stale;
    ExpectCaught(i, "generation");
  }
}

// The slot keeps what it held before its present block was written. Each block
// is of another salt than the one before it, so that its bytes differ.
TEST_F(StoreCorruptionTest, AStaleSlotIsCountedAsChecksum) {
  std::map<const std::byte*, std::vector<std::byte>> earlier;
  int same_slot = 0;
  for (int n = 0; n < kInjections && !HasFatalFailure(); ++n) {
    const auto i = static_cast<uint32_t>(Draw(kBlocks));
    const BlockKey key = *BlockKey::FromBytes(KeyOf(0));
    // Another chain takes the slots, leaves its bytes there, and goes.
    ASSERT_TRUE(driver_.store().Delete("first", "", {key}).ok());
    const std::string other = ChainKeys(2, static_cast<uint32_t>(n), kBlocks);
    ASSERT_TRUE(driver_.Put(session_, driver_.On(other), kBytes, kPiece).ok());
    earlier.clear();
    for (uint32_t b = 0; b < kBlocks; ++b) {
      const auto bytes =
          peer_.Payload(driver_.ns().unsalted(driver_.On(other).run.key(b)));
      earlier[bytes.data()] = {bytes.begin(), bytes.end()};
    }
    const BlockKey root = *BlockKey::FromBytes(driver_.On(other).run.key(0));
    ASSERT_TRUE(driver_.store().Delete("first", "", {root}).ok());
    PutAll();
    const auto payload = peer_.Payload(IdOf(i));
    const auto found = earlier.find(payload.data());
    if (found == earlier.end()) continue;
    ++same_slot;
    std::copy(found->second.begin(), found->second.end(), payload.begin());
    ExpectCaught(i, "checksum");
  }
  EXPECT_GT(same_slot, kInjections / 2) << "slots are used again";
}

}  // namespace
}  // namespace banyan::engine
