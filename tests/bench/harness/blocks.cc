#include "tests/bench/harness/blocks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/integration/node.h"

namespace banyan::bench {

StoredChains::StoredChains(const Arguments& arguments,
                           const Node::Options& options)
    : node_(options), buffer_(kChainBytes) {
  std::vector<std::byte> payload;
  for (uint64_t i = 0; i < ChainCount(arguments); ++i) {
    chains_.push_back(
        testing::ChainKeys(absl::StrCat("get", i, "-"), kChainBlocks));
    payload = Payload(chains_.back().substr(0, 32), kChainBytes);
    node_.Put(chains_.back(),
              Split(std::span<const std::byte>(payload), kBlockBytes));
  }
  // What the client verifies, once more by what we know of it.
  node_.Get(chains_.back(), Split(std::span(buffer_), kBlockBytes));
  BANYAN_CHECK(buffer_ == payload);
}

double StoredChains::MeasureGet(double seconds) {
  const auto buffers = Split(std::span(buffer_), kBlockBytes);
  const double calls = CallsPerSecond(seconds, [&](uint64_t) {
    node_.Get(chains_[next_++ % chains_.size()], buffers);
  });
  return calls * kChainBytes / 1e9;
}

}  // namespace banyan::bench
