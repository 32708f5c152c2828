// Goal: the client picks its transport as it was told to, says which and why,
// counts what goes another way, and reads blocks in place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "tests/integration/node.h"
#include "tests/testing/poll.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

using testing::ChainKeys;
using ::testing::HasSubstr;

constexpr char kSpace[] = "choice";
constexpr uint64_t kBytes = 300 * 1000;

// Lines of a client's log.
class Log {
 public:
  std::function<void(std::string_view)> writer() {
    return [this](std::string_view line) {
      MutexLock lock(mutex_);
      text_ += std::string(line) + "\n";
    };
  }
  std::string text() {
    MutexLock lock(mutex_);
    return text_;
  }

 private:
  Mutex mutex_;
  std::string text_;
};

class TransportChoiceTest : public ::testing::Test {
 protected:
  void Start(server::Config config) {
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Start() { Start(testing::SmallConfig()); }

  void Connect(TransportKind transport, int lookup_timeout_ms = 5000) {
    client_ = *Client::Connect({.endpoint = testing::EndpointOf(*server_),
                                .lookup_timeout_ms = lookup_timeout_ms,
                                .transport = transport,
                                .log = log_.writer()});
    ASSERT_TRUE(client_->WaitReady(10000).ok());
    ns_ = client_->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
  }

  Completion Put(const std::string& keys) {
    payloads_.clear();
    std::vector<std::span<const std::byte>> spans;
    for (size_t i = 0; i < keys.size() / 32; ++i) {
      payloads_.push_back(testing::PayloadOf(kSpace, keys, i, kBytes));
    }
    return client_->Put(ns_, {.keys = keys}, 0,
                        {payloads_.begin(), payloads_.end()},
                        {.piece_bytes = 70 * 1000});
  }

  // How many leading blocks are there and right.
  uint32_t Get(const std::string& keys, uint32_t first = 0) {
    std::vector<std::vector<std::byte>> buffers(keys.size() / 32 - first,
                                                std::vector<std::byte>(kBytes));
    const Completion done = client_->Get(ns_, {.keys = keys}, first,
                                         {buffers.begin(), buffers.end()});
    EXPECT_TRUE(done.status.ok()) << done.status;
    for (uint32_t i = 0; i < done.hit_blocks; ++i) {
      EXPECT_TRUE(
          testing::CheckPayload(kSpace, keys, first + i, buffers[i]).ok());
    }
    return done.hit_blocks;
  }

  uint64_t ShmOpened() {
    return testing::Reading(*server_,
                            "banyan_shm_connections_total{event=\"opened\"}");
  }

  uint64_t UcxOpened() {
    return testing::Reading(*server_,
                            "banyan_ucx_connections_total{event=\"opened\"}");
  }

  Log log_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  std::string ns_;
  std::vector<std::vector<std::byte>> payloads_;
};

TEST_F(TransportChoiceTest, AutoTakesSharedMemoryOnThisHost) {
  Start();
  Connect(TransportKind::kAuto);

  EXPECT_EQ(client_->transport().name, "shm");
  EXPECT_EQ(log_.text(), "transport shm: the node is on this host\n");
  const std::string keys = ChainKeys("auto", 40);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 40u);
  EXPECT_EQ(Get(keys, 35), 5u);
  EXPECT_EQ(*client_->Match(ns_, {.keys = keys}), 40u);
  EXPECT_EQ(client_->transport().fallbacks, 0u);
  EXPECT_EQ(ShmOpened(), 1u);
}

TEST_F(TransportChoiceTest, GrpcIsTakenIfAskedFor) {
  Start();
  Connect(TransportKind::kGrpc);

  EXPECT_EQ(client_->transport().name, "grpc");
  EXPECT_EQ(client_->transport().why, "asked for");
  const std::string keys = ChainKeys("grpc", 4);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 4u);
  EXPECT_EQ(ShmOpened(), 0u);
}

