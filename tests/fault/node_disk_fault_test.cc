// Goal: when the disk of a node fails, fills up, slows down or hangs, the client
// keeps what is in memory and everything that was durable; an operator sees a
// counter in Stats, and in tier describe and the log a message that says what
// to do.
// Method: a whole node on a FaultDisk, struck by one fault; calls over gRPC. All
// bytes are compared with what was written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>

#include "base/error.h"
#include "tests/integration/node.h"
#include "tests/testing/fault_node.h"
#include "tests/testing/poll.h"

namespace banyan {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using testing::DiskFault;
using testing::FaultNode;
using ::testing::HasSubstr;

constexpr size_t kBlocks = 8;  // Of a chain.
constexpr size_t kBytes = 64 * kKiB;
constexpr int kDurableChains = 8;
constexpr int kColdChains = 8;
constexpr int kFillChains = 40;  // 20 MiB, more than memory holds.

// Far above what a call takes, also on a busy machine.
constexpr absl::Duration kTimeout = absl::Seconds(1);

constexpr char kWriteEio[] =
    R"(banyan_disk_errors_total{op="write",errno="EIO"})";
constexpr char kDurableRefused[] = "banyan_durable_refused_total";

std::string StateGauge(const std::string& state) {
  return absl::StrCat("banyan_tier_state{tier=\"ssd\",state=\"", state, "\"}");
}

class NodeDiskFaultTest : public ::testing::Test {
 protected:
  NodeDiskFaultTest() {
    // Both are on disk, and then pushed out of memory; the faults meet reads
    // of the cold ones.
    for (int i = 0; i < kDurableChains; ++i) {
      EXPECT_EQ(Put(absl::StrCat("durable", i), Durability::kDurable),
                absl::OkStatus());
      EXPECT_EQ(Put(absl::StrCat("cold", i), Durability::kDurable),
                absl::OkStatus());
    }
    for (int i = 0; i < kFillChains; ++i) {
      EXPECT_EQ(Put(absl::StrCat("fill", i)), absl::OkStatus());
    }
    EXPECT_EQ(Put("hot"), absl::OkStatus());
    EXPECT_EQ(Get("hot"), kBlocks);
    EXPECT_EQ(node_->SsdState(), "ok");
  }

  absl::Status Put(const std::string& name,
                   Durability durability = Durability::kMemory) {
    const std::string keys = testing::ChainKeys(name, kBlocks);
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < kBlocks; ++i) {
      payloads.push_back(testing::PayloadOf("fault", keys, i, kBytes));
    }
    const Completion done = node_->client().Put(
        node_->namespace_id(), {.keys = keys}, 0,
        {payloads.begin(), payloads.end()}, {.durability = durability});
    if (!done.status.ok()) return done.status;
    for (const WriteResult result : done.writes) {
      if (result != WriteResult::kCommitted && result != WriteResult::kExists) {
        return absl::ResourceExhaustedError("not all blocks were taken");
      }
    }
    return absl::OkStatus();
  }

  // Leading blocks that are there, all compared. Errors of the call fail.
  size_t Get(const std::string& name) {
    const std::string keys = testing::ChainKeys(name, kBlocks);
    std::vector<std::byte> bytes(kBlocks * kBytes);
    std::vector<std::span<std::byte>> buffers;
    for (size_t i = 0; i < kBlocks; ++i) {
      buffers.push_back(std::span(bytes).subspan(i * kBytes, kBytes));
    }
    const Completion done =
        node_->client().Get(node_->namespace_id(), {.keys = keys}, 0, buffers);
    EXPECT_EQ(done.status, absl::OkStatus());
    for (size_t i = 0; i < done.hit_blocks; ++i) {
      EXPECT_EQ(testing::CheckPayload("fault", keys, i, buffers[i]),
                absl::OkStatus());
    }
    return done.hit_blocks;
  }

  size_t GetAll(const std::string& name, int chains) {
    size_t hits = 0;
    for (int i = 0; i < chains; ++i) hits += Get(absl::StrCat(name, i));
    return hits;
  }

