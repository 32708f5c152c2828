// Goal: a call takes what belongs to it, whole and in order, and nothing once it is
// over; the table ends all calls of a lost connection, also those that come later.
// Method: news brought by hand, as UCX's thread would.
#include "client/transport/ucx_call.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/block_header.h"
#include "base/error.h"
#include "client/transport/ucx_pending.h"

namespace banyan::transport {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kSeeds[] = {11, 12, 13};

Call Soon() {
  return {.deadline = SteadyClock::now() + std::chrono::minutes(1)};
}
Call Past() { return {.deadline = SteadyClock::now() - milliseconds(1)}; }

class UcxGetCallTest : public ::testing::Test {
 protected:
  static constexpr size_t kBytes = 1000;
  static constexpr size_t kPieceBytes = 300;

  void SetUp() override { Make(); }

  void Make() {
    memory_.assign(3, std::vector<std::byte>(kBytes, std::byte{0xEE}));
    buffers_.assign(memory_.begin(), memory_.end());
    request_ = {.buffers = buffers_, .pieces = range_, .sink = sink_};
    call_ =
        std::make_unique<UcxGetCall>(request_, kSeeds, 0, 3, Verification::kOn);
  }

  static std::vector<std::byte> Payload(uint32_t ordinal) {
    std::vector<std::byte> payload(kBytes);
    for (size_t i = 0; i < kBytes; ++i) {
      payload[i] = static_cast<std::byte>(i * 7 + ordinal);
    }
    return payload;
  }

  UcxBlock Head(uint32_t ordinal) const {
    UcxBlock head{.ordinal = ordinal,
                  .payload_bytes = kBytes,
                  .piece_bytes = kPieceBytes};
    const auto payload = Payload(ordinal);
    const uint32_t end = range_.count == 0 ? 4 : range_.first + range_.count;
    for (uint32_t piece = range_.first; piece < end; ++piece) {
      head.checksums.push_back(
          PieceChecksum(kSeeds[ordinal], piece,
                        absl::MakeConstSpan(payload).subspan(
                            piece * kPieceBytes, kPieceBytes)));
    }
    return head;
  }
  void Send(uint32_t ordinal, size_t begin, size_t end) {
    const auto payload = Payload(ordinal);
    call_->OnBytes({.ordinal = ordinal, .offset = begin},
                   absl::MakeConstSpan(payload).subspan(begin, end - begin));
  }
  void SendWhole(uint32_t ordinal) {
    call_->OnBlock(Head(ordinal));
    for (size_t at = 0; at < kBytes; at += kPieceBytes) {
      Send(ordinal, at, std::min(kBytes, at + kPieceBytes));
    }
  }
  ReadResult ResultOf(uint32_t ordinal) {
    return call_->blocks()[ordinal].result;
  }

