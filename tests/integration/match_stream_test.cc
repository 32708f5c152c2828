// Goal: questions over a match stream get the answers that MatchPrefix gives;
// a stream that breaks, is refused or hangs costs a caller nothing more than
// its deadline; a stream at rest keeps no node from stopping.
// Method: streams spoken by hand over the raw stub, and the client against a
// node in this process, or in one that is stopped by a signal.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>

#include "tests/integration/node.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;

using testing::ChainKeys;

constexpr size_t kBlockBytes = 512;

// Stores the first `count` blocks of the chain.
void PutBlocks(Client& client, const std::string& ns, std::string_view keys,
               size_t count) {
  std::vector<std::vector<std::byte>> payloads;
  std::vector<std::span<const std::byte>> views;
  for (size_t i = 0; i < count; ++i) {
    payloads.push_back(testing::PayloadOf("match", keys, i, kBlockBytes));
  }
  for (const auto& payload : payloads) views.emplace_back(payload);
  const Completion done =
      client.Put(ns, {.keys = keys.substr(0, count * 32)}, 0, views, {});
  ASSERT_TRUE(done.status.ok()) << done.status;
}

// A match stream by hand.
class RawMatchStream {
 public:
  explicit RawMatchStream(std::shared_ptr<grpc::Channel> channel)
      : stub_(pb::Cache::NewStub(std::move(channel))),
        stream_(stub_->MatchPrefixes(&context_)) {}

  // Hits, or -1 if the stream has ended.
  int Ask(const std::string& ns, std::string_view keys) {
    pb::MatchPrefixRequest request;
    request.set_namespace_id(ns);
    request.mutable_run()->set_keys(std::string(keys));
    request.mutable_run()->set_key_bytes(32);
    pb::MatchPrefixResponse response;
    if (!stream_->Write(request) || !stream_->Read(&response)) return -1;
    return static_cast<int>(response.hit_blocks());
  }

