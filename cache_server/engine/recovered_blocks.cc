#include "cache_server/engine/recovered_blocks.h"

#include <utility>

#include "cache_server/engine/place_record.h"

namespace banyan::engine {

void RecoveredBlocks::OnFound(absl::Span<const tiers::FoundBlock> blocks) {
  std::vector<std::pair<BlockId, absl::StatusOr<PlaceRecord>>> parsed;
  parsed.reserve(blocks.size());
  for (const tiers::FoundBlock& block : blocks) {
    parsed.emplace_back(block.id, ParsePlaceRecord(block.annotation));
  }
  const MutexLock lock(mutex_);
  for (const auto& [id, record] : parsed) {
    if (!record.ok()) {
      found_.unplaced.push_back(id);
      continue;
    }
    if (found_.group_blocks == 0) found_.group_blocks = record->group_blocks;
    if (record->group_blocks != found_.group_blocks) {
      found_.other_group_blocks = record->group_blocks;
    }
    found_.blocks.push_back({.id = id,
                             .place = record->place,
                             .ns = NamespaceIndex(record->namespace_id)});
  }
}

void RecoveredBlocks::OnForgotten() {
  const MutexLock lock(mutex_);
  found_ = Found();
  namespaces_.clear();
}

RecoveredBlocks::Found RecoveredBlocks::Take() {
  const MutexLock lock(mutex_);
  namespaces_.clear();
  return std::exchange(found_, Found());
}

uint32_t RecoveredBlocks::NamespaceIndex(const std::string& id) {
  const auto [entry, is_new] =
      namespaces_.try_emplace(id, found_.namespace_ids.size());
  if (is_new) found_.namespace_ids.push_back(id);
  return entry->second;
}

}  // namespace banyan::engine
