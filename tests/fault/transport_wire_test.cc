// Goal: whatever the way between a client and a node does, for every transport:
// no wrong byte is accepted or stored, a call ends by its deadline, nothing is
// written to its buffers afterwards, each block that is no hit has its reason, and
// the session is of use again once the wire is whole.
// Method: the transports of the contract suite, each through a relay that is late,
// cuts, flips, shortens, swaps or refuses, seeded (tests/testing/faulty_wires.h).
// Blocks of many sizes and pieces describe themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "base/error.h"
#include "client/transport/ucx_messages.h"
#include "tests/integration/reached.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/faulty_wires.h"
#include "tests/testing/repetitions.h"

namespace banyan {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using testing::Getting;
using testing::Reached;
using testing::WireFault;

constexpr size_t kBlocks = 6;
// Of each fault.
constexpr int kFaults = testing::Repetitions(40);
constexpr milliseconds kShortTimeout{60};
// Most calls are no later than this, on machines that are busy, and none is very late;
// R14 of tests/bench measures it.
constexpr milliseconds kLateMax{250};
constexpr std::chrono::seconds kVeryLate{5};

struct Chain {
  std::string keys;
  uint64_t bytes = 0;
  uint64_t piece_bytes = 0;
};

class TransportWireTest : public ::testing::TestWithParam<testing::WireCase> {
 protected:
  void SetUp() override {
    reached_ = std::make_unique<Reached>(node_.endpoint());
    wire_ = GetParam().make(reached_->peer(), faults_);
    reached_->Use(wire_->Connect());
    for (const uint64_t bytes : std::initializer_list<uint64_t>{
             1, 700, 20000, transport::kUcxBodyBytesMax,
             transport::kUcxBodyBytesMax + 1, 1300 * kKiB + 13}) {
      for (const uint64_t piece_bytes : {uint64_t{0}, bytes / 3 + 1}) {
        chains_.push_back(NewChain(bytes, piece_bytes));
        ASSERT_TRUE(Put(chains_.back()).ok());
      }
    }
  }

  // The wire is whole again: all is there, and nothing is left behind.
  void TearDown() override {
    faults_.Clear();
    for (const Chain& chain : chains_) {
      EXPECT_TRUE(testing::PollUntil([&] { return ReadsAll(chain); }));
    }
    for (Late& late : late_) EXPECT_TRUE(late.IsUntouched());
    EXPECT_EQ(wrong_, 0) << "of " << hits_ << " hits";
    EXPECT_GE(in_time_, gets_ * 9 / 10) << "in time, of " << gets_;
    reached_ = nullptr;
    EXPECT_TRUE(testing::PollUntil([&] {
      const tiers::TierUsage usage = node_.host().usage();
      return usage.pinned_bytes == 0 && usage.staged_bytes == 0;
    })) << "pinned "
        << node_.host().usage().pinned_bytes << ", staged "
        << node_.host().usage().staged_bytes;
    RecordProperty("gets", gets_);
    RecordProperty("hits", hits_);
  }

  Chain NewChain(uint64_t bytes, uint64_t piece_bytes) {
    return {.keys = testing::ChainKeys(absl::StrCat("wire", ++last_chain_),
                                       kBlocks),
            .bytes = bytes,
            .piece_bytes = piece_bytes};
  }
  const Chain& SomeChain() { return chains_[random_() % chains_.size()]; }

  // A connection that was lost stays so: its client makes another.
  void ReconnectIfLost() {
    if (!reached_->transport().is_alive()) reached_->Use(wire_->Connect());
  }
  absl::Status Put(const Chain& chain) {
    ReconnectIfLost();
    return reached_->Put(chain.keys, chain.bytes, chain.piece_bytes);
  }
  bool ReadsAll(const Chain& chain) {
    ReconnectIfLost();
    Getting reading(*reached_, chain.keys, chain.bytes);
    return reading.Get().ok() && CountRight(reading) == kBlocks;
  }

