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

double StoredChains::MeasureGetSingly(double seconds) {
  const std::vector<std::span<std::byte>> buffer = {
      std::span(buffer_).first(kBlockBytes)};
  const double calls = CallsPerSecond(seconds, [&](uint64_t) {
    const uint64_t block = next_++;
    const std::string& keys = chains_[block / kChainBlocks % chains_.size()];
    const auto at = static_cast<uint32_t>(block % kChainBlocks);
    const Completion done =
        node_.client().Get(node_.namespace_id(), {.keys = keys}, at, buffer);
    BANYAN_CHECK(done.status.ok() && done.hit_blocks == 1);
  });
  return calls * kBlockBytes / 1e9;
}

double StoredChains::MeasureViewUs(double seconds, ViewOptions::Check check) {
  const double calls = CallsPerSecond(seconds, [&](uint64_t) {
    node_.View(chains_[next_++ % chains_.size()], check);
  });
  return 1e6 / (calls * kChainBlocks);
}

}  // namespace banyan::bench
