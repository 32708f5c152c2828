// Goal: a peer that hangs costs as long as whoever waits for it gave it: a node its
// clients the deadline of each call, until the breaker opens; a client the node a
// few blocks in memory, until it is cut. Nothing that is late reaches a buffer.
// Method: a node that is stopped with SIGSTOP, seen from a client; and a node in
// this process whose client, this program started again, is. Times are bounded for
// machines that are busy here: R14u and R14v of tests/bench measure them.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"

extern char** environ;

namespace banyan {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr char kSpace[] = "hung";
constexpr uint64_t kBytes = 2 * kMiB;
constexpr size_t kBlocks = 4;
constexpr int kTimeoutMs = 1000;
// Of the call that is the least late, after its deadline.
constexpr milliseconds kLateMax{250};

struct Buffers {
  explicit Buffers(size_t count)
      : memory(count, std::vector<std::byte>(kBytes, std::byte{0xEE})),
        spans(memory.begin(), memory.end()) {}
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::span<std::byte>> spans;
};

Completion Put(Client& client, const std::string& ns, const std::string& keys) {
  std::vector<std::vector<std::byte>> payloads;
  for (size_t i = 0; i < keys.size() / 32; ++i) {
    payloads.push_back(testing::PayloadOf(kSpace, keys, i, kBytes));
  }
  return client.Put(ns, {.keys = keys}, 0, {payloads.begin(), payloads.end()},
                    {});
}

// True if all blocks of the chain are there and right.
bool ReadsAll(Client& client, const std::string& ns, const std::string& keys) {
  Buffers buffers(keys.size() / 32);
  const Completion got = client.Get(ns, {.keys = keys}, 0, buffers.spans);
  for (size_t i = 0; i < got.hit_blocks; ++i) {
    EXPECT_TRUE(testing::CheckPayload(kSpace, keys, i, buffers.memory[i]).ok());
  }
  return got.hit_blocks == keys.size() / 32;
}

TEST(UcxHungPeerTest, AHungNodeCostsTheDeadlineUntilTheBreakerOpens) {
  testing::ServerProcess server;
  ASSERT_TRUE(server.Start({"--dev", "--grpc-port", "0", "--host-bytes",
                            "64MiB", "--prefault", "false"}));
  const auto client = *Client::Connect({.endpoint = server.endpoint(),
                                        .lookup_timeout_ms = 5000,
                                        .load_timeout_ms = kTimeoutMs,
                                        .transport = TransportKind::kUcx});
  ASSERT_TRUE(client->WaitReady(10000).ok());
  const std::string ns =
      client->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
  const std::string keys = testing::ChainKeys("hung", kBlocks);
  ASSERT_TRUE(testing::PollUntil([&] {
    Put(*client, ns, keys);
    return ReadsAll(*client, ns, keys);
  }));
  kill(server.pid(), SIGSTOP);
  siginfo_t stopped{};
  waitid(P_PID, static_cast<id_t>(server.pid()), &stopped, WSTOPPED);

  Buffers buffers(kBlocks);
  const Buffers untouched(kBlocks);
  bool is_breaker_open = false;
  auto least = SteadyClock::duration::max();
  for (int i = 0; i < 20 && !is_breaker_open; ++i) {
    const auto start = SteadyClock::now();
    const Completion got = client->Get(ns, {.keys = keys}, 0, buffers.spans);
    const auto took = SteadyClock::now() - start;
    EXPECT_EQ(got.hit_blocks, 0u);
    is_breaker_open = ErrorReason(got.status) == "BREAKER";
    if (is_breaker_open) break;
    EXPECT_TRUE(absl::IsDeadlineExceeded(got.status)) << got.status;
    EXPECT_GE(took, milliseconds(kTimeoutMs));
    least = std::min(least, took);
  }

  EXPECT_TRUE(is_breaker_open);
  EXPECT_LE(least, milliseconds(kTimeoutMs) + kLateMax);
  kill(server.pid(), SIGCONT);
  EXPECT_TRUE(testing::PollUntil([&] { return ReadsAll(*client, ns, keys); }));
  // What the node still sent did not reach those who had left.
  EXPECT_EQ(buffers.memory, untouched.memory);
}

// ------------------------------------------------------------ a hung client ---

// Reads until it is stopped; says with a byte that it has begun.
int RunChild(const std::string& endpoint) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto client = *Client::Connect({.endpoint = endpoint,
                                        .lookup_timeout_ms = 5000,
                                        .transport = TransportKind::kUcx});
  const auto ns = client->OpenNamespace(kSpace, testing::OpaqueFingerprint());
  if (!ns.ok()) return 1;
  const std::string keys = testing::ChainKeys("read", kBlocks);
  bool has_said = false;
  while (true) {
    const bool is_right = ReadsAll(*client, ns->id, keys);
    if (has_said || !is_right) continue;
    const char byte = 'x';
    has_said = write(STDOUT_FILENO, &byte, 1) == 1;
  }
}

TEST(UcxHungPeerTest, AHungClientPinsLittleAndIsCut) {
  server::Config config = testing::SmallConfig();
  config.is_ucx_off = false;
  config.ucx_port = 0;
  config.session_timeout = absl::Seconds(3);
  auto server = *server::Server::Start(config);
  std::string endpoint = testing::EndpointOf(*server);
  const std::string keys = testing::ChainKeys("read", kBlocks);
  const auto other = *Client::Connect({.endpoint = endpoint,
                                       .lookup_timeout_ms = 5000,
                                       .transport = TransportKind::kUcx});
  const std::string ns =
      other->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
  ASSERT_TRUE(Put(*other, ns, keys).status.ok());
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::string program = "/proc/self/exe";
  std::string flag = "--child";
  char* const arguments[] = {program.data(), flag.data(), endpoint.data(),
                             nullptr};
  pid_t child = -1;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), &actions, nullptr, arguments,
                        environ),
            0);
  posix_spawn_file_actions_destroy(&actions);
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);

  ASSERT_EQ(kill(child, SIGSTOP), 0);

  EXPECT_TRUE(ReadsAll(*other, ns, keys)) << "others are served";
  EXPECT_TRUE(testing::PollUntil([&] {
    // Its read, and nothing else.
    EXPECT_LE(server->store().HostUsage().pinned_bytes, kBlocks * kBytes);
    return testing::Reading(
               *server, "banyan_ucx_connections_total{event=\"closed\"}") == 1;
  }));
  EXPECT_TRUE(testing::PollUntil(
      [&] { return server->store().HostUsage().pinned_bytes == 0; }));
  EXPECT_TRUE(ReadsAll(*other, ns, keys));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace banyan

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--child") {
    return banyan::RunChild(argv[2]);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
