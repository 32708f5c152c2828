// Damage in host memory is never served: every kind of corruption of payloads
// and headers is injected with ground truth, and each must be caught under the
// expected reason.
//
// Method: a small tier of small self-describing blocks. A seeded injector
// damages one block (or two, for swaps), reads it as a client would, compares
// the outcome with what must happen, and repairs the damage. Payload bytes are
// and headers are reached through the friend HostTierPeer; the product has no
// hook for either.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/host_tier_peer.h"
#include "tests/testing/self_describing.h"
#include "tiers/host/host_tier.h"

namespace banyan::tiers {

namespace {

using testing::IdNo;
using testing::ReadNo;
using testing::StoreNo;

constexpr uint64_t kBlocks = 64;
constexpr uint64_t kSeed = 20240229;
constexpr int kInjectionsPerKind = 12000;

uint64_t SizeNo(uint64_t n) { return 600 + n * 97 % 9000; }

class HostCorruptionTest : public ::testing::Test {
 protected:
  HostCorruptionTest() {
    auto tier = HostTier::Open({.capacity_bytes = 4 * kMiB, .prefault = false});
    EXPECT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
    peer_.emplace(*tier_);
    for (uint64_t n = 0; n < kBlocks; ++n) {
      const uint64_t piece_bytes = n % 3 == 0 ? 0 : SizeNo(n) / 4 + 1;
      EXPECT_TRUE(StoreNo(*tier_, n, SizeNo(n), piece_bytes).ok());
    }
  }

  uint64_t Draw(uint64_t end) { return random_() % end; }

  // Reads block n, which is damaged: it must fail with this reason.
  void ExpectCaught(uint64_t n, const std::string& reason) {
    const absl::Status status = ReadNo(*tier_, n, SizeNo(n));
    ++outcomes_[status.ok() ? "SERVED" : ErrorReason(status)];
    ASSERT_TRUE(absl::IsDataLoss(status)) << "block " << n << ": " << status;
    ASSERT_EQ(ErrorReason(status), reason) << "block " << n << ": " << status;
    ASSERT_FALSE(tier_->IsPinned(IdNo(n)));
  }

  void ExpectIntact(uint64_t n) {
    const absl::Status status = ReadNo(*tier_, n, SizeNo(n));
    ASSERT_TRUE(status.ok()) << "block " << n << ": " << status;
  }

  // Damages the payload of a random block `count` times and repairs it.
  template <typename Damage>
  void RunOnPayloads(int count, Damage damage) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) {
      const uint64_t n = Draw(kBlocks);
      const auto payload = peer_->Payload(IdNo(n));
      const std::vector<std::byte> intact(payload.begin(), payload.end());
      damage(payload);
      // A damage that changes nothing is no damage.
      if (std::equal(intact.begin(), intact.end(), payload.begin())) continue;
      ExpectCaught(n, "CHECKSUM");
      std::copy(intact.begin(), intact.end(), payload.begin());
    }
  }

  template <typename Damage>
  void RunOnHeaders(int count, Damage damage) {
    for (int i = 0; i < count && !HasFatalFailure(); ++i) {
      const uint64_t n = Draw(kBlocks);
      std::vector<std::byte>& header = peer_->Header(IdNo(n));
      const std::vector<std::byte> intact = header;
      damage(header);
      if (header == intact) continue;
      ExpectCaught(n, "HEADER");
      header = intact;
    }
  }

  void TearDown() override {
    // All damage was repaired, so what was caught was the damage.
    for (uint64_t n = 0; n < kBlocks && !HasFatalFailure(); ++n) {
      ExpectIntact(n);
    }
    for (const auto& [reason, count] : outcomes_) {
      RecordProperty(reason, count);
    }
    EXPECT_EQ(outcomes_["SERVED"], 0);
  }

  std::unique_ptr<HostTier> tier_;
  std::optional<HostTierPeer> peer_;
  std::mt19937_64 random_{kSeed};
  std::map<std::string, int> outcomes_;
};