  PieceRange range_;
  PieceSink* sink_ = nullptr;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::span<std::byte>> buffers_;
  GetRequest request_;
  std::unique_ptr<UcxGetCall> call_;
};

TEST_F(UcxGetCallTest, WholeBlocksAreHits) {
  SendWhole(0);
  SendWhole(1);
  call_->OnAnswer({.blocks = 2});

  ASSERT_TRUE(call_->Wait(Soon()).ok());
  EXPECT_EQ(ResultOf(0), ReadResult::kHit);
  EXPECT_EQ(ResultOf(1), ReadResult::kHit);
  EXPECT_EQ(ResultOf(2), ReadResult::kMiss);
  EXPECT_EQ(memory_[1], Payload(1));
  EXPECT_EQ(call_->found().hit_blocks, 2u);
  EXPECT_EQ(call_->found().found_wrong(), 0u);
  EXPECT_FALSE(call_->is_left());
}

TEST_F(UcxGetCallTest, AWrongByteIsNoHit) {
  call_->OnBlock(Head(0));
  auto payload = Payload(0);
  payload[650] ^= std::byte{1};
  for (size_t at = 0; at < kBytes; at += kPieceBytes) {
    call_->OnBytes({.ordinal = 0, .offset = at},
                   absl::MakeConstSpan(payload).subspan(at, kPieceBytes));
  }
  SendWhole(1);
  call_->OnAnswer({.blocks = 2});

  ASSERT_TRUE(call_->Wait(Soon()).ok());
  EXPECT_EQ(ResultOf(0), ReadResult::kCorrupt);
  EXPECT_EQ(call_->blocks()[0].landed_pieces, 2u);
  EXPECT_EQ(call_->found().corrupt_checksum, 1u);
  EXPECT_EQ(ResultOf(1), ReadResult::kHit);
}

TEST_F(UcxGetCallTest, BlocksThatDoNotComeWholeAreNoHits) {
  call_->OnBlock(Head(0));
  Send(0, 0, 300);
  call_->OnAnswer({.blocks = 2, .damaged = {1}});

  ASSERT_TRUE(call_->Wait(Soon()).ok());
  EXPECT_EQ(ResultOf(0), ReadResult::kCorrupt);
  EXPECT_EQ(ResultOf(1), ReadResult::kCorrupt);
  EXPECT_EQ(call_->found().corrupt_length, 1u);
  EXPECT_EQ(call_->found().corrupt_server, 1u);
}

TEST_F(UcxGetCallTest, WhatIsOutOfOrderEndsTheCall) {
  const std::vector<std::function<void()>> wrongs = {
      [&] { Send(0, 0, 300); },  // Bytes of no block.
      [&] { call_->OnBlock(Head(0)), Send(0, 300, 600); },
      [&] { call_->OnBlock(Head(0)), Send(0, 0, 301); },  // Over the piece.
      [&] { call_->OnBlock(Head(0)), Send(1, 0, 300); },
      [&] { call_->OnBlock(Head(0)), Send(0, 0, 300), Send(0, 0, 300); },
      [&] { call_->OnBlock(Head(0)), Send(0, 0, 0); },
      [&] { SendWhole(0), call_->OnBlock(Head(0)); },
      [&] { SendWhole(1), call_->OnBlock(Head(0)); },
      [&] {
        UcxBlock foreign = Head(0);
        foreign.ordinal = 3;
        call_->OnBlock(foreign);
      },
      [&] {
        UcxBlock fewer = Head(0);
        fewer.checksums.pop_back();
        call_->OnBlock(fewer);
      },
      [&] {
        UcxBlock odd = Head(0);
        odd.piece_bytes = 0;
        call_->OnBlock(odd);
      },
      [&] { SendWhole(0), call_->OnAnswer({.blocks = 1, .damaged = {0}}); },
      [&] { call_->OnAnswer({.blocks = 0, .damaged = {3}}); },
      [&] { call_->OnAnswer({.blocks = 4}); }};
  for (size_t i = 0; i < wrongs.size(); ++i) {
    Make();
    wrongs[i]();

    EXPECT_EQ(ErrorReason(call_->Wait(Soon())), "PROTOCOL") << i;
    EXPECT_EQ(call_->found().broken_order, 1u) << i;
  }
}

TEST_F(UcxGetCallTest, ASmallBufferIsTheCallersError) {
  buffers_[1] = buffers_[1].first(kBytes - 1);
  call_->OnBlock(Head(1));

  EXPECT_EQ(ErrorReason(call_->Wait(Soon())), "BUFFER");
  EXPECT_TRUE(call_->is_left());
  EXPECT_EQ(memory_[1], std::vector(kBytes, std::byte{0xEE}));
}

TEST_F(UcxGetCallTest, WhatIsNoMessageIsCounted) {
  call_->OnFailure(absl::UnavailableError("gone"), UcxCall::Cause::kBroken);

  EXPECT_TRUE(absl::IsUnavailable(call_->Wait(Soon())));
  EXPECT_EQ(call_->found().broken_frame, 1u);
}

TEST_F(UcxGetCallTest, WhatIsLateIsDropped) {
  call_->OnBlock(Head(0));
  Send(0, 0, 300);
  EXPECT_TRUE(absl::IsDeadlineExceeded(call_->Wait(Past())));
  const auto before = memory_;

  Send(0, 300, 600);
  SendWhole(1);
  call_->OnAnswer({.blocks = 3});

  EXPECT_TRUE(call_->is_left());
  EXPECT_EQ(memory_, before);
  EXPECT_EQ(ResultOf(1), ReadResult::kMiss);
}

// Who leaves in the middle of a copy waits for its end, or its last bytes would come
// when the buffer is somebody else's.
TEST_F(UcxGetCallTest, ACallThatIsLeftWritesNothingAfterwards) {
  constexpr size_t kMuch = 64
                           << 20;  // Takes longer than a turn of a processor.
  constexpr int kMidway = 5;
  const std::vector<std::byte> part(kMuch, std::byte{7});
  std::vector<std::byte> memory(kMuch);
  const std::vector<std::span<std::byte>> buffers = {memory};
  request_ = {.buffers = buffers};
  const UcxBlock head{.payload_bytes = kMuch,
                      .piece_bytes = kMuch,
                      .checksums = {Checksum128()}};
  int midway = 0;
  for (int round = 0; midway < kMidway; ++round) {
    ASSERT_LT(round, 1000) << midway << " times in the middle";
    memory.front() = memory.back() = std::byte{0};
    UcxGetCall call(request_, kSeeds, 0, 1, Verification::kOn);
    call.OnBlock(head);
    std::atomic<bool> has_begun{false};
    std::thread ucx([&] {
      has_begun = true;
      call.OnBytes({}, part);
    });
    while (!has_begun) std::this_thread::yield();
    for (int i = 0; i < round % 16; ++i) std::this_thread::yield();

    EXPECT_TRUE(absl::IsDeadlineExceeded(call.Wait(Past())));

    memory.back() = std::byte{0xEE};
    ucx.join();
    ASSERT_EQ(memory.back(), std::byte{0xEE}) << "round " << round;
    if (memory.front() == std::byte{7}) ++midway;
  }
}

TEST_F(UcxGetCallTest, ARangeOfPiecesLandsWhereItBelongs) {
  range_ = {.first = 1, .count = 2};
  Make();
  call_->OnBlock(Head(2));
  Send(2, 300, 600);
  Send(2, 600, 900);
  call_->OnAnswer({.blocks = 0});

  ASSERT_TRUE(call_->Wait(Soon()).ok());
  EXPECT_EQ(ResultOf(2), ReadResult::kHit);
  EXPECT_EQ(call_->blocks()[2].landed_pieces, 2u);
  EXPECT_EQ(memory_[2][299], std::byte{0xEE});
  EXPECT_EQ(memory_[2][300], Payload(2)[300]);
  EXPECT_EQ(memory_[2][900], std::byte{0xEE});
}

TEST(UcxCallTest, WaitEndsWithTheAnswerOrTheCaller) {
  UcxCall answered;
  std::thread other([&] { answered.OnAnswer({.blocks = 7}); });
  EXPECT_TRUE(answered.Wait(Soon()).ok());
  other.join();
  EXPECT_EQ(answered.answer().blocks, 7u);

  UcxCall cancelled;
  std::stop_source cancel;
  std::thread canceller([&] { cancel.request_stop(); });
  EXPECT_TRUE(absl::IsCancelled(
      cancelled.Wait({.deadline = SteadyClock::now() + std::chrono::hours(1),
                      .cancel = cancel.get_token()})));
  canceller.join();
  EXPECT_TRUE(cancelled.is_left());

  UcxCall odd;
  odd.OnBlock({});
  EXPECT_EQ(ErrorReason(odd.Wait(Soon())), "PROTOCOL");
}

TEST(UcxPendingTest, IdsAreUsedOnce) {
  UcxPending pending;
  const auto call = std::make_shared<UcxCall>();
  const uint64_t first = *pending.Add(call);
  EXPECT_GT(first, 0u);
  EXPECT_EQ(pending.Find(first), call);

  pending.Remove(first);

  EXPECT_EQ(pending.Find(first), nullptr);
  EXPECT_NE(*pending.Add(call), first);
  EXPECT_EQ(pending.size(), 1u);
}

TEST(UcxPendingTest, ALostConnectionEndsAllCalls) {
  UcxPending pending;
  const auto call = std::make_shared<UcxCall>();
  ASSERT_TRUE(pending.Add(call).ok());

  pending.FailAll(absl::UnavailableError("gone"), UcxCall::Cause::kLost);

  EXPECT_TRUE(absl::IsUnavailable(call->Wait(Soon())));
  EXPECT_TRUE(
      absl::IsUnavailable(pending.Add(std::make_shared<UcxCall>()).status()));
}

}  // namespace
}  // namespace banyan::transport
