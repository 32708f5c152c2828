#include "client/ctl/bounds.h"

#include <set>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace banyan::ctl {
namespace {

constexpr uint64_t kNever = UINT64_MAX;

// For each block of each request, the next request that has it.
std::vector<std::vector<uint64_t>> NextUses(
    const std::vector<TraceRequest>& trace) {
  std::vector<std::vector<uint64_t>> next(trace.size());
  absl::flat_hash_map<uint64_t, uint64_t> seen;
  for (size_t i = trace.size(); i-- > 0;) {
    for (const uint64_t block : trace[i].blocks) {
      const auto found = seen.find(block);
      next[i].push_back(found == seen.end() ? kNever : found->second);
    }
    for (const uint64_t block : trace[i].blocks) seen[block] = i;
  }
  return next;
}

}  // namespace

uint64_t InfiniteHits(const std::vector<TraceRequest>& trace) {
  absl::flat_hash_set<uint64_t> cached;
  uint64_t hits = 0;
  for (const TraceRequest& request : trace) {
    for (const uint64_t block : request.blocks) {
      if (!cached.contains(block)) break;
      ++hits;
    }
    cached.insert(request.blocks.begin(), request.blocks.end());
  }
  return hits;
}

uint64_t BeladyHits(const std::vector<TraceRequest>& trace,
                    uint64_t capacity_blocks) {
  using Rank = std::tuple<uint64_t, uint64_t, uint64_t>;  // next, depth, block
  const auto next = NextUses(trace);
  absl::flat_hash_map<uint64_t, Rank> cached;
  std::set<Rank> ranked;
  uint64_t hits = 0;
  for (size_t i = 0; i < trace.size(); ++i) {
    const std::vector<uint64_t>& blocks = trace[i].blocks;
    for (const uint64_t block : blocks) {
      if (!cached.contains(block)) break;
      ++hits;
    }
    for (size_t depth = 0; depth < blocks.size(); ++depth) {
      const Rank rank{next[i][depth], depth, blocks[depth]};
      const auto [entry, is_new] = cached.emplace(blocks[depth], rank);
      if (!is_new) {
        ranked.erase(entry->second);
        entry->second = rank;
      }
      ranked.insert(rank);
    }
    while (cached.size() > capacity_blocks) {
      const auto last = std::prev(ranked.end());
      cached.erase(std::get<2>(*last));
      ranked.erase(last);
    }
  }
  return hits;
}

}  // namespace banyan::ctl
