// Goal: a node that is killed with SIGKILL at any instant loses no block that it
// acknowledged as durable, serves no wrong byte afterwards, and shows no part
// of a put that it did not acknowledge.
// Method: a real server process is loaded by real clients and killed: half of
// the times after a random while, half of the times at a failpoint, each of
// them in turn. What was acknowledged is kept here, where it outlives the
// server. Every byte read is checked against the identity of its block, so a
// block that is visible at all is visible in full.
// A run in which a failpoint never fired fails.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "base/failpoint.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using testing::ServerProcess;

constexpr int kRounds = testing::Repetitions(200, 10);
constexpr size_t kBlockBytes = 16 * kKiB;
constexpr size_t kChainBlocks = 4;
constexpr const char* kSpace = "kill-nine";

// What is known of one chain that was put.
struct Acked {
  std::string keys;
  bool is_durable = false;
};

class KillNineTest : public ::testing::Test {
 protected:
  std::vector<std::string> Flags(const std::string& failpoint) const {
    std::vector<std::string> flags = {"--dev",
                                      "--grpc-port=0",
                                      "--host-bytes=2MiB",
                                      "--ssd-dir=" + directory_.path(),
                                      "--ssd-bytes=" + ssd_bytes_,
                                      "--ssd-segment-bytes=4MiB",
                                      "--scrub-rate=64MiB"};
    if (!failpoint.empty()) flags.push_back("--failpoints=" + failpoint);
    return flags;
  }

  absl::Status Connect() {
    auto client = Client::Connect({.endpoint = server_.endpoint()});
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    if (absl::Status ready = client_->WaitReady(10000); !ready.ok()) {
      return ready;
    }
    const auto ns =
        client_->OpenNamespace(kSpace, testing::OpaqueFingerprint());
    if (!ns.ok()) return ns.status();
    ns_ = ns->id;
    return absl::OkStatus();
  }

  // Leading blocks that are there, all of them right.
  size_t Read(const std::string& keys) {
    std::vector<std::vector<std::byte>> buffers(
        kChainBlocks, std::vector<std::byte>(kBlockBytes));
    const Completion done =
        client_->Get(ns_, {.keys = keys}, 0, {buffers.begin(), buffers.end()});
    for (size_t i = 0; i < done.hit_blocks; ++i) {
      EXPECT_EQ(done.read_bytes[i], kBlockBytes);
      const absl::Status status =
          testing::CheckPayload(kSpace, keys, i, buffers[i]);
      EXPECT_TRUE(status.ok()) << status;
    }
    reads_ += done.hit_blocks;
    return done.hit_blocks;
  }

  // Puts chains, durable ones and others, until the server is gone.
  void Load(int round) {
    for (int i = 0;; ++i) {
      Acked chain{
          .keys = testing::ChainKeys(absl::StrCat(round, "/", i), kChainBlocks),
          .is_durable = i % 3 != 2};
      std::vector<std::vector<std::byte>> payloads;
      for (size_t b = 0; b < kChainBlocks; ++b) {
        payloads.push_back(
            testing::PayloadOf(kSpace, chain.keys, b, kBlockBytes));
      }
      const Completion put = client_->Put(
          ns_, {.keys = chain.keys}, 0, {payloads.begin(), payloads.end()},
          {.piece_bytes = 4096,
           .durability =
               chain.is_durable ? Durability::kDurable : Durability::kMemory});
      if (!put.status.ok()) return;
      ++acks_;
      if (chain.is_durable) durable_.push_back(chain.keys);
      // Reading what was put long ago keeps the SSD's read path busy, too.
      if (i % 4 == 0 && !durable_.empty()) {
        Read(durable_[random_() % durable_.size()]);
      }
    }
  }

  // The last ones, and some of all.
  void CheckDurable() {
    const size_t count = durable_.size();
    for (size_t i = 0; i < std::min<size_t>(count, 40); ++i) {
      const size_t at = i < 20 ? count - 1 - i : random_() % count;
      EXPECT_EQ(Read(durable_[at]), kChainBlocks) << "chain " << at;
    }
  }

