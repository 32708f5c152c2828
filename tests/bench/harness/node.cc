#include "tests/bench/harness/node.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/program_tuning.h"
#include "base/units.h"
#include "cache_server/server.h"
#include "client/ctl/payload.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr std::string_view kRole = "--serve-unverified";

// "READY grpc=HOST:PORT resp=..." to HOST:PORT.
std::string EndpointOf(const std::string& ready) {
  constexpr std::string_view kStart = "READY grpc=";
  if (!ready.starts_with(kStart)) {
    std::fprintf(stderr, "bench: no node. It said: \"%s\"\n", ready.c_str());
    std::exit(3);
  }
  const size_t begin = kStart.size();
  return ready.substr(begin, ready.find(' ') == std::string::npos
                                 ? std::string::npos
                                 : ready.find(' ', begin) - begin);
}

std::unique_ptr<Child> StartServer(const Node::Options& options) {
  if (!options.verify) {
    return std::make_unique<Child>(
        "/proc/self/exe",
        std::vector<std::string>{"unverified-node", std::string(kRole),
                                 absl::StrCat(options.host_bytes)});
  }
  // LRU: a policy that refuses blocks would leave out what is to be measured.
  return std::make_unique<Child>(
      BANYAN_BIN_DIR "/banyan-server",
      std::vector<std::string>{"banyan-server", "--dev", "--eviction=lru",
                               "--grpc-port", "0", "--host-bytes",
                               absl::StrCat(options.host_bytes / kMiB, "MiB")});
}

[[noreturn]] void Fail(const char* what, const absl::Status& status) {
  std::fprintf(stderr, "bench: %s: %s\n", what, status.ToString().c_str());
  std::exit(3);
}

}  // namespace

Node::Node(const Options& options)
    : server_(StartServer(options)),
      endpoint_(EndpointOf(server_->ReadLine())) {
  auto client = Client::Connect({.endpoint = endpoint_,
                                 .engine = "bench",
                                 .lookup_timeout_ms = 10000,
                                 .load_timeout_ms = options.load_timeout_ms,
                                 .verify_checksums = options.verify,
                                 .transport = options.transport});
  BANYAN_CHECK(client.ok());
  client_ = *std::move(client);
  const absl::Status ready = client_->WaitReady(10'000);
  if (!ready.ok()) Fail("session", ready);
  const auto opened =
      client_->OpenNamespace("bench", testing::OpaqueFingerprint());
  if (!opened.ok()) Fail("namespace", opened.status());
  namespace_id_ = opened->id;
}

void Node::Put(std::string_view keys,
               const std::vector<std::span<const std::byte>>& payloads) {
  const Completion done =
      client_->Put(namespace_id_, {.keys = keys}, 0, payloads, {});
  if (!done.status.ok()) Fail("put", done.status);
  for (const WriteResult result : done.writes) {
    BANYAN_CHECK(result == WriteResult::kCommitted);
  }
}

void Node::Get(std::string_view keys,
               const std::vector<std::span<std::byte>>& buffers) {
  const Completion done =
      client_->Get(namespace_id_, {.keys = keys}, 0, buffers);
  if (!done.status.ok()) Fail("get", done.status);
  BANYAN_CHECK(done.hit_blocks == buffers.size());
}

uint64_t Node::View(std::string_view keys, ViewOptions::Check check) {
  const auto count = static_cast<uint32_t>(keys.size() / 32);
  const auto view = client_->GetView(namespace_id_, {.keys = keys}, 0, count,
                                     {.check = check});
  if (!view.ok()) Fail("view", view.status());
  BANYAN_CHECK((*view)->blocks().size() == count);
  uint64_t sum = 0;
  for (const auto& block : (*view)->blocks()) {
    sum += static_cast<uint64_t>(block.front()) +
           static_cast<uint64_t>(block.back());
  }
  BANYAN_CHECK((*view)->is_alive());
  return sum;
}

void Node::Match(std::string_view keys) {
  const auto hits = client_->Match(namespace_id_, {.keys = keys});
  if (!hits.ok()) Fail("match", hits.status());
  BANYAN_CHECK(*hits * 32 == keys.size());
}

void ServeIfNode(int argc, char** argv) {
  if (argc != 3 || argv[1] != kRole) return;
  server::Config config;
  config.eviction = "lru";
  config.grpc_port = 0;
  BANYAN_CHECK(absl::SimpleAtoi(argv[2], &config.host_bytes));
  TuneProgramForBlocks();  // As banyan-server does.
  const auto server = server::Server::Start(config, {.verify_reads = false});
  if (!server.ok()) Fail("node", server.status());
  std::printf("%s\n", (*server)->ReadyLine().c_str());
  std::fflush(stdout);
  while (true) pause();  // Until the bench ends it by a signal.
}

std::vector<std::byte> Payload(std::string_view name, uint64_t bytes) {
  std::vector<std::byte> payload(bytes);
  ctl::FillPayload("bench", absl::string_view(name.data(), name.size()),
                   absl::MakeSpan(payload));
  return payload;
}

}  // namespace banyan::bench
