// Facts from the SSD tier on their way up while it opens: what it holds, and
// where in its chains. They wait here for ColdStore::Recover.
//
// Threads: thread-safe.
// Cost:    72 B of memory for each block, until it is recovered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "cache_server/index/prefix_index.h"
#include "tiers/ssd/ssd_tier.h"

namespace banyan::engine {

class RecoveredBlocks final : public tiers::SsdFoundSink {
 public:
  struct Found {
    // `ns` of each is an index in `namespace_ids`.
    std::vector<index::RestoredBlock> blocks;
    std::vector<std::string> namespace_ids;
    std::vector<BlockId> unplaced;  // Their place record cannot be read.
    // Of a record with another number than the first; 0 if there is none.
    uint16_t group_blocks = 0;
    uint16_t other_group_blocks = 0;
  };

  void OnFound(absl::Span<const tiers::FoundBlock> blocks) override;
  void OnForgotten() override;

  // All that was told so far.
  Found Take();

 private:
  uint32_t NamespaceIndex(const std::string& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  Found found_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint32_t> namespaces_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