TEST_F(TransportChoiceTest, AutoTakesGrpcFromANodeWithoutTheDoor) {
  server::Config config = testing::SmallConfig();
  config.shm_socket = "none";
  Start(config);
  Connect(TransportKind::kAuto);

  EXPECT_EQ(client_->transport().name, "grpc");
  EXPECT_THAT(log_.text(), HasSubstr("transport grpc: door: this node has no"));
  const std::string keys = ChainKeys("no door", 4);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 4u);
}

TEST_F(TransportChoiceTest, ShmAloneFailsWithoutTheDoor) {
  server::Config config = testing::SmallConfig();
  config.shm_socket = "none";
  Start(config);
  Connect(TransportKind::kShm, 300);

  const auto hits = client_->Match(ns_, {.keys = ChainKeys("x", 1)});

  EXPECT_TRUE(absl::IsUnavailable(hits.status()));
  EXPECT_THAT(std::string(hits.status().message()), HasSubstr("no \"shm\""));
}

TEST_F(TransportChoiceTest, BlocksOnTheSsdComeByGrpcAndAreCounted) {
  server::Config config = testing::SmallConfig(16 * kMiB);
  const std::string directory =
      ::testing::TempDir() + "/banyan-choice-" + std::to_string(getpid());
  config.ssd_dirs = {directory};
  config.ssd_bytes = kGiB;
  config.ssd_segment_bytes = 32 * kMiB;
  Start(config);
  Connect(TransportKind::kAuto);
  // More than the memory holds: the first chains move to the SSD.
  std::vector<std::string> chains;
  for (int i = 0; i < 12; ++i) {
    chains.push_back(ChainKeys(absl::StrCat("cold", i), 8));
    EXPECT_TRUE(client_
                    ->Put(ns_, {.keys = chains.back()}, 0,
                          [&] {
                            Put("");
                            for (size_t k = 0; k < 8; ++k) {
                              payloads_.push_back(testing::PayloadOf(
                                  kSpace, chains.back(), k, kBytes));
                            }
                            return std::vector<std::span<const std::byte>>(
                                payloads_.begin(), payloads_.end());
                          }(),
                          {.durability = Durability::kDurable})
                    .status.ok());
  }

  for (const std::string& keys : chains) EXPECT_EQ(Get(keys), 8u);

  EXPECT_EQ(client_->transport().name, "shm");
  EXPECT_GT(client_->transport().fallbacks, 0u);
  client_ = nullptr;
  server_ = nullptr;
}

TEST_F(TransportChoiceTest, TheNodeListsWhatItsClientsUse) {
  testing::ServerProcess server;
  ASSERT_TRUE(
      server.Start({"--dev", "--grpc-port", "0", "--host-bytes", "64MiB"}));
  const auto client =
      *Client::Connect({.endpoint = server.endpoint(), .client_id = "lister"});
  ASSERT_TRUE(client->WaitReady(10000).ok());

  EXPECT_TRUE(testing::PollUntil([&] {
    const auto status = testing::RunProgram(
        "banyanctl", {"--server", server.endpoint(), "status"});
    return status.out.find("lister") != std::string::npos &&
           status.out.find("the node is on this host") != std::string::npos;
  }));
}

// A client outlives its node and meets the next one at the same address.
TEST_F(TransportChoiceTest, ALostNodeIsLeftAndANewOneTaken) {
  Start();
  Connect(TransportKind::kAuto);
  server::Config config = testing::SmallConfig();
  config.grpc_port = static_cast<uint16_t>(server_->grpc_port());

  server_ = nullptr;
  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "grpc"; }));
  EXPECT_FALSE(client_->Match(ns_, {.keys = ChainKeys("x", 1)}).ok());
  Start(config);

  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "shm"; }));
}

