// Goal: `banyanctl bench` measures what it says, verifies what it reads, and
// leaves nothing behind.
// Method: against a server process, by exit code, JSON, and what the node holds
// afterwards. No time is compared with anything. Damage is injected through
// RunBench and a client that flips a byte on its way in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/ctl/bench.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

using ::testing::HasSubstr;
using testing::Output;
using testing::RunProgram;
using testing::ServerProcess;

class CtlBenchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(
        server_.Start({"--dev", "--grpc-port=0", "--host-bytes=16MiB"}));
  }

  Output Ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.endpoint()});
    return RunProgram("banyanctl", arguments);
  }

  // Blocks of all namespaces, and how many namespaces there are.
  nlohmann::json Usage() {
    return nlohmann::json::parse(Ctl({"usage", "-o", "json"}).out);
  }

  ServerProcess server_;
};

TEST_F(CtlBenchTest, CountsAllCallsAndLeavesNothing) {
  const nlohmann::json before = Usage();

  const Output bench =
      Ctl({"bench", "-o", "json", "--block-bytes", "8KiB", "--blocks", "32",
           "--chain-blocks", "8", "--threads", "2", "--seconds", "0.6"});

  ASSERT_EQ(bench.code, 0) << bench.err << bench.out;
  const auto report = nlohmann::json::parse(bench.out);
  EXPECT_EQ(report["put"]["calls"], 4);
  EXPECT_EQ(report["put"]["blocks"], 32);
  for (const char* call : {"put", "match", "get"}) {
    const auto& phase = report[call];
    EXPECT_GT(phase["calls"], 0) << call;
    EXPECT_EQ(phase["blocks"], phase["calls"].get<uint64_t>() * 8) << call;
    EXPECT_GT(phase["ops_per_second"], 0) << call;
    EXPECT_LE(phase["us"]["p50"], phase["us"]["p99"]) << call;
  }
  EXPECT_EQ(report["wrong_blocks"], 0);
  EXPECT_EQ(report["missed_blocks"], 0);
  EXPECT_EQ(report["errors"], 0);
  EXPECT_EQ(Usage(), before);
}

TEST_F(CtlBenchTest, BlocksEvictedMeanwhileAreMissesNotErrors) {
  // Twice what the node holds.
  const Output bench =
      Ctl({"bench", "-o", "json", "--block-bytes", "1MiB", "--blocks", "32",
           "--chain-blocks", "4", "--seconds", "3"});

  ASSERT_EQ(bench.code, 0) << bench.err << bench.out;
  const auto report = nlohmann::json::parse(bench.out);
  EXPECT_GT(report["missed_blocks"], 0);
  EXPECT_EQ(report["wrong_blocks"], 0);
}

TEST_F(CtlBenchTest, TheTableNamesTheThreeCalls) {
  const Output bench =
      Ctl({"bench", "--quick", "--block-bytes", "4KiB", "--blocks", "16"});

  EXPECT_EQ(bench.code, 0) << bench.err;
  for (const char* word : {"put ", "match ", "get ", "P99", "wrong blocks 0"}) {
    EXPECT_THAT(bench.out, HasSubstr(word));
  }
}

TEST_F(CtlBenchTest, WrongArgumentsAreUsageErrors) {
  EXPECT_EQ(Ctl({"bench", "--block-bytes", "0"}).code, 2);
  EXPECT_EQ(Ctl({"bench", "--block-bytes", "65MiB"}).code, 2);
  EXPECT_EQ(Ctl({"bench", "--threads", "0"}).code, 2);
  EXPECT_EQ(Ctl({"bench", "--blocks", "4", "--chain-blocks", "8"}).code, 2);
}

TEST_F(CtlBenchTest, AnAbsentNodeIsUnavailable) {
  EXPECT_EQ(RunProgram("banyanctl", {"--server", "127.0.0.1:1", "--timeout-ms",
                                     "300", "bench", "--quick"})
                .code,
            5);
}

// Passes everything on, but answers Get with one byte changed.
class LyingClient final : public Client {
 public:
  explicit LyingClient(Client& honest) : honest_(honest) {}

