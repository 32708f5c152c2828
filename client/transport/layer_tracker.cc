#include "client/transport/layer_tracker.h"

namespace banyan::transport {

void LayerTracker::OnLanded(uint32_t ordinal) {
  ++landed_[ordinal];
  Tell();
}

void LayerTracker::OnLost(uint32_t ordinal) {
  if (ordinal >= blocks_) return;
  blocks_ = ordinal;
  if (sink_ != nullptr && told_ > 0) sink_->OnCut(blocks_);
  Tell();
}

// Each block is looked at once a layer.
void LayerTracker::Tell() {
  while (blocks_ > 0) {
    while (frontier_ < blocks_ && landed_[frontier_] > told_) ++frontier_;
    if (frontier_ < blocks_) return;
    const uint32_t layer = first_layer_ + told_;
    ++told_;
    frontier_ = 0;
    if (sink_ != nullptr) sink_->OnLayer(layer, blocks_);
  }
}

}  // namespace banyan::transport
