// Goal: the client and a node agree, end to end over gRPC: bytes come back as
// they went, chains work over group borders, namespaces and salts are apart,
// and a node that is dead or hangs costs a bounded time.
// Method: a node in this process on a free port; payloads that follow from
// (space, key), so that a wrong byte is recognised as whose it is.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>

#include "base/error.h"
#include "client/cpp/client.h"
#include "tests/integration/node.h"

namespace banyan {
namespace {

using testing::ChainKeys;
using testing::CheckPayload;
using testing::PayloadOf;

// What a busy machine may add to a deadline.
constexpr int kSlackMs = 1000;

class Stopwatch {
 public:
  int64_t ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  const std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};

// Accepts connections (the kernel does) and never answers.
class HungServer {
 public:
  HungServer() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    is_listening_ = bind(fd_, any, size) == 0 && listen(fd_, 64) == 0 &&
                    getsockname(fd_, any, &size) == 0;
    endpoint_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~HungServer() { close(fd_); }

  bool is_listening() const { return is_listening_; }
  const std::string& endpoint() const { return endpoint_; }

 private:
  const int fd_;
  bool is_listening_ = false;
  std::string endpoint_;
};

class ClientServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server::Config config = testing::SmallConfig();
    config.eviction = "lru";  // Lets all in.
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = Connect({.endpoint = testing::EndpointOf(*server_)});
    ASSERT_TRUE(client_->WaitReady(5000).ok());
    ns_ = Open("test");
  }

