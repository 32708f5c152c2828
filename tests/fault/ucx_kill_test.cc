// Goal: SIGKILL of clients and of nodes, at any moment of a transfer over UCX, costs
// a miss or an error: nobody else dies, no wrong byte is accepted, nothing leaks.
// Method: this program starts itself as clients that read and write over UCX and
// check every byte against what names it, and kills them at random; and it reads
// from a node that it kills at random and starts again. BANYAN_TEST_UCX_KILLS sets
// how many kills there are, of which a quarter hits nodes; the acceptance run is
// 1000.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"

extern char** environ;

namespace banyan {
namespace {

using std::chrono::milliseconds;

constexpr char kSpace[] = "killed";
constexpr uint64_t kBytes = 700 * 1000;
constexpr size_t kChains = 8;
constexpr size_t kBlocks = 6;
constexpr int kWrongByte = 7;  // Exit code.

uint64_t KillsWanted() {
  const char* const text = std::getenv("BANYAN_TEST_UCX_KILLS");
  uint64_t kills = 0;
  return text != nullptr && absl::SimpleAtoi(text, &kills) ? kills : 20;
}

// Reads and writes over UCX, whatever the node says, until it is told to stop.
class Worker {
 public:
  Worker(const std::string& endpoint, uint64_t seed)
      : random_(seed),
        client_(*Client::Connect({.endpoint = endpoint,
                                  .lookup_timeout_ms = 2000,
                                  .load_timeout_ms = 5000,
                                  .transport = TransportKind::kUcx})) {}

  // False after a wrong byte.
  bool Step() {
    if (ns_.empty()) {
      const auto ns =
          client_->OpenNamespace(kSpace, testing::OpaqueFingerprint());
      if (!ns.ok()) return true;
      ns_ = ns->id;
    }
    const std::string keys =
        testing::ChainKeys(absl::StrCat("k", random_() % kChains), kBlocks);
    std::vector<std::vector<std::byte>> buffers(kBlocks,
                                                std::vector<std::byte>(kBytes));
    const Completion got =
        client_->Get(ns_, {.keys = keys}, 0, {buffers.begin(), buffers.end()});
    for (size_t i = 0; i < got.reads.size(); ++i) {
      if (got.reads[i] != ReadResult::kHit) continue;
      ++hits;
      if (!testing::CheckPayload(kSpace, keys, i, buffers[i]).ok())
        return false;
    }
    // A node that lost its memory knows no namespace either.
    if (absl::IsNotFound(got.status)) ns_.clear();
    if (got.status.ok() && got.hit_blocks < kBlocks) Put(keys);
    return true;
  }

  std::atomic<uint64_t> hits{0};

 private:
  void Put(const std::string& keys) {
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < kBlocks; ++i) {
      payloads.push_back(testing::PayloadOf(kSpace, keys, i, kBytes));
    }
    client_->Put(ns_, {.keys = keys}, 0, {payloads.begin(), payloads.end()},
                 {.piece_bytes = 300 * 1000});
  }

  std::mt19937_64 random_;
  const std::unique_ptr<Client> client_;
  std::string ns_;
};

int RunChild(const std::string& endpoint, const std::string& seed) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  uint64_t number = 0;
  if (!absl::SimpleAtoi(seed, &number)) return 2;
  Worker worker(endpoint, number);
  while (worker.Step()) {
  }
  return kWrongByte;
}

pid_t StartChild(const std::string& endpoint, uint64_t seed) {
  std::string program = "/proc/self/exe";
  std::string flag = "--child";
  std::string where = endpoint;
  std::string number = absl::StrCat(seed);
  char* const arguments[] = {program.data(), flag.data(), where.data(),
                             number.data(), nullptr};
  pid_t child = -1;
  if (posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments,
                  environ) != 0) {
    return -1;
  }
  return child;
}

