// The block ids of a KeyRun with its lead: a stretch of one chain from which
// runs for the index are cut, each with the lead that belongs to it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/block_id.h"
#include "base/block_key.h"
#include "cache_server/index/prefix_index.h"

namespace banyan::engine {

class ChainIds {
 public:
  ChainIds() = default;

  // Requires: the run was validated (its lead fits group_blocks).
  ChainIds(const KeyRun& run, const BlockIdHasher& hasher,
           uint32_t group_blocks)
      : group_blocks_(group_blocks),
        lead_size_(static_cast<uint32_t>(run.lead_size())),
        first_(run.first_block - lead_size_) {
    ids_.reserve(lead_size_ + run.size());
    for (uint32_t i = 0; i < lead_size_; ++i) {
      ids_.push_back(hasher(run.lead_key(i)));
    }
    for (size_t i = 0; i < run.size(); ++i) ids_.push_back(hasher(run.key(i)));
  }

  // Blocks of the run itself.
  size_t size() const { return ids_.size() - lead_size_; }
  const BlockId& operator[](size_t i) const { return ids_[lead_size_ + i]; }
  absl::Span<const BlockId> ids() const {
    return absl::MakeConstSpan(ids_).subspan(lead_size_);
  }

  // Blocks [begin, end) of the run. Negative begin reaches into the lead.
  index::IdRun Run(int64_t begin, int64_t end) const {
    const int64_t at = lead_size_ + begin;
    const int64_t position = first_ + at;
    // The lead: from the start of the group of the block before.
    const int64_t back = position == 0 ? 0 : (position - 1) % group_blocks_ + 1;
    const int64_t lead_size = std::min(back, at);
    return {
        .ids = absl::MakeConstSpan(ids_).subspan(at, end - begin),
        .first_block = static_cast<uint32_t>(position),
        .lead = absl::MakeConstSpan(ids_).subspan(at - lead_size, lead_size)};
  }

  // The whole run.
  index::IdRun Run() const { return Run(0, static_cast<int64_t>(size())); }

  // True if block i of the run is the first of its group.
  bool StartsGroup(size_t i) const {
    return (first_ + lead_size_ + i) % group_blocks_ == 0;
  }

  // True if there is a block before block 0 of the run.
  bool HasParent(size_t i) const { return i > 0 || lead_size_ > 0; }

 private:
  uint32_t group_blocks_ = 1;
  uint32_t lead_size_ = 0;
  uint32_t first_ = 0;  // Position in the chain of ids_[0].
  std::vector<BlockId> ids_;
};

}  // namespace banyan::engine
