// Follows a read by layers: which leading blocks still count, and which layers
// of all of them are in place. Tells the sink, in order.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <vector>

#include "client/transport/layers.h"

namespace banyan::transport {

class LayerTracker {
 public:
  // `sink` may be null; it outlives *this.
  LayerTracker(uint32_t first_layer, size_t blocks, LayerSink* sink)
      : sink_(sink),
        first_layer_(first_layer),
        landed_(blocks),
        blocks_(static_cast<uint32_t>(blocks)) {}

  // The next layer of this block was verified in its buffer.
  void OnLanded(uint32_t ordinal);

  // This block, and so all behind it, does not count.
  void OnLost(uint32_t ordinal);

  // Leading ones that count.
  uint32_t blocks() const { return blocks_; }
  uint32_t landed(uint32_t ordinal) const { return landed_[ordinal]; }

 private:
  void Tell();

  LayerSink* const sink_;
  const uint32_t first_layer_;
  std::vector<uint32_t> landed_;  // Layers of each block.
  uint32_t blocks_;
  uint32_t told_ = 0;      // Layers.
  uint32_t frontier_ = 0;  // Blocks before it have landed the next one.
};

}  // namespace banyan::transport