  static std::unique_ptr<Client> Connect(const ClientOptions& options) {
    auto client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::string Open(std::string_view name) {
    const auto opened =
        client_->OpenNamespace(name, testing::OpaqueFingerprint());
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? opened->id : "";
  }

  // Puts blocks [first, first + count) of the chain with payloads of `space`.
  Completion Put(std::string_view ns, const KeyChain& chain, uint32_t first,
                 uint32_t count, size_t bytes, uint64_t piece_bytes,
                 std::string_view space) {
    std::vector<std::vector<std::byte>> payloads;
    std::vector<std::span<const std::byte>> views;
    for (uint32_t i = first; i < first + count; ++i) {
      payloads.push_back(PayloadOf(space, chain.keys, i, bytes));
    }
    for (const auto& payload : payloads) views.emplace_back(payload);
    return client_->Put(ns, chain, first, std::move(views),
                        {.piece_bytes = piece_bytes});
  }

  // Gets them, checks every byte of the hits; returns how many hit.
  uint32_t Get(std::string_view ns, const KeyChain& chain, uint32_t first,
               uint32_t count, size_t bytes, std::string_view space) {
    std::vector<std::vector<std::byte>> buffers(
        count, std::vector<std::byte>(bytes, std::byte{0xEE}));
    const Completion done =
        client_->Get(ns, chain, first, {buffers.begin(), buffers.end()});
    EXPECT_TRUE(done.status.ok()) << done.status;
    for (uint32_t i = 0; i < done.hit_blocks; ++i) {
      EXPECT_EQ(done.read_bytes[i], bytes);
      const absl::Status same =
          CheckPayload(space, chain.keys, first + i, buffers[i]);
      EXPECT_TRUE(same.ok()) << same;
    }
    return done.hit_blocks;
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  std::string ns_;
};

using Writes = std::vector<WriteResult>;

TEST_F(ClientServerTest, BytesOfAnySizeAndPieceLengthComeBackAsTheyWent) {
  for (const size_t bytes :
       {size_t{1}, 4 * kKiB, 3 * kMiB, 8 * kMiB, 3 * kMiB + 7}) {
    for (const uint64_t piece : {uint64_t{0}, 64 * kKiB, uint64_t{100001}}) {
      SCOPED_TRACE(absl::StrCat(bytes, " bytes in pieces of ", piece));
      const std::string keys = ChainKeys(absl::StrCat(bytes, "/", piece), 2);
      const KeyChain chain{.keys = keys};
      const Completion put = Put(ns_, chain, 0, 2, bytes, piece, "a");
      ASSERT_TRUE(put.status.ok()) << put.status;
      EXPECT_EQ(put.writes, Writes(2, WriteResult::kCommitted));
      EXPECT_EQ(Get(ns_, chain, 0, 2, bytes, "a"), 2u);
    }
  }
}

TEST_F(ClientServerTest, AWrongPayloadIsNoticedByTheseTests) {
  const std::string keys = ChainKeys("wrong", 1);
  ASSERT_TRUE(Put(ns_, {.keys = keys}, 0, 1, 4096, 0, "a").status.ok());
  std::vector<std::byte> buffer(4096);
  const Completion got = client_->Get(ns_, {.keys = keys}, 0, {buffer});
  ASSERT_EQ(got.hit_blocks, 1u);
  EXPECT_TRUE(absl::IsDataLoss(CheckPayload("b", keys, 0, buffer)));
}

TEST_F(ClientServerTest, AStoredBlockIsNotWrittenAgain) {
  const std::string keys = ChainKeys("dedup", 4);
  const KeyChain chain{.keys = keys};
  ASSERT_TRUE(Put(ns_, chain, 0, 2, 4096, 0, "a").status.ok());
  const Completion again = Put(ns_, chain, 0, 4, 4096, 0, "a");
  ASSERT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.writes,
            (Writes{WriteResult::kExists, WriteResult::kExists,
                    WriteResult::kCommitted, WriteResult::kCommitted}));
  EXPECT_EQ(server_->store().HostUsage().blocks, 4u);
}

TEST_F(ClientServerTest, AChainCrossesGroupBordersAndGrowsInParts) {
  const std::string keys = ChainKeys("long", 100);
  const KeyChain chain{.keys = keys};
  ASSERT_EQ(server_->store().options().index.group_blocks, 32u);
  ASSERT_TRUE(Put(ns_, chain, 0, 45, 512, 0, "a").status.ok());
  EXPECT_EQ(client_->Match(ns_, chain).value_or(999), 45u);
  ASSERT_TRUE(Put(ns_, chain, 45, 55, 512, 0, "a").status.ok());
  EXPECT_EQ(client_->Match(ns_, chain).value_or(999), 100u);
  EXPECT_EQ(Get(ns_, chain, 0, 100, 512, "a"), 100u);
  for (const uint32_t first : {1u, 31u, 32u, 33u, 64u, 65u, 99u}) {
    EXPECT_EQ(Get(ns_, chain, first, 100 - first, 512, "a"), 100 - first)
        << "from " << first;
  }
}

TEST_F(ClientServerTest, AMissIsAnAnswer) {
  const std::string keys = ChainKeys("missing", 3);
  EXPECT_EQ(client_->Match(ns_, {.keys = keys}).value_or(999), 0u);
  EXPECT_EQ(Get(ns_, {.keys = keys}, 0, 3, 64, "a"), 0u);
}

TEST_F(ClientServerTest, SaltsAndNamespacesAreApart) {
  const std::string keys = ChainKeys("shared", 8);
  const std::string other = Open("other");
  ASSERT_NE(other, ns_);
  const KeyChain plain{.keys = keys};
  const KeyChain salted{.keys = keys, .salt = "user-1"};
  const KeyChain salted2{.keys = keys, .salt = "user-2"};
  ASSERT_TRUE(Put(ns_, plain, 0, 8, 1000, 0, "plain").status.ok());
  EXPECT_EQ(client_->Match(ns_, salted).value_or(999), 0u);
  EXPECT_EQ(client_->Match(other, plain).value_or(999), 0u);
  ASSERT_TRUE(Put(ns_, salted, 0, 8, 1000, 0, "salted").status.ok());
  ASSERT_TRUE(Put(other, plain, 0, 8, 1000, 0, "other").status.ok());
  EXPECT_EQ(Get(ns_, plain, 0, 8, 1000, "plain"), 8u);
  EXPECT_EQ(Get(ns_, salted, 0, 8, 1000, "salted"), 8u);
  EXPECT_EQ(Get(other, plain, 0, 8, 1000, "other"), 8u);
  EXPECT_EQ(Get(ns_, salted2, 0, 8, 1000, "none"), 0u);
}

// Drains until `count` completions came; how often each id did.
std::map<uint64_t, int> DrainIds(Client& client, size_t count,
                                 std::map<uint64_t, Completion>& last) {
  std::map<uint64_t, int> seen;
  size_t total = 0;
  while (total < count) {
    pollfd ready{.fd = client.event_fd(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, 10000) != 1) break;
    for (Completion& completion : client.Drain()) {
      ++total;
      ++seen[completion.id];
      last[completion.id] = std::move(completion);
    }
  }
  return seen;
}

TEST_F(ClientServerTest, EverySubmittedOperationCompletesExactlyOnce) {
  constexpr uint32_t kChains = 60;
  std::vector<std::string> keys;
  std::vector<std::vector<std::byte>> payloads;
  std::vector<std::vector<std::byte>> buffers(kChains,
                                              std::vector<std::byte>(3000));
  for (uint32_t i = 0; i < kChains; ++i) {
    keys.push_back(ChainKeys(absl::StrCat("async", i), 1));
    payloads.push_back(PayloadOf("a", keys[i], 0, 3000));
  }
  std::map<uint64_t, uint32_t> puts;
  for (uint32_t i = 0; i < kChains; ++i) {
    puts[client_->SubmitPut(ns_, {.keys = keys[i]}, 0, {payloads[i]}, {})] = i;
  }
  ASSERT_EQ(puts.size(), kChains);
  std::map<uint64_t, Completion> done;
  for (const auto& [id, times] : DrainIds(*client_, kChains, done)) {
    EXPECT_EQ(times, 1);
    EXPECT_TRUE(puts.contains(id));
    EXPECT_TRUE(done[id].status.ok()) << done[id].status;
  }
  EXPECT_EQ(done.size(), kChains);

  std::map<uint64_t, uint32_t> gets;
  for (uint32_t i = 0; i < kChains; ++i) {
    gets[client_->SubmitGet(ns_, {.keys = keys[i]}, 0, {buffers[i]})] = i;
  }
  done.clear();
  for (const auto& [id, times] : DrainIds(*client_, kChains, done)) {
    EXPECT_EQ(times, 1);
    ASSERT_TRUE(gets.contains(id));
    EXPECT_EQ(done[id].hit_blocks, 1u);
    const uint32_t i = gets[id];
    EXPECT_TRUE(CheckPayload("a", keys[i], 0, buffers[i]).ok());
  }
  EXPECT_EQ(done.size(), kChains);
  EXPECT_TRUE(client_->Drain().empty());
}

TEST(UnreachableNodeTest, AFullQueueRefusesAndStillCompletesEachOnce) {
  const HungServer hung;
  ASSERT_TRUE(hung.is_listening());
  const auto client = Client::Connect({.endpoint = hung.endpoint(),
                                       .lookup_timeout_ms = 200,
                                       .num_workers = 1,
                                       .queue_max = 2});
  ASSERT_TRUE(client.ok());
  const std::string keys = ChainKeys("queue", 1);
  std::map<uint64_t, int> submitted;
  for (int i = 0; i < 10; ++i) {
    ++submitted[(*client)->SubmitMatch("ns", {.keys = keys})];
  }
  ASSERT_EQ(submitted.size(), 10u);
  std::map<uint64_t, Completion> done;
  EXPECT_EQ(DrainIds(**client, 10, done), submitted);
  int refused = 0;
  for (const auto& [id, completion] : done) {
    EXPECT_FALSE(completion.status.ok());
    if (ErrorReason(completion.status) == "QUEUE") ++refused;
  }
  EXPECT_GE(refused, 7);  // One in the worker's hands, two in the queue.
  EXPECT_LT(refused, 10);
}

TEST_F(ClientServerTest, ADeadNodeCostsOneDeadlineAtMostThenNothing) {
  const auto client = Connect(
      {.endpoint = testing::EndpointOf(*server_), .lookup_timeout_ms = 500});
  const std::string keys = ChainKeys("dead", 2);
  ASSERT_TRUE(client->Match(ns_, {.keys = keys}).ok());
  server_.reset();
  absl::Status status;
  for (int i = 0; i < 4 && ErrorReason(status) != "BREAKER"; ++i) {
    const Stopwatch watch;
    status = client->Match(ns_, {.keys = keys}).status();
    EXPECT_FALSE(status.ok());
    EXPECT_LE(watch.ms(), 500 + kSlackMs);
  }
  EXPECT_EQ(ErrorReason(status), "BREAKER") << status;
  const Stopwatch watch;
  EXPECT_EQ(ErrorReason(client->Match(ns_, {.keys = keys}).status()),
            "BREAKER");
  EXPECT_LE(watch.ms(), 100);
}

TEST_F(ClientServerTest, HintsReachTheNode) {
  const std::string keys = ChainKeys("hinted", 4);
  const auto client = Connect({.endpoint = testing::EndpointOf(*server_)});
  ASSERT_EQ(Put(ns_, {.keys = keys}, 0, 3, 4096, 0, "a").writes,
            Writes(3, WriteResult::kCommitted));

  const auto hinted =
      client->Hint(ns_, {.keys = keys}, {.reuse = ReuseHint::Reuse::kEnded});
  ASSERT_TRUE(hinted.ok()) << hinted.status();
  EXPECT_EQ(*hinted, 3u) << "the fourth block is not stored";
  EXPECT_EQ(testing::Reading(*server_, "banyan_reuse_hints_total"), 1u);

  const uint64_t id = client->SubmitHint(
      ns_, {.keys = keys},
      {.reuse = ReuseHint::Reuse::kExpected, .within_ms = 1500});
  std::vector<Completion> drained;
  ASSERT_TRUE(testing::PollUntil([&] {
    drained = client->Drain();
    return !drained.empty();
  }));
  EXPECT_EQ(drained[0].id, id);
  EXPECT_TRUE(drained[0].status.ok()) << drained[0].status;
  EXPECT_EQ(testing::Reading(*server_, "banyan_reuse_hints_total"), 2u);

  const auto answered =
      client->Hint(ns_, {.keys = keys}, {.generated_tokens = 120});
  ASSERT_TRUE(answered.ok()) << answered.status();
  EXPECT_EQ(*answered, 3u);
  EXPECT_EQ(testing::Reading(*server_, "banyan_reuse_hints_total"), 3u);

  const auto late =
      client->Hint(ns_, {.keys = keys}, {.reuse = ReuseHint::Reuse::kExpected});
  EXPECT_EQ(ErrorReason(late.status()), "HINT") << late.status();
  EXPECT_EQ(client->Hint("no such", {.keys = keys}, {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(UnreachableNodeTest, AHungNodeCostsAtMostTheDeadline) {
  const HungServer hung;
  ASSERT_TRUE(hung.is_listening());
  const auto client = Client::Connect({.endpoint = hung.endpoint(),
                                       .lookup_timeout_ms = 300,
                                       .load_timeout_ms = 600});
  ASSERT_TRUE(client.ok());
  const std::string keys = ChainKeys("hung", 1);
  std::vector<std::byte> buffer(64);
  const Stopwatch match;
  EXPECT_FALSE((*client)->Match("ns", {.keys = keys}).ok());
  EXPECT_LE(match.ms(), 300 + kSlackMs);
  const Stopwatch get;
  EXPECT_FALSE((*client)->Get("ns", {.keys = keys}, 0, {buffer}).status.ok());
  EXPECT_LE(get.ms(), 600 + kSlackMs);
  const Stopwatch put;
  EXPECT_FALSE(
      (*client)->Put("ns", {.keys = keys}, 0, {buffer}, {}).status.ok());
  EXPECT_LE(put.ms(), 600 + kSlackMs);
}

TEST_F(ClientServerTest, ACutSessionAbortsItsOpenWrites) {
  testing::RawSession session(testing::ChannelTo(*server_), "cut");
  ASSERT_FALSE(session.id().empty());
  const std::string keys = ChainKeys("abandoned", 4);
  grpc::ClientContext context;
  banyan::v1::ReserveResponse reserved;
  ASSERT_TRUE(session.stub()
                  .Reserve(&context,
                           testing::ReserveOf(session.id(), ns_, keys, 4096),
                           &reserved)
                  .ok());
  ASSERT_EQ(testing::Reading(*server_, "banyan_open_writes"), 1u);
  ASSERT_GT(server_->store().HostUsage().staged_bytes, 0u);
  session.Cancel();
  EXPECT_TRUE(testing::PollUntil([&] {
    return testing::Reading(*server_, "banyan_open_writes") == 0 &&
           server_->store().HostUsage().staged_bytes == 0;
  }));
  const Completion put = Put(ns_, {.keys = keys}, 0, 4, 4096, 0, "a");
  EXPECT_EQ(put.writes, Writes(4, WriteResult::kCommitted));
}

}  // namespace
}  // namespace banyan