  grpc::Status Finish() { return stream_->Finish(); }
  void Close() { stream_->WritesDone(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<pb::Cache::Stub> stub_;
  std::unique_ptr<
      grpc::ClientReaderWriter<pb::MatchPrefixRequest, pb::MatchPrefixResponse>>
      stream_;
};

class MatchStreamTest : public ::testing::Test {
 protected:
  explicit MatchStreamTest(uint32_t calls_max = 512) {
    server::Config config = testing::SmallConfig();
    config.calls_max = calls_max;
    auto server = server::Server::Start(config);
    if (!server.ok()) return;
    server_ = *std::move(server);
    client_ = Connect(testing::EndpointOf(*server_));
    ns_ = client_->OpenNamespace("match", testing::OpaqueFingerprint())->id;
  }

  static std::unique_ptr<Client> Connect(const std::string& endpoint,
                                         int timeout_ms = 5000) {
    auto client = Client::Connect({.endpoint = endpoint,
                                   .lookup_timeout_ms = timeout_ms,
                                   .transport = TransportKind::kGrpc});
    return client.ok() && (*client)->WaitReady(5000).ok() ? *std::move(client)
                                                          : nullptr;
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  std::string ns_;
};

class CrowdedMatchStreamTest : public MatchStreamTest {
 protected:
  CrowdedMatchStreamTest() : MatchStreamTest(2) {}
};

TEST_F(MatchStreamTest, EachQuestionGetsItsAnswerInTurn) {
  const std::string keys = ChainKeys("a-", 6);
  PutBlocks(*client_, ns_, keys, 4);
  RawMatchStream stream(testing::ChannelTo(*server_));

  EXPECT_EQ(stream.Ask(ns_, keys), 4);
  EXPECT_EQ(stream.Ask(ns_, keys.substr(0, 64)), 2);
  EXPECT_EQ(stream.Ask(ns_, ChainKeys("absent-", 3)), 0);
  PutBlocks(*client_, ns_, keys, 6);
  EXPECT_EQ(stream.Ask(ns_, keys), 6);

  stream.Close();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(MatchStreamTest, AQuestionThatFailsEndsTheStreamWithItsStatus) {
  RawMatchStream stream(testing::ChannelTo(*server_));

  EXPECT_EQ(stream.Ask("no such namespace", ChainKeys("a-", 1)), -1);

  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MatchStreamTest, TheClientReportsAFailureAndGoesOn) {
  const std::string keys = ChainKeys("a-", 3);
  PutBlocks(*client_, ns_, keys, 3);
  ASSERT_EQ(*client_->Match(ns_, {.keys = keys}), 3u);

  const auto failed = client_->Match(std::string(16, 'x'), {.keys = keys});

  EXPECT_TRUE(absl::IsNotFound(failed.status())) << failed.status();
  EXPECT_EQ(*client_->Match(ns_, {.keys = keys}), 3u);
}

TEST_F(MatchStreamTest, ManyCallersGetTheirOwnAnswers) {
  constexpr size_t kThreads = 24;  // Three times the streams of a client.
  const std::string keys = ChainKeys("a-", kThreads);
  PutBlocks(*client_, ns_, keys, kThreads);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 1; t <= kThreads; ++t) {
    threads.emplace_back([&, t] {
      const KeyChain chain{.keys = std::string_view(keys).substr(0, t * 32)};
      for (int i = 0; i < 50; ++i) {
        const auto hits = client_->Match(ns_, chain);
        if (!hits.ok() || *hits != t) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(wrong, 0);
}

TEST_F(CrowdedMatchStreamTest, AStreamTooManyIsRefusedAndTheClientCopes) {
  const std::string keys = ChainKeys("a-", 3);
  PutBlocks(*client_, ns_, keys, 3);
  RawMatchStream first(testing::ChannelTo(*server_));
  RawMatchStream second(testing::ChannelTo(*server_));
  ASSERT_EQ(first.Ask(ns_, keys), 3);
  ASSERT_EQ(second.Ask(ns_, keys), 3);

  RawMatchStream third(testing::ChannelTo(*server_));

  EXPECT_EQ(third.Ask(ns_, keys), -1);
  EXPECT_EQ(third.Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(*client_->Match(ns_, {.keys = keys}), 3u);
}

TEST_F(MatchStreamTest, AStreamAtRestDoesNotKeepTheNodeFromStopping) {
  const std::string keys = ChainKeys("a-", 1);
  RawMatchStream stream(testing::ChannelTo(*server_));
  ASSERT_EQ(stream.Ask(ns_, keys), 0);
  client_ = nullptr;  // Its session would end only with its next heartbeat.
  const auto start = std::chrono::steady_clock::now();

  server_->Shutdown(absl::Seconds(60));

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_FALSE(stream.Finish().ok());
}

TEST_F(MatchStreamTest, AStoppedProcessCostsTheDeadlineAndIsFoundAgain) {
  testing::ServerProcess process;
  ASSERT_TRUE(process.Start({"--dev", "--grpc-port=0", "--host-bytes=16MiB"}));
  const auto client = Connect(process.endpoint(), /*timeout_ms=*/300);
  ASSERT_NE(client, nullptr);
  const auto opened =
      client->OpenNamespace("match", testing::OpaqueFingerprint());
  ASSERT_TRUE(opened.ok());
  const std::string keys = ChainKeys("a-", 2);
  ASSERT_EQ(*client->Match(opened->id, {.keys = keys}), 0u);
  kill(process.pid(), SIGSTOP);
  ASSERT_EQ(waitpid(process.pid(), nullptr, WUNTRACED), process.pid());

  const auto start = std::chrono::steady_clock::now();
  const auto late = client->Match(opened->id, {.keys = keys});
  const auto passed = std::chrono::steady_clock::now() - start;
  kill(process.pid(), SIGCONT);

  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status())) << late.status();
  EXPECT_GE(passed, std::chrono::milliseconds(250));
  EXPECT_LT(passed, std::chrono::seconds(10));
  EXPECT_TRUE(testing::PollUntil(
      [&] { return client->Match(opened->id, {.keys = keys}).ok(); }));
}

}  // namespace
}  // namespace banyan
