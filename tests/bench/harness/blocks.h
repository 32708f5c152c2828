// The blocks that the benches of whole reads and writes move: 2 MiB each, in
// chains of 16, over more memory than the caches hold.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "tests/bench/harness/arguments.h"
#include "tests/bench/harness/node.h"

namespace banyan::bench {

inline constexpr uint64_t kBlockBytes = 2 * kMiB;
inline constexpr uint64_t kChainBlocks = 16;
inline constexpr uint64_t kChainBytes = kChainBlocks * kBlockBytes;

inline uint64_t ChainCount(const Arguments& arguments) {
  return arguments.is_tiny ? 2 : 15;
}

// Room for the chains, and some more.
inline uint64_t HostBytes(const Arguments& arguments) {
  return ChainCount(arguments) * kChainBytes * 5 / 4 + 2 * kChainBytes;
}

// A node that holds the chains, read in turn, one whole chain a call.
class StoredChains {
 public:
  StoredChains(const Arguments& arguments, const Node::Options& options);

  // GB/s of reading whole chains, one call in flight. Every block is verified,
  // unless the node was made not to.
  double MeasureGet(double seconds);

  // The same with one call a block.
  double MeasureGetSingly(double seconds);

  // Microseconds a block of leasing whole chains in place.
  double MeasureViewUs(double seconds, ViewOptions::Check check);

  Node& node() { return node_; }

 private:
  Node node_;
  std::vector<std::string> chains_;
  std::vector<std::byte> buffer_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