// What could not be had at first is asked for again.
TEST_F(TransportChoiceTest, SharedMemoryIsTakenOnceItCanBeHad) {
  server::Config config = testing::SmallConfig();
  config.shm_clients_max = 1;
  Start(config);
  auto first = *Client::Connect({.endpoint = testing::EndpointOf(*server_)});
  ASSERT_TRUE(first->WaitReady(10000).ok());
  ASSERT_EQ(first->transport().name, "shm");
  Connect(TransportKind::kAuto);
  ASSERT_EQ(client_->transport().name, "grpc");

  first = nullptr;

  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "shm"; }));
  const std::string keys = ChainKeys("later", 3);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 3u);
  EXPECT_EQ(client_->transport().fallbacks, 0u);
}

// Long groups need long questions: what does not fit goes over gRPC.
TEST_F(TransportChoiceTest, QuestionsWithoutRoomGoOverGrpc) {
  server::Config config = testing::SmallConfig();
  config.group_blocks = 4096;
  Start(config);
  constexpr size_t kCount = 2600;  // 83 KB of keys; an area has 72 KiB.
  const std::string keys = ChainKeys("long", kCount);
  for (const auto transport : {TransportKind::kAuto, TransportKind::kShm}) {
    Connect(transport);
    for (size_t i = payloads_.size(); i < kCount; ++i) {
      payloads_.push_back(testing::PayloadOf(kSpace, keys, i, 64));
    }
    ASSERT_TRUE(client_
                    ->Put(ns_, {.keys = keys}, 0,
                          {payloads_.begin(), payloads_.end()}, {})
                    .status.ok());

    EXPECT_EQ(*client_->Match(ns_, {.keys = keys}), kCount);
    EXPECT_EQ(client_->transport().fallbacks, 1u);
    std::vector<std::vector<std::byte>> buffers(kCount,
                                                std::vector<std::byte>(64));
    const Completion done =
        client_->Get(ns_, {.keys = keys}, 0, {buffers.begin(), buffers.end()});
    EXPECT_EQ(done.hit_blocks, kCount) << done.status;
    EXPECT_EQ(buffers, payloads_);
    EXPECT_EQ(client_->transport().fallbacks, 2u);
    EXPECT_EQ(ErrorReason(
                  client_->GetView(ns_, {.keys = keys}, 2500, 1, {}).status()),
              "QUESTION");
    EXPECT_EQ(client_->transport().name, "shm");
  }
}

TEST_F(TransportChoiceTest, ANodeStartsWithoutADoorThatNobodyAskedFor) {
  server::Config config = testing::SmallConfig();
  config.runtime_dir = ::testing::TempDir() + "/banyan-no-such-directory";
  Start(config);
  Connect(TransportKind::kAuto);

  EXPECT_EQ(client_->transport().name, "grpc");
  EXPECT_THAT(server_->ReadyLine(), ::testing::EndsWith(" shm="));
  const std::string keys = ChainKeys("no directory", 2);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 2u);
}

TEST_F(TransportChoiceTest, ADoorThatWasAskedForMustOpen) {
  server::Config config = testing::SmallConfig();
  config.shm_socket = ::testing::TempDir() + "/banyan-no-such-directory/x.sock";

  EXPECT_EQ(ErrorReason(server::Server::Start(config).status()), "SHM_SOCKET");
}

#ifdef BANYAN_HAS_UCX

server::Config WithUcx() {
  server::Config config = testing::SmallConfig();
  config.is_ucx_off = false;
  config.ucx_port = 0;
  return config;
}

// A node that is to be taken for one on another host.
server::Config OnlyUcx() {
  server::Config config = WithUcx();
  config.shm_socket = "none";
  return config;
}

