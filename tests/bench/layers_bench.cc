// L1, L2, L3: 64 blocks of 2 MiB, 32 layers each, layer by layer.
//
// L1    time until the first layer of all blocks is in place, verified ÷ until
//       all are: through shared memory
// L2    the same over gRPC
// L3    hand-off: a client writes the blocks layer by layer while another
//       follows. Time from the writer's Commit until the follower has every
//       block as a hit ÷ the time of a read by layers that begins after it.
//       Shared memory, both.
//
// The blocks of a read were not read just before: a few prefixes take turns,
// more than the caches hold.
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kLayers = 32;
constexpr uint64_t kLayerBytes = 64 * kKiB;
constexpr uint64_t kBlockBytes = kLayers * kLayerBytes;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

// Llama-3.1-8B, blocks of 16 tokens.
Fingerprint Layered() {
  return {.model = "layered",
          .hash_algorithm = "bench",
          .data_type = "bf16",
          .layout = "nhd",
          .layers = kLayers,
          .kv_heads = 8,
          .head_dim = 128,
          .planes = 2,
          .block_tokens = 16};
}

// A node, prefixes in it, and memory for one.
class Prefixes {
 public:
  Prefixes(const Arguments& arguments, TransportKind transport)
      : blocks_(arguments.is_tiny ? 4 : 64),
        node_({.host_bytes = (kPrefixes + 5) * prefix_bytes(),
               .transport = transport}),
        namespace_id_(node_.client().OpenNamespace("layers", Layered())->id),
        source_(Payload("layers", prefix_bytes())),
        memory_(prefix_bytes()) {
    for (int i = 0; i < kPrefixes; ++i) {
      keys_.push_back(NewKeys());
      Write(keys_.back());
    }
  }

  struct Times {
    double first_ms = 0;    // Until the first layer of all blocks,
    double all_ms = 0;      // until the last.
    Clock::time_point end;  // Of the call.
  };
  // A read of the next prefix.
  Times Read() { return ReadBy(node_.client(), keys_[next_++ % kPrefixes]); }

  // Since the writer's Commit, until the follower has all; at least 0.
  double MeasureHandOff(Client& follower) {
    const std::string keys = NewKeys();
    auto write = Begin(keys);
    Times times;
    std::thread following([&] { times = ReadBy(follower, keys); });
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      BANYAN_CHECK(write->Put(layer, LayerOf(layer)).ok());
    }
    const auto committing = Clock::now();
    BANYAN_CHECK(write->Commit().status.ok());
    following.join();
    return std::max(
        std::chrono::duration<double, std::milli>(times.end - committing)
            .count(),
        0.0);
  }

  Node& node() { return node_; }

 private:
  static constexpr int kPrefixes = 3;

  uint64_t prefix_bytes() const { return blocks_ * kBlockBytes; }

  std::string NewKeys() {
    return testing::ChainKeys(absl::StrCat("layers", made_++, "-"), blocks_);
  }

  std::unique_ptr<LayerWrite> Begin(const std::string& keys) {
    auto write =
        node_.client().PutLayers(namespace_id_, {.keys = keys}, 0, blocks_, {});
    BANYAN_CHECK(write.ok());
    return *std::move(write);
  }

  std::vector<std::span<const std::byte>> LayerOf(uint32_t layer) const {
    std::vector<std::span<const std::byte>> slices;
    for (uint32_t i = 0; i < blocks_; ++i) {
      slices.push_back(std::span<const std::byte>(source_).subspan(
          i * kBlockBytes + layer * kLayerBytes, kLayerBytes));
    }
    return slices;
  }

  void Write(const std::string& keys) {
    auto write = Begin(keys);
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      BANYAN_CHECK(write->Put(layer, LayerOf(layer)).ok());
    }
    BANYAN_CHECK(write->Commit().status.ok());
  }

  Times ReadBy(Client& client, const std::string& keys) {
    Times times;
    uint32_t told = 0;
    const auto start = Clock::now();
    const Completion done = client.GetLayers(
        namespace_id_, {.keys = keys}, 0,
        Split(std::span(memory_), kBlockBytes),
        {.follow = true, .on_tell = [&](const LayerTell& tell) {
           BANYAN_CHECK(tell.what == LayerTell::What::kLanded &&
                        tell.blocks == blocks_ && tell.layer == told);
           if (told++ == 0) times.first_ms = MsSince(start);
           times.all_ms = MsSince(start);
         }});
    times.end = Clock::now();
    BANYAN_CHECK(done.status.ok() && done.hit_blocks == blocks_ &&
                 told == kLayers);
    BANYAN_CHECK(memory_ == source_);
    return times;
  }

  const uint32_t blocks_;
  Node node_;
  const std::string namespace_id_;
  const std::vector<std::byte> source_;
  std::vector<std::byte> memory_;
  std::vector<std::string> keys_;
  uint64_t next_ = 0;
  uint64_t made_ = 0;
};

nlohmann::ordered_json FirstLayer(const Target& target,
                                  const Arguments& arguments,
                                  TransportKind transport) {
  Prefixes prefixes(arguments, transport);
  prefixes.Read();
  std::vector<double> ratios;
  std::vector<double> first_ms;
  std::vector<double> all_ms;
  for (int i = 0; i < arguments.repeats; ++i) {
    const auto times = prefixes.Read();
    ratios.push_back(times.first_ms / times.all_ms);
    first_ms.push_back(times.first_ms);
    all_ms.push_back(times.all_ms);
  }
  auto json = ResultJson(target, ratios);
  json[target.id]["a"] = {{"name", "first layer of all blocks"},
                          {"unit", "ms"},
                          {"median", Median(first_ms)}};
  json[target.id]["b"] = {
      {"name", "all layers"}, {"unit", "ms"}, {"median", Median(all_ms)}};
  return json;
}

nlohmann::ordered_json HandOff(const Arguments& arguments) {
  Prefixes prefixes(arguments, TransportKind::kShm);
  auto follower = *Client::Connect({.endpoint = prefixes.node().endpoint(),
                                    .engine = "bench",
                                    .transport = TransportKind::kShm});
  BANYAN_CHECK(follower->WaitReady(10000).ok());
  return Compare(
      {.id = "L3",
       .what = "a follower's end after Commit / a read by layers",
       .unit = "ratio",
       .floor = 0.5,
       .goal = 0.1,
       .better = "lower"},
      arguments,
      {.name = "from Commit to the follower's last block",
       .unit = "ms",
       .measure = [&] { return prefixes.MeasureHandOff(*follower); }},
      {.name = "read by layers, begun after Commit",
       .unit = "ms",
       .measure = [&] { return prefixes.Read().all_ms; }},
      {prefixes.node().pid()});
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  const Arguments arguments = ParseArguments(argc, argv);
  const auto target = [](const char* id, const char* what) {
    return Target{.id = id,
                  .what = what,
                  .unit = "ratio",
                  .floor = 0.1,
                  .goal = 0.05,
                  .better = "lower"};
  };
  auto result =
      FirstLayer(target("L1", "shm, first of 32 layers of 64 blocks / all"),
                 arguments, TransportKind::kShm);
  result.update(
      FirstLayer(target("L2", "gRPC, first of 32 layers of 64 blocks / all"),
                 arguments, TransportKind::kGrpc));
  result.update(HandOff(arguments));
  std::cout << result.dump() << "\n";
  return 0;
}