  size_t CountRight(const Getting& reading) {
    size_t right = 0;
    for (size_t i = 0; i < kBlocks; ++i) {
      if (!reading.IsHit(i)) continue;
      ++hits_;
      if (reading.IsRight(i)) {
        ++right;
      } else {
        ++wrong_;
      }
    }
    return right;
  }

  // One get over the wire as it is.
  absl::Status Get() {
    ReconnectIfLost();
    const Chain& chain = SomeChain();
    Getting reading(*reached_, chain.keys, chain.bytes);
    const auto start = SteadyClock::now();
    absl::Status status = reading.Get({.deadline = start + timeout_});
    const auto took = SteadyClock::now() - start;
    ++gets_;
    if (took <= timeout_ + kLateMax) ++in_time_;
    EXPECT_LE(took, timeout_ + kVeryLate);
    const size_t right = CountRight(reading);
    const ClientStats& found = reading.result.found;
    found_ += found;
    // All of them are stored: what is no hit was found wrong, or is the error's.
    if (status.ok()) {
      EXPECT_EQ(right + found.found_wrong(), kBlocks);
    }
    if (absl::IsInternal(status)) {
      EXPECT_GT(found.found_wrong(), 0u) << status;
    }
    if (!status.ok()) late_.emplace_back(std::move(reading));
    return status;
  }

  // Gets until the fault has come so often; what they ended with.
  std::vector<absl::Status> GetsWith(WireFault fault, double chance) {
    faults_.Set(fault, chance);
    std::vector<absl::Status> statuses;
    const auto end = SteadyClock::now() + std::chrono::minutes(1);
    while (faults_.count(fault) < kFaults && !HasFailure()) {
      EXPECT_LT(SteadyClock::now(), end)
          << faults_.count(fault) << " faults in " << gets_ << " gets";
      statuses.push_back(Get());
    }
    return statuses;
  }
  static int Count(const std::vector<absl::Status>& statuses,
                   bool (*is_one)(const absl::Status&)) {
    return static_cast<int>(
        std::count_if(statuses.begin(), statuses.end(), is_one));
  }

  // The buffers of a call that ended early, as they were then.
  class Late {
   public:
    explicit Late(Getting reading) : reading_(std::move(reading)) {
      for (size_t i = 0; i < kBlocks; ++i) then_.push_back(reading_.bytes(i));
    }
    bool IsUntouched() {
      for (size_t i = 0; i < kBlocks; ++i) {
        if (reading_.bytes(i) != then_[i]) return false;
      }
      return true;
    }

   private:
    Getting reading_;
    std::vector<std::vector<std::byte>> then_;
  };