TEST_F(TransportChoiceTest, UcxIsTakenIfAskedFor) {
  Start(WithUcx());
  Connect(TransportKind::kUcx);

  EXPECT_EQ(client_->transport().name, "ucx");
  EXPECT_EQ(log_.text(), "transport ucx: asked for\n");
  const std::string keys = ChainKeys("ucx", 40);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 40u);
  EXPECT_EQ(Get(keys, 35), 5u);
  EXPECT_EQ(*client_->Match(ns_, {.keys = keys}), 40u);
  EXPECT_EQ(client_->transport().fallbacks, 0u);
  EXPECT_EQ(UcxOpened(), 1u);
  EXPECT_EQ(ShmOpened(), 0u);
  EXPECT_EQ(
      ErrorReason(client_->GetView(ns_, {.keys = keys}, 0, 1, {}).status()),
      "TRANSPORT");
}

TEST_F(TransportChoiceTest, AutoTakesUcxWhereThereIsNoSharedMemory) {
  Start(OnlyUcx());
  Connect(TransportKind::kAuto);

  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "ucx"; }));
  EXPECT_THAT(client_->transport().why, HasSubstr("no \"shm\""));
  EXPECT_THAT(log_.text(), ::testing::StartsWith("transport grpc: door:"));
  EXPECT_THAT(log_.text(), HasSubstr("transport ucx: the node has the door"));
  const std::string keys = ChainKeys("auto ucx", 4);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 4u);
  EXPECT_EQ(client_->transport().fallbacks, 0u);
}

TEST_F(TransportChoiceTest, AutoPrefersSharedMemory) {
  Start(WithUcx());
  Connect(TransportKind::kAuto);
  const std::string keys = ChainKeys("both", 4);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 4u);

  EXPECT_EQ(client_->transport().name, "shm");
  EXPECT_EQ(UcxOpened(), 0u);
}

TEST_F(TransportChoiceTest, UcxAloneFailsWithoutTheDoor) {
  Start();
  Connect(TransportKind::kUcx, 300);

  const auto hits = client_->Match(ns_, {.keys = ChainKeys("x", 1)});

  EXPECT_TRUE(absl::IsUnavailable(hits.status()));
  EXPECT_THAT(std::string(hits.status().message()), HasSubstr("no \"ucx\""));
}

TEST_F(TransportChoiceTest, SharedMemoryReplacesUcxOnceItCanBeHad) {
  server::Config config = WithUcx();
  config.shm_clients_max = 1;
  Start(config);
  auto first = *Client::Connect({.endpoint = testing::EndpointOf(*server_)});
  ASSERT_TRUE(first->WaitReady(10000).ok());
  Connect(TransportKind::kAuto);
  ASSERT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "ucx"; }));

  first = nullptr;

  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "shm"; }));
  const std::string keys = ChainKeys("replaced", 3);
  EXPECT_TRUE(Put(keys).status.ok());
  EXPECT_EQ(Get(keys), 3u);
}

TEST_F(TransportChoiceTest, ANodeThatComesBackIsReachedByUcxAgain) {
  Start(OnlyUcx());
  Connect(TransportKind::kAuto);
  ASSERT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "ucx"; }));
  server::Config config = OnlyUcx();
  config.grpc_port = static_cast<uint16_t>(server_->grpc_port());

  server_ = nullptr;
  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "grpc"; }));
  Start(config);

  EXPECT_TRUE(
      testing::PollUntil([&] { return client_->transport().name == "ucx"; }));
}

