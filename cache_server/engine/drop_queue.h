// Facts from the SSD tier on their way up: ids of blocks that it dropped by
// itself. They wait here until the engine's next tick. Until then a lookup may
// name a block that nobody has; reading it is a miss.
//
// Threads: thread-safe.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::engine {

class DropQueue final : public tiers::SsdDropSink {
 public:
  void OnDropped(absl::Span<const BlockId> ids) override {
    MutexLock lock(mutex_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

  std::vector<BlockId> Take() {
    MutexLock lock(mutex_);
    return std::exchange(ids_, {});
  }

 private:
  Mutex mutex_;
  std::vector<BlockId> ids_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