  uint64_t SubmitMatch(std::string_view ns, const KeyChain& chain) override {
    return honest_.SubmitMatch(ns, chain);
  }
  uint64_t SubmitGet(std::string_view ns, const KeyChain& chain, uint32_t first,
                     std::vector<std::span<std::byte>> buffers,
                     const GetOptions& options) override {
    return honest_.SubmitGet(ns, chain, first, std::move(buffers), options);
  }
  uint64_t SubmitPut(std::string_view ns, const KeyChain& chain, uint32_t first,
                     std::vector<std::span<const std::byte>> payloads,
                     const PutOptions& options) override {
    return honest_.SubmitPut(ns, chain, first, std::move(payloads), options);
  }
  uint64_t SubmitHint(std::string_view ns, const KeyChain& chain,
                      const ReuseHint& hint) override {
    return honest_.SubmitHint(ns, chain, hint);
  }
  absl::StatusOr<uint32_t> Hint(std::string_view ns, const KeyChain& chain,
                                const ReuseHint& hint) override {
    return honest_.Hint(ns, chain, hint);
  }
  uint64_t SubmitGetLayers(std::string_view ns, const KeyChain& chain,
                           uint32_t first,
                           std::vector<std::span<std::byte>> buffers,
                           const LayerOptions& options) override {
    return honest_.SubmitGetLayers(ns, chain, first, std::move(buffers),
                                   options);
  }
  std::vector<LayerTell> DrainLayers() override {
    return honest_.DrainLayers();
  }
  int layer_event_fd() const override { return honest_.layer_event_fd(); }
  Completion GetLayers(std::string_view ns, const KeyChain& chain,
                       uint32_t first,
                       std::vector<std::span<std::byte>> buffers,
                       const LayerOptions& options) override {
    return honest_.GetLayers(ns, chain, first, std::move(buffers), options);
  }
  absl::StatusOr<std::unique_ptr<LayerWrite>> PutLayers(
      std::string_view ns, const KeyChain& chain, uint32_t first,
      uint32_t count, const PutOptions& options) override {
    return honest_.PutLayers(ns, chain, first, count, options);
  }
  std::vector<Completion> Drain() override { return honest_.Drain(); }
  int event_fd() const override { return honest_.event_fd(); }
  absl::StatusOr<OpenedNamespace> OpenNamespace(
      std::string_view name, const Fingerprint& fingerprint,
      const NamespaceOptions& options) override {
    return honest_.OpenNamespace(name, fingerprint, options);
  }
  absl::StatusOr<uint32_t> Match(std::string_view ns,
                                 const KeyChain& chain) override {
    return honest_.Match(ns, chain);
  }
  Completion Get(std::string_view ns, const KeyChain& chain, uint32_t first,
                 std::vector<std::span<std::byte>> buffers,
                 const GetOptions& options) override {
    const auto last = buffers.back();
    Completion done =
        honest_.Get(ns, chain, first, std::move(buffers), options);
    last.back() ^= std::byte{1};
    return done;
  }
  Completion Put(std::string_view ns, const KeyChain& chain, uint32_t first,
                 std::vector<std::span<const std::byte>> payloads,
                 const PutOptions& options) override {
    return honest_.Put(ns, chain, first, std::move(payloads), options);
  }
  absl::Status WaitReady(int timeout_ms) override {
    return honest_.WaitReady(timeout_ms);
  }

  absl::StatusOr<std::unique_ptr<BlockView>> GetView(
      std::string_view namespace_id, const KeyChain& chain, uint32_t first,
      uint32_t count, const ViewOptions& options) override {
    return honest_.GetView(namespace_id, chain, first, count, options);
  }

  ClientStats stats() const override { return honest_.stats(); }

  TransportFacts transport() const override { return honest_.transport(); }

 private:
  Client& honest_;
};

TEST_F(CtlBenchTest, OneWrongByteInEachChainIsFound) {
  auto client = Client::Connect({.endpoint = server_.endpoint()});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE((*client)->WaitReady(5000).ok());
  LyingClient lying(**client);

  const auto report = ctl::RunBench(lying, {.space = "bench-lies",
                                            .block_bytes = 8192,
                                            .blocks = 12,
                                            .chain_blocks = 4,
                                            .threads = 1,
                                            .seconds = 3});

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->wrong_blocks, 3u);
  EXPECT_THAT(report->first_error, HasSubstr("wrong byte at 8191"));
}

}  // namespace
}  // namespace banyan