TEST_F(TransportChoiceTest, BlocksOnTheSsdComeOverUcxToo) {
  server::Config config = WithUcx();
  config.host_bytes = 16 * kMiB;
  config.ssd_dirs = {::testing::TempDir() + "/banyan-choice-ucx-" +
                     std::to_string(getpid())};
  config.ssd_bytes = kGiB;
  config.ssd_segment_bytes = 32 * kMiB;
  Start(config);
  Connect(TransportKind::kUcx);
  std::vector<std::string> chains;
  for (int i = 0; i < 12; ++i) {
    chains.push_back(ChainKeys(absl::StrCat("cold", i), 8));
    ASSERT_TRUE(Put(chains.back()).status.ok());
    // So that what has to go is on the disk by then.
    const std::vector<std::span<const std::byte>> spans(payloads_.begin(),
                                                        payloads_.end());
    ASSERT_TRUE(client_
                    ->Put(ns_, {.keys = chains.back()}, 0, spans,
                          {.durability = Durability::kDurable})
                    .status.ok());
  }

  for (const std::string& keys : chains) EXPECT_EQ(Get(keys), 8u);

  EXPECT_EQ(client_->transport().fallbacks, 0u);
  EXPECT_GT(
      testing::Reading(*server_, "banyan_fetch_blocks_total{tier=\"ssd\"}"),
      0u);
  client_ = nullptr;
  server_ = nullptr;
}

// What leads to the second group is as long as it can be: half a message.
TEST_F(TransportChoiceTest, TheLongestQuestionsGoOverUcx) {
  server::Config config = WithUcx();
  config.group_blocks = 4096;
  Start(config);
  Connect(TransportKind::kUcx);
  constexpr size_t kCount = 4200;
  const std::string halves = ChainKeys("long", 2 * kCount);  // Of 64 bytes.
  const KeyChain chain{.keys = halves, .key_bytes = 64};
  for (size_t i = 0; i < kCount; ++i) {
    payloads_.push_back(std::vector<std::byte>(64, std::byte{7}));
  }
  ASSERT_TRUE(
      client_->Put(ns_, chain, 0, {payloads_.begin(), payloads_.end()}, {})
          .status.ok());

  EXPECT_EQ(*client_->Match(ns_, chain), kCount);
  EXPECT_EQ(client_->transport().fallbacks, 0u);
  EXPECT_EQ(client_->transport().name, "ucx");
}

TEST_F(TransportChoiceTest, TheNodeListsClientsThatUseUcx) {
  testing::ServerProcess server;
  ASSERT_TRUE(server.Start({"--dev", "--grpc-port", "0", "--host-bytes",
                            "64MiB", "--shm-socket", "none"}));
  const auto client =
      *Client::Connect({.endpoint = server.endpoint(), .client_id = "lister"});

  EXPECT_TRUE(testing::PollUntil([&] {
    const auto status = testing::RunProgram(
        "banyanctl", {"--server", server.endpoint(), "status"});
    return status.out.find("lister") != std::string::npos &&
           status.out.find("ucx") != std::string::npos;
  }));
}

// This client bears nothing that the node has not taken yet: puts that together are
// more than all buffers on the way hold end its connection.
TEST_F(TransportChoiceTest, ConnectionsThatAreGivenUpAreCountedAndTold) {
  constexpr int kWriters = 24;
  server::Config config = WithUcx();
  config.host_bytes = 256 * kMiB;
  Start(config);
  client_ = *Client::Connect({.endpoint = testing::EndpointOf(*server_),
                              .lookup_timeout_ms = 5000,
                              .transport = TransportKind::kUcx,
                              .untaken_bytes_max = 0,
                              .log = log_.writer()});
  ns_ = client_->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
  const std::vector<std::byte> payload(2 * kMiB, std::byte{1});
  std::atomic<int> chain{0};
  std::atomic<bool> is_over{false};
  std::vector<std::jthread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&] {
      while (!is_over) {
        const std::string keys =
            ChainKeys(absl::StrCat("given up", ++chain), 2);
        client_->Put(ns_, {.keys = keys}, 0, {payload, payload}, {});
      }
    });
  }

  EXPECT_TRUE(testing::PollUntil(
      [&] { return client_->stats().connections_given_up > 0; }));

  is_over = true;
  writers.clear();
  EXPECT_GE(client_->transport().given_up, 1u);
  EXPECT_TRUE(testing::PollUntil(
      [&] { return log_.text().find("ucx: gave up ") != std::string::npos; }));
  const auto admin = banyan::v1::Admin::NewStub(testing::ChannelTo(*server_));
  EXPECT_TRUE(testing::PollUntil([&] {
    grpc::ClientContext context;
    banyan::v1::StatsResponse stats;
    return admin->Stats(&context, {}, &stats).ok() &&
           stats.sessions_size() == 1 && stats.sessions(0).given_up() > 0;
  }));
}