TEST_F(HostCorruptionTest, BitFlipInAPayloadIsCaught) {
  RunOnPayloads(2 * kInjectionsPerKind, [&](absl::Span<std::byte> payload) {
    payload[Draw(payload.size())] ^= std::byte{1} << Draw(8);
  });
  EXPECT_EQ(outcomes_["CHECKSUM"], 2 * kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, SeveralBitFlipsInAPayloadAreCaught) {
  RunOnPayloads(kInjectionsPerKind, [&](absl::Span<std::byte> payload) {
    for (uint64_t flips = 2 + Draw(30); flips > 0; --flips) {
      payload[Draw(payload.size())] ^= std::byte{1} << Draw(8);
    }
  });
  EXPECT_GT(outcomes_["CHECKSUM"], kInjectionsPerKind * 9 / 10);
}

TEST_F(HostCorruptionTest, ZeroedRangeInAPayloadIsCaught) {
  RunOnPayloads(kInjectionsPerKind, [&](absl::Span<std::byte> payload) {
    const size_t bytes = Draw(2) == 0 ? 512 : 4096;
    const size_t at = Draw(payload.size()) / 512 * 512;
    const auto range = payload.subspan(at, bytes);
    std::memset(range.data(), 0, range.size());
  });
  EXPECT_GT(outcomes_["CHECKSUM"], kInjectionsPerKind * 9 / 10);
}

TEST_F(HostCorruptionTest, BytesOfAnotherPlaceInTheSamePayloadAreCaught) {
  RunOnPayloads(kInjectionsPerKind, [&](absl::Span<std::byte> payload) {
    const size_t bytes = payload.size() / 4;
    std::memmove(payload.data(), payload.data() + 1 + Draw(2 * bytes), bytes);
  });
  EXPECT_EQ(outcomes_["CHECKSUM"], kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, SwappedPayloadsAreCaughtOnBothSides) {
  for (int i = 0; i < kInjectionsPerKind / 2 && !HasFatalFailure(); ++i) {
    const uint64_t a = Draw(kBlocks);
    const uint64_t b = (a + 1 + Draw(kBlocks - 1)) % kBlocks;
    const auto one = peer_->Payload(IdNo(a));
    const auto other = peer_->Payload(IdNo(b));
    const size_t bytes = std::min(one.size(), other.size());
    const auto swap = [&] {
      std::swap_ranges(one.begin(), one.begin() + bytes, other.begin());
    };
    swap();
    ExpectCaught(a, "CHECKSUM");
    ExpectCaught(b, "CHECKSUM");
    swap();
  }
  EXPECT_EQ(outcomes_["CHECKSUM"], kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, BitFlipInAHeaderIsCaught) {
  RunOnHeaders(2 * kInjectionsPerKind, [&](std::vector<std::byte>& header) {
    header[Draw(header.size())] ^= std::byte{1} << Draw(8);
  });
  EXPECT_EQ(outcomes_["HEADER"], 2 * kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, TruncatedOrExtendedHeaderIsCaught) {
  RunOnHeaders(kInjectionsPerKind, [&](std::vector<std::byte>& header) {
    header.resize(Draw(2) == 0 ? Draw(header.size())
                               : header.size() + 1 + Draw(64));
  });
  EXPECT_EQ(outcomes_["HEADER"], kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, ZeroedRangeInAHeaderIsCaught) {
  RunOnHeaders(kInjectionsPerKind, [&](std::vector<std::byte>& header) {
    const size_t at = Draw(header.size());
    const size_t bytes = std::min(header.size() - at, 1 + Draw(512));
    std::memset(&header[at], 0, bytes);
  });
  EXPECT_GT(outcomes_["HEADER"], kInjectionsPerKind * 3 / 4);
}

TEST_F(HostCorruptionTest, SwappedHeadersAreCaughtOnBothSides) {
  for (int i = 0; i < kInjectionsPerKind / 2 && !HasFatalFailure(); ++i) {
    const uint64_t a = Draw(kBlocks);
    const uint64_t b = (a + 1 + Draw(kBlocks - 1)) % kBlocks;
    std::swap(peer_->Header(IdNo(a)), peer_->Header(IdNo(b)));
    ExpectCaught(a, "IDENTITY");
    ExpectCaught(b, "IDENTITY");
    std::swap(peer_->Header(IdNo(a)), peer_->Header(IdNo(b)));
  }
  EXPECT_EQ(outcomes_["IDENTITY"], kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, HeaderOfAnEarlierGenerationIsCaught) {
  for (int i = 0; i < kInjectionsPerKind && !HasFatalFailure(); ++i) {
    const uint64_t n = Draw(kBlocks);
    const std::vector<std::byte> stale = peer_->Header(IdNo(n));
    tier_->Erase(IdNo(n));
    ASSERT_TRUE(StoreNo(*tier_, n, SizeNo(n)).ok());
    const std::vector<std::byte> intact = peer_->Header(IdNo(n));

    peer_->Header(IdNo(n)) = stale;
    ExpectCaught(n, "GENERATION");
    peer_->Header(IdNo(n)) = intact;
  }
  EXPECT_EQ(outcomes_["GENERATION"], kInjectionsPerKind);
}

TEST_F(HostCorruptionTest, WrongLengthInTheRecordIsCaught) {
  for (uint64_t n = 0; n < kBlocks && !HasFatalFailure(); ++n) {
    uint64_t& payload_bytes = peer_->PayloadBytes(IdNo(n));
    payload_bytes ^= 16;
    ExpectCaught(n, "HEADER");
    payload_bytes ^= 16;
  }
  EXPECT_EQ(outcomes_["HEADER"], static_cast<int>(kBlocks));
}

// Moving restamps a header; it must not make a damaged one look intact.
TEST_F(HostCorruptionTest, DamageStaysCaughtAfterTheBlockWasMoved) {
  const auto tier = *HostTier::Open(
      {.capacity_bytes = kMiB, .prefault = false, .huge_pages = false});
  HostTierPeer peer(*tier);
  uint64_t count = 0;
  while (StoreNo(*tier, count, 4096).ok()) ++count;
  for (uint64_t n = 0; n < count; ++n) {
    if (n % 16 > 3) tier->Erase(IdNo(n));
  }
  std::vector<std::byte> other_header = peer.Header(IdNo(0));
  for (uint64_t n = 0; n < count; n += 16) {
    peer.Payload(IdNo(n))[100] ^= std::byte{4};
    peer.Header(IdNo(n + 1))[80] ^= std::byte{4};
    std::swap(peer.Header(IdNo(n + 2)), other_header);
    BlockHeader stale = *ParseBlockHeader(peer.Header(IdNo(n + 3)));
    stale.generation += uint64_t{1} << 40;
    peer.Header(IdNo(n + 3)) = SerializeBlockHeader(stale);
  }

  ASSERT_TRUE(tier->Stage(600 * kKiB).ok());

  ASSERT_GT(tier->moved_bytes(), 0u);
  for (uint64_t n = 0; n < count; n += 16) {
    EXPECT_EQ(ErrorReason(ReadNo(*tier, n, 4096)), "CHECKSUM");
    EXPECT_EQ(ErrorReason(ReadNo(*tier, n + 1, 4096)), "HEADER");
    EXPECT_EQ(ErrorReason(ReadNo(*tier, n + 2, 4096)), "IDENTITY");
    EXPECT_EQ(ErrorReason(ReadNo(*tier, n + 3, 4096)), "GENERATION");
  }
}

}  // namespace
}  // namespace banyan::tiers