  // What the client needs of a node in trouble.
  void ExpectMemoryIsServed() {
    EXPECT_EQ(Get("hot"), kBlocks);
    EXPECT_EQ(Put("more"), absl::OkStatus());
    EXPECT_EQ(Get("more"), kBlocks);
  }

  // The trouble shows in Stats, in tier describe and in the log.
  void ExpectTold(const std::string& state, const std::string& message) {
    EXPECT_EQ(node_->Stat(StateGauge(state)), 1u);
    EXPECT_THAT(node_->SsdState(), HasSubstr(message));
    EXPECT_THAT(node_->log(), Contains(HasSubstr(message)));
  }

  // A disk that is slow for once costs a miss; what is lost stays a miss.
  bool HasAllDurable() {
    return testing::PollUntil([&] {
      return GetAll("durable", kDurableChains) == kDurableChains * kBlocks;
    });
  }

  void ExpectNothingDurableIsLost() {
    EXPECT_TRUE(HasAllDurable());
    node_->Restart();
    EXPECT_TRUE(HasAllDurable());
    EXPECT_EQ(node_->SsdState(), "ok");
    EXPECT_EQ(Put("after", Durability::kDurable), absl::OkStatus());
  }

  std::optional<FaultNode> node_{FaultNode::Options{.host_bytes = 16 * kMiB,
                                                    .ssd_bytes = 128 * kMiB,
                                                    .read_timeout = kTimeout,
                                                    .write_timeout = kTimeout}};
};

TEST_F(NodeDiskFaultTest, ReadErrorsAreMissesAndTold) {
  node_->Strike(DiskFault::kReadError);

  EXPECT_EQ(GetAll("cold", kColdChains), 0u);

  EXPECT_GE(node_->Stat(R"(banyan_disk_errors_total{op="read",errno="EIO"})"),
            2u);
  EXPECT_GE(node_->Stat("banyan_unreadable_blocks_total"), 1u);
  EXPECT_GE(node_->Stat("banyan_disk_rereads_total"), 1u);
  ExpectTold("read_errors", "reads fail since");
  ExpectMemoryIsServed();
  node_->Heal();
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, AScrubOfADiskThatCannotBeReadLosesNothing) {
  node_->Strike(DiskFault::kReadError);

  node_->Scrub();  // Ends the pass that the background began.
  EXPECT_GE(node_->Scrub(), kDurableChains * kBlocks);

  node_->Heal();
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, WriteErrorsMakeReadOnly) {
  node_->Strike(DiskFault::kWriteError);

  for (int i = 0; i < 20 && node_->Stat(StateGauge("read_only")) == 0; ++i) {
    const absl::Status status =
        Put(absl::StrCat("refused", i), Durability::kDurable);
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  }

  EXPECT_GE(
      node_->Stat(kWriteEio) +
          node_->Stat(R"(banyan_disk_errors_total{op="create",errno="EIO"})"),
      3u);
  EXPECT_GE(node_->Stat(kDurableRefused), 1u);
  ExpectTold("read_only", "read-only since");
  EXPECT_EQ(ErrorReason(Put("last", Durability::kDurable)), "SSD_READ_ONLY");
  ExpectMemoryIsServed();
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, AFailedSyncMakesReadOnlyAndTheClientIsToldWhy) {
  node_->Strike(DiskFault::kSyncError);

  const absl::Status failed = Put("refused", Durability::kDurable);

  // What the mover wrote may have met the fault before.
  EXPECT_THAT(ErrorReason(failed), AnyOf("DURABILITY", "SSD_READ_ONLY"))
      << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr("Input/output error"));
  // Once, for a sync that failed is not tried again. It is the catalogue's when
  // the mover had synced its segment just before the fault.
  EXPECT_EQ(
      node_->Stat(R"(banyan_disk_errors_total{op="sync",errno="EIO"})") +
          node_->Stat(
              R"(banyan_disk_errors_total{op="catalogue",errno="CATALOGUE"})"),
      1u);
  EXPECT_GE(node_->Stat(kDurableRefused), 1u);
  ExpectTold("read_only", "Check the disk, then restart the node.");
  ExpectMemoryIsServed();
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, RefusedDurablePutsDoNotKeepTheClientFromMemory) {
  node_->Strike(DiskFault::kSyncError);

  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(Put(absl::StrCat("refused", i), Durability::kDurable).ok());
  }

  ExpectMemoryIsServed();
}