// Calls that wait for a session, and those over the only transport that will do: they
// do not go on waiting for a node that is gone.
TEST_F(TransportChoiceTest, ADeadNodeOpensTheBreakerOnEveryWay) {
  using Call = std::function<absl::Status(const std::string&)>;
  std::vector<std::byte> buffer(kBytes);
  const std::vector<Call> calls = {
      [&](const std::string& keys) { return Put(keys).status; },
      [&](const std::string& keys) {
        return client_->Get(ns_, {.keys = keys}, 1, {buffer}).status;
      },
      [&](const std::string& keys) {
        return client_->GetView(ns_, {.keys = keys}, 0, 1, {}).status();
      }};
  for (const auto kind :
       {TransportKind::kAuto, TransportKind::kShm, TransportKind::kUcx}) {
    for (size_t i = 0; i < calls.size(); ++i) {
      SCOPED_TRACE(
          absl::StrCat("transport ", static_cast<int>(kind), ", call ", i));
      // Views need shared memory: without, the node is not asked.
      if (i == 2 && kind != TransportKind::kShm) continue;
      Start(WithUcx());
      Connect(kind, /*lookup_timeout_ms=*/300);
      const std::string keys = ChainKeys("dead", 2);
      const absl::Status stored = Put(keys).status;
      ASSERT_TRUE(stored.ok()) << stored;
      server_.reset();
      absl::Status status;
      EXPECT_TRUE(testing::PollUntil([&] {
        status = calls[i](keys);
        EXPECT_FALSE(status.ok());
        return ErrorReason(status) == "BREAKER";
      })) << status;
      client_.reset();
    }
  }
}

#endif  // BANYAN_HAS_UCX

TEST_F(TransportChoiceTest, AViewShowsBlocksInPlace) {
  Start();
  Connect(TransportKind::kAuto);
  const std::string keys = ChainKeys("view", 6);
  ASSERT_TRUE(Put(keys.substr(0, 5 * 32)).status.ok());

  for (const auto check :
       {ViewOptions::Check::kNow, ViewOptions::Check::kAtCommit}) {
    auto view = client_->GetView(ns_, {.keys = keys}, 1, 5, {.check = check});
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_EQ((*view)->blocks().size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(
          testing::CheckPayload(kSpace, keys, 1 + i, (*view)->blocks()[i])
              .ok());
    }
    EXPECT_TRUE((*view)->is_alive());
    EXPECT_TRUE((*view)->Renew(20000).ok());
    EXPECT_EQ(testing::Reading(*server_, "banyan_leases"), 1u);
    view = absl::CancelledError("");  // Its release waits 100 ms at most.
    EXPECT_TRUE(testing::PollUntil(
        [&] { return testing::Reading(*server_, "banyan_leases") == 0; }));
  }
}