  std::mt19937_64 random_{20261130};
  testing::WireFaults faults_{20261201};
  // Room for writes that break, too, until the session ends.
  testing::BareNode node_{{.capacity_bytes = 512 * kMiB}};
  std::unique_ptr<testing::FaultyWire> wire_;
  std::unique_ptr<Reached> reached_;  // After the wire, which it uses.
  std::vector<Chain> chains_;
  std::vector<Late> late_;
  milliseconds timeout_ = testing::kPlenty;
  ClientStats found_;
  int last_chain_ = 0;
  int gets_ = 0;
  int in_time_ = 0;
  int hits_ = 0;
  int wrong_ = 0;
};

TEST_P(TransportWireTest, FlippedBitsAreFound) {
  GetsWith(WireFault::kFlip, 0.2);

  EXPECT_GT(found_.corrupt_checksum, kFaults / 4u);
  EXPECT_GT(found_.hit_blocks, 0u);
}

TEST_P(TransportWireTest, BytesThatAreMissingAreFound) {
  GetsWith(WireFault::kShort, 0.1);

  EXPECT_GT(found_.found_wrong(), kFaults / 4u);
  EXPECT_GT(found_.hit_blocks, 0u);
}

TEST_P(TransportWireTest, BytesOfAnotherPlaceAreFound) {
  GetsWith(WireFault::kSwap, 0.3);

  EXPECT_GT(found_.corrupt_checksum, kFaults / 4u);
  EXPECT_GT(found_.hit_blocks, 0u);
}

TEST_P(TransportWireTest, AnErrorIsToldAndNothingElse) {
  const auto statuses = GetsWith(WireFault::kError, 0.5);

  const bool is_grpc = reached_->transport().name() == "grpc";
  const int told =
      Count(statuses, is_grpc ? absl::IsNotFound : absl::IsResourceExhausted);
  EXPECT_EQ(told, faults_.count(WireFault::kError));
  EXPECT_EQ(
      Count(statuses, [](const absl::Status& status) { return status.ok(); }) +
          told,
      gets_);
  EXPECT_EQ(found_.found_wrong(), 0u);
}

TEST_P(TransportWireTest, ACutIsToldAtOnce) {
  const auto statuses = GetsWith(WireFault::kCut, 0.02);

  EXPECT_GT(Count(statuses, absl::IsUnavailable), kFaults / 4);
  EXPECT_EQ(Count(statuses, absl::IsDeadlineExceeded), 0);
}

TEST_P(TransportWireTest, WhatIsLateIsDropped) {
  timeout_ = kShortTimeout;
  faults_.SetLateMax(absl::FromChrono(2 * timeout_));
  const auto statuses = GetsWith(WireFault::kLate, 0.3);

  EXPECT_GT(Count(statuses, absl::IsDeadlineExceeded), kFaults / 8);
}

TEST_P(TransportWireTest, WritesThatBreakStoreNothingWrong) {
  faults_.Set(WireFault::kFlip, 0.1);
  faults_.Set(WireFault::kShort, 0.1);
  std::vector<Chain> whole;
  std::vector<Chain> broken;
  const auto end = SteadyClock::now() + std::chrono::minutes(1);
  while ((whole.empty() || broken.size() < kFaults / 4) && !HasFailure()) {
    ASSERT_LT(SteadyClock::now(), end)
        << whole.size() << " went well, " << broken.size() << " did not";
    const Chain& like = SomeChain();
    const Chain chain = NewChain(like.bytes, like.piece_bytes);
    (Put(chain).ok() ? whole : broken).push_back(chain);
  }
  faults_.Clear();

  for (const Chain& chain : whole) EXPECT_TRUE(ReadsAll(chain));
  for (const Chain& chain : broken) EXPECT_FALSE(ReadsAll(chain));
}

TEST_P(TransportWireTest, AllAtOnceLetNoWrongByteThrough) {
  timeout_ = kShortTimeout;
  faults_.SetLateMax(absl::FromChrono(timeout_));
  faults_.Set(WireFault::kCut, 0.01);
  faults_.Set(WireFault::kLate, 0.01);
  for (const WireFault fault : {WireFault::kFlip, WireFault::kShort,
                                WireFault::kSwap, WireFault::kError}) {
    faults_.Set(fault, 0.03);
  }
  const auto all_came = [&] {
    return std::all_of(
        testing::kWireFaults.begin(), testing::kWireFaults.end(),
        [&](WireFault fault) { return faults_.count(fault) > 0; });
  };
  const auto end = SteadyClock::now() + std::chrono::minutes(1);
  for (int i = 0; (i < 4 * kFaults || !all_came()) && !HasFailure(); ++i) {
    ASSERT_LT(SteadyClock::now(), end);
    Get().IgnoreError();
    if (i % 8 != 0) continue;
    const Chain& like = SomeChain();
    Put(NewChain(like.bytes, like.piece_bytes)).IgnoreError();
  }
  EXPECT_GT(hits_, 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, TransportWireTest, ::testing::ValuesIn(testing::AllWires()),
    [](const ::testing::TestParamInfo<testing::WireCase>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace banyan