// True if the child died of that.
bool Kill(pid_t child) {
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

// Works in this process until the end, and says what it saw.
class Witness {
 public:
  Witness(const std::string& endpoint, uint64_t seed)
      : worker_(endpoint, seed), thread_([this] {
          while (!is_over_ && is_right_) is_right_ = worker_.Step();
        }) {}
  ~Witness() { Stop(); }

  void Stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  bool is_right() const { return is_right_; }
  uint64_t hits() const { return worker_.hits; }
  // True once it has read a block more.
  bool Reads() {
    const uint64_t before = hits();
    return testing::PollUntil([&] { return hits() > before; });
  }

 private:
  Worker worker_;
  std::atomic<bool> is_over_{false};
  std::atomic<bool> is_right_{true};
  std::thread thread_;
};

TEST(UcxKillTest, KilledClientsHurtNobodyElse) {
  server::Config config = testing::SmallConfig();
  config.is_ucx_off = false;
  config.ucx_port = 0;
  auto server = *server::Server::Start(config);
  const std::string endpoint = testing::EndpointOf(*server);
  const uint64_t kills = std::max<uint64_t>(1, KillsWanted() * 3 / 4);
  std::mt19937_64 random(20261129);
  {
    Witness witness(endpoint, 1);
    ASSERT_TRUE(witness.Reads());
    std::vector<pid_t> children;
    uint64_t seed = 100;
    for (int i = 0; i < 3; ++i)
      children.push_back(StartChild(endpoint, ++seed));
    for (uint64_t i = 0; i < kills; ++i) {
      // Long enough to have come in, now and then not.
      std::this_thread::sleep_for(milliseconds(random() % 400));
      pid_t& child = children[random() % children.size()];
      ASSERT_TRUE(Kill(child)) << "it ended before kill " << i;
      child = StartChild(endpoint, ++seed);
      if (i % 8 == 0) {
        ASSERT_TRUE(witness.Reads()) << "after kill " << i;
      }
    }
    for (const pid_t child : children) EXPECT_TRUE(Kill(child));
    EXPECT_TRUE(witness.Reads());
    witness.Stop();
    EXPECT_TRUE(witness.is_right());
  }

  EXPECT_TRUE(testing::PollUntil([&] { return testing::IsIdle(*server); }))
      << "pinned " << server->store().HostUsage().pinned_bytes << ", staged "
      << server->store().HostUsage().staged_bytes;
  const auto event = [&](const char* name) {
    return testing::Reading(
        *server,
        absl::StrCat("banyan_ucx_connections_total{event=\"", name, "\"}"));
  };
  EXPECT_GT(event("opened"), 1u);
  EXPECT_TRUE(testing::PollUntil([&] {
    return event("opened") == event("closed");
  })) << event("opened")
      << " opened, " << event("closed") << " closed";
}

TEST(UcxKillTest, KilledNodesAreErrorsAndTheNextOneIsTaken) {
  const uint64_t kills = std::max<uint64_t>(1, KillsWanted() / 4);
  std::mt19937_64 random(20261130);
  testing::ServerProcess first;
  const std::vector<std::string> common = {"--dev", "--host-bytes", "64MiB",
                                           "--prefault", "false"};
  auto arguments = common;
  arguments.insert(arguments.end(), {"--grpc-port", "0"});
  ASSERT_TRUE(first.Start(arguments));
  arguments.end()[-1] = first.port();
  Witness witness(first.endpoint(), 2);
  ASSERT_TRUE(witness.Reads());
  first.Stop(SIGKILL);
  for (uint64_t i = 0; i < kills; ++i) {
    testing::ServerProcess next;
    ASSERT_TRUE(testing::PollUntil([&] { return next.Start(arguments); }));
    // The breaker and the session try again after a while.
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!witness.Reads()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "kill " << i;
    }
    std::this_thread::sleep_for(milliseconds(random() % 100));
    next.Stop(SIGKILL);
  }
  witness.Stop();
  EXPECT_TRUE(witness.is_right());
}

}  // namespace
}  // namespace banyan

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--child") {
    return banyan::RunChild(argv[2], argv[3]);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
