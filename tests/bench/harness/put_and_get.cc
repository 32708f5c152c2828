#include "tests/bench/harness/put_and_get.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/blocks.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

// Writes chains that no other call writes.
class FreshChains {
 public:
  FreshChains(const Arguments& arguments, TransportKind transport)
      : node_({.host_bytes = 4 * kChainBytes, .transport = transport}),
        source_(Payload("put", (arguments.is_tiny ? 2 : 5) * kChainBytes)) {}

  double MeasurePut(double seconds) {
    const auto sources =
        Split(std::span<const std::byte>(source_), kChainBytes);
    const double calls = CallsPerSecond(seconds, [&](uint64_t) {
      const auto& source = sources[next_ % sources.size()];
      keys_ =
          testing::ChainKeys(absl::StrCat("put", next_++, "-"), kChainBlocks);
      node_.Put(keys_, Split(source, kBlockBytes));
    });
    CheckLast(sources[(next_ - 1) % sources.size()]);
    return calls * kChainBytes / 1e9;
  }

  Node& node() { return node_; }

 private:
  void CheckLast(std::span<const std::byte> source) {
    std::vector<std::byte> read(kChainBytes);
    node_.Get(keys_, Split(std::span(read), kBlockBytes));
    BANYAN_CHECK(std::equal(read.begin(), read.end(), source.begin()));
  }

  Node node_;
  const std::vector<std::byte> source_;
  std::string keys_;  // Of the last write.
  uint64_t next_ = 0;
};

}  // namespace

nlohmann::ordered_json ComparePutWithGet(const Target& target,
                                         const Arguments& arguments,
                                         TransportKind transport) {
  FreshChains fresh(arguments, transport);
  StoredChains chains(
      arguments, {.host_bytes = HostBytes(arguments), .transport = transport});
  return Compare(
      target, arguments,
      {.name = "put, committed",
       .unit = "GB/s",
       .measure = [&] { return fresh.MeasurePut(arguments.seconds()); }},
      {.name = "get, verified",
       .unit = "GB/s",
       .measure = [&] { return chains.MeasureGet(arguments.seconds()); }},
      {fresh.node().pid(), chains.node().pid()});
}

}  // namespace banyan::bench