// A node that hung grants the lease after all, to a caller that has left.
TEST_F(TransportChoiceTest, ALeaseThatCameTooLateIsGivenBack) {
  testing::ServerProcess server;
  ASSERT_TRUE(server.Start({"--dev", "--grpc-port", "0", "--host-bytes",
                            "64MiB", "--prefault", "false"}));
  client_ = *Client::Connect(
      {.endpoint = server.endpoint(), .lookup_timeout_ms = 1000});
  ASSERT_TRUE(client_->WaitReady(10000).ok());
  ASSERT_EQ(client_->transport().name, "shm");
  ns_ = client_->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
  const std::string keys = ChainKeys("too late", 1);
  ASSERT_TRUE(Put(keys).status.ok());
  const auto admin = banyan::v1::Admin::NewStub(grpc::CreateChannel(
      server.endpoint(), grpc::InsecureChannelCredentials()));
  const auto leases = [&] {
    grpc::ClientContext context;
    banyan::v1::StatsResponse stats;
    uint64_t found = UINT64_MAX;
    if (!admin->Stats(&context, {}, &stats).ok()) return found;
    for (const auto& counter : stats.counters()) {
      if (counter.name() == "banyan_leases") found = counter.value();
    }
    return found;
  };
  kill(server.pid(), SIGSTOP);
  siginfo_t stopped{};
  waitid(P_PID, static_cast<id_t>(server.pid()), &stopped, WSTOPPED);

  const auto view =
      client_->GetView(ns_, {.keys = keys}, 0, 1, {.ttl_ms = 60000});
  kill(server.pid(), SIGCONT);

  EXPECT_TRUE(absl::IsDeadlineExceeded(view.status())) << view.status();
  EXPECT_TRUE(testing::PollUntil([&] { return leases() == 1; }));
  EXPECT_TRUE(client_->Match(ns_, {.keys = keys}).ok());
  EXPECT_TRUE(testing::PollUntil([&] { return leases() == 0; }));
}

TEST_F(TransportChoiceTest, ViewedBlocksStayWhileOthersAreEvicted) {
  Start(testing::SmallConfig(8 * kMiB));
  Connect(TransportKind::kAuto);
  const std::string keys = ChainKeys("stay", 4);
  ASSERT_TRUE(Put(keys).status.ok());
  const auto view = client_->GetView(ns_, {.keys = keys}, 0, 4, {});
  ASSERT_TRUE(view.ok());

  for (int i = 0; i < 20; ++i) Put(ChainKeys(absl::StrCat("other", i), 4));

  ASSERT_EQ((*view)->blocks().size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(
        testing::CheckPayload(kSpace, keys, i, (*view)->blocks()[i]).ok());
  }
}

TEST_F(TransportChoiceTest, AViewEndsWithItsTimeAndWithItsNode) {
  Start();
  Connect(TransportKind::kAuto);
  const std::string keys = ChainKeys("ends", 1);
  ASSERT_TRUE(Put(keys).status.ok());
  auto brief = client_->GetView(ns_, {.keys = keys}, 0, 1, {.ttl_ms = 100});
  ASSERT_TRUE(brief.ok());
  EXPECT_TRUE(testing::PollUntil([&] { return !(*brief)->is_alive(); }));
  // Each Renew before the node's end would give it a new one.
  EXPECT_TRUE(testing::PollUntil(
      [&] { return testing::Reading(*server_, "banyan_leases") == 0; }));
  EXPECT_TRUE(absl::IsFailedPrecondition((*brief)->Renew(1000)));

  auto view = client_->GetView(ns_, {.keys = keys}, 0, 1, {});
  ASSERT_TRUE(view.ok());
  server_ = nullptr;
  EXPECT_TRUE(testing::PollUntil([&] { return !(*view)->is_alive(); }));
  // What was mapped stays readable.
  EXPECT_TRUE(
      testing::CheckPayload(kSpace, keys, 0, (*view)->blocks()[0]).ok());
}

TEST_F(TransportChoiceTest, AViewNeedsSharedMemory) {
  Start();
  Connect(TransportKind::kGrpc);
  const auto view =
      client_->GetView(ns_, {.keys = ChainKeys("x", 1)}, 0, 1, {});

  EXPECT_EQ(ErrorReason(view.status()), "TRANSPORT");
}

TEST_F(TransportChoiceTest, AViewOfNothingHasNoBlocks) {
  Start();
  Connect(TransportKind::kAuto);
  const auto view =
      client_->GetView(ns_, {.keys = ChainKeys("none", 2)}, 0, 2, {});

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE((*view)->blocks().empty());
}

}  // namespace
}  // namespace banyan