TEST_F(NodeDiskFaultTest, AFullDiskRefusesDurablePutsAndHeals) {
  node_->Strike(DiskFault::kFull);

  absl::Status refused;
  for (int i = 0; i < 40 && refused.ok(); ++i) {
    refused = Put(absl::StrCat("refused", i), Durability::kDurable);
  }

  EXPECT_EQ(ErrorReason(refused), "DURABILITY") << refused;
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("No space left on device"));
  EXPECT_GE(
      node_->Stat(R"(banyan_disk_errors_total{op="create",errno="ENOSPC"})") +
          node_->Stat(
              R"(banyan_disk_errors_total{op="catalogue",errno="ENOSPC"})"),
      1u);
  ExpectTold("full", "Free disk space");
  ExpectMemoryIsServed();
  node_->Heal();
  EXPECT_EQ(Put("healed", Durability::kDurable), absl::OkStatus());
  EXPECT_EQ(node_->SsdState(), "ok");
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, ASlowDiskIsToldAndLosesNothing) {
  node_->Strike(DiskFault::kSlow);

  EXPECT_EQ(GetAll("cold", kColdChains), kColdChains * kBlocks);
  for (int i = 0; i < 40 && node_->Stat(StateGauge("slow")) == 0; ++i) {
    EXPECT_EQ(Put(absl::StrCat("slow", i), Durability::kDurable),
              absl::OkStatus());
  }

  EXPECT_GE(node_->Stat(R"(banyan_disk_slow_calls_total{op="read"})"), 1u);
  ExpectTold("slow", "slow since");
  ExpectMemoryIsServed();
  node_->Heal();
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, ADiskThatHangsCostsOneTimeoutAndHeals) {
  node_->Strike(DiskFault::kStuck);

  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(GetAll("cold", kColdChains), 0u);
  const auto took = std::chrono::steady_clock::now() - begin;

  EXPECT_LT(took, absl::ToChronoMilliseconds(kTimeout) * kColdChains / 2);
  EXPECT_GE(
      node_->Stat(R"(banyan_disk_errors_total{op="read",errno="ETIMEDOUT"})"),
      1u);
  EXPECT_GE(node_->Stat(R"(banyan_cold_misses_total{reason="not_answering"})"),
            1u);
  ExpectTold("not_answering", "not answering since");
  EXPECT_EQ(ErrorReason(Put("refused", Durability::kDurable)),
            "SSD_NOT_ANSWERING");
  EXPECT_GE(node_->Stat(kDurableRefused), 1u);
  ExpectMemoryIsServed();
  node_->Heal();
  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_->Stat(StateGauge("not_answering")) == 0; }));
  ExpectNothingDurableIsLost();
}

TEST_F(NodeDiskFaultTest, ASyncThatHangsIsNoticedAndHoldsUpNoRead) {
  node_->disk().Add({.op = testing::FaultDisk::Op::kSync,
                     .effect = testing::FaultDisk::Effect::kHeld,
                     .count = 1'000'000});

  // The mover syncs by itself; nobody else has to wait for it.
  std::thread writer([&] { Put("held", Durability::kDurable).IgnoreError(); });
  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_->Stat(StateGauge("not_answering")) == 1; }));

  EXPECT_GE(
      node_->Stat(R"(banyan_disk_errors_total{op="sync",errno="ETIMEDOUT"})") +
          node_->Stat(
              R"(banyan_disk_errors_total{op="catalogue",errno="ETIMEDOUT"})"),
      1u);
  EXPECT_THAT(node_->SsdState(), HasSubstr("not answering since"));
  ExpectMemoryIsServed();
  node_->Heal();
  writer.join();
  ExpectNothingDurableIsLost();
}

}  // namespace
}  // namespace banyan