  void Round(int round, const std::string& failpoint) {
    SCOPED_TRACE(absl::StrCat("round ", round, " ", failpoint));
    if (!server_.Start(Flags(failpoint))) {
      // A failpoint of the start: it must have been the kill.
      ASSERT_FALSE(failpoint.empty());
      fired_.insert(failpoint);
      return;
    }
    if (const absl::Status connected = Connect(); !connected.ok()) {
      // The scrubber may reach a failpoint before anybody could ask.
      ASSERT_FALSE(failpoint.empty()) << connected;
      ASSERT_EQ(server_.Wait(), 128 + SIGKILL) << connected;
      fired_.insert(failpoint);
      client_.reset();
      return;
    }
    if (ssd_is_large_) CheckDurable();
    std::thread killer;
    std::atomic<bool> is_over{false};
    acks_ = 0;
    if (failpoint.empty()) {
      // Every other round lives until something was acknowledged, however slow
      // the machine is; the others end at any instant.
      const int acks_wanted = round % 2;
      const auto wait = std::chrono::milliseconds(random_() % 120);
      killer = std::thread([this, acks_wanted, wait] {
        testing::PollUntil([&] { return acks_ >= acks_wanted; });
        std::this_thread::sleep_for(wait);
        kill(server_.pid(), SIGKILL);
      });
    } else {
      // A failpoint that is not reached is noticed, not waited for.
      killer = std::thread([this, &is_over] {
        if (!testing::PollUntil([&is_over] { return is_over.load(); })) {
          kill(server_.pid(), SIGTERM);
        }
      });
    }
    Load(round);
    is_over = true;
    killer.join();
    const int code = server_.Wait();
    if (!failpoint.empty() && code == 128 + SIGKILL) fired_.insert(failpoint);
    client_.reset();
  }

  testing::TempDirectory directory_;
  std::string ssd_bytes_ = "2GiB";
  bool ssd_is_large_ = true;
  ServerProcess server_;
  std::unique_ptr<Client> client_;
  std::string ns_;
  std::vector<std::string> durable_;
  std::set<std::string> fired_;
  std::atomic<int> acks_{0};  // Of the round at hand.
  uint64_t reads_ = 0;
  std::mt19937 random_{20261124};
};

TEST_F(KillNineTest, DurableBlocksAreThereAndNoByteIsWrong) {
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_NO_FATAL_FAILURE(Round(round, ""));
  }
  ASSERT_TRUE(server_.Start(Flags("")));
  const absl::Status connected = Connect();
  ASSERT_TRUE(connected.ok()) << connected;
  for (const std::string& keys : durable_) {
    EXPECT_EQ(Read(keys), kChainBlocks);
  }
  EXPECT_GE(durable_.size(), static_cast<size_t>(kRounds) / 2);
  RecordProperty("durable_chains", static_cast<int>(durable_.size()));
  RecordProperty("blocks_read", static_cast<int>(reads_));
}

// The same on a tier so small that it reclaims all the time: what is durable
// may be evicted, what is served must be right, and every failpoint is visited.
TEST_F(KillNineTest, EveryFailpointIsSurvived) {
  ssd_bytes_ = "24MiB";
  ssd_is_large_ = false;
  std::set<std::string> wanted;
  int round = 0;
  for (const absl::string_view name : FailpointNames()) {
    for (const char* when : {"1st", "3rd"}) {
      const std::string failpoint = absl::StrCat(name, "=", when, ":kill");
      // These are reached once in a start.
      if (absl::StartsWith(name, "ssd_open_") && when[0] == '3') continue;
      wanted.insert(failpoint);
      ASSERT_NO_FATAL_FAILURE(Round(round++, failpoint));
      ASSERT_NO_FATAL_FAILURE(Round(round++, ""));
    }
  }
  EXPECT_EQ(fired_, wanted);
  EXPECT_GT(reads_, 0u);
}

}  // namespace
}  // namespace banyan
