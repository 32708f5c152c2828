// What the BlockStore counts, under the names of the metrics page.
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/engine/block_store.h"

namespace banyan::engine {
namespace {

using tiers::DiskHealth;

void AddDisk(tiers::SsdTier& ssd, std::vector<BlockStore::Reading>& out) {
  const tiers::SsdCounters counters = ssd.counters();
  for (const auto& [error, count] : counters.errors) {
    out.push_back(
        {.name = absl::StrCat("banyan_disk_errors_total{op=\"", error.first,
                              "\",errno=\"", error.second, "\"}"),
         .value = count});
  }
  for (size_t i = 0; i < DiskHealth::kOpCount; ++i) {
    const std::string label = absl::StrCat(
        "{op=\"", DiskHealth::NameOf(static_cast<DiskHealth::Op>(i)), "\"}");
    out.push_back({.name = absl::StrCat("banyan_disk_calls_total", label),
                   .value = counters.disk.calls[i]});
    out.push_back({.name = absl::StrCat("banyan_disk_slow_calls_total", label),
                   .value = counters.disk.slow_calls[i]});
  }
  const std::pair<const char*, uint64_t> totals[] = {
      {"banyan_disk_rereads_total", counters.rereads},
      {"banyan_disk_abandoned_reads_total", counters.abandoned_reads},
      {"banyan_unreadable_blocks_total", counters.blocks_dropped_unreadable},
      {"banyan_segment_quarantined_total", counters.segments_quarantined}};
  for (const auto& [name, value] : totals) {
    out.push_back({.name = name, .value = value});
  }
}

// One gauge for each trouble: 1 while it lasts.
void AddTroubles(tiers::SsdTier& ssd, std::vector<BlockStore::Reading>& out) {
  const auto problems = ssd.problems();
  for (const DiskHealth::Trouble trouble : DiskHealth::kTroubles) {
    uint64_t value = 0;
    for (const auto& problem : problems) {
      if (problem.trouble == trouble) value = 1;
    }
    out.push_back(
        {.name = absl::StrCat("banyan_tier_state{tier=\"ssd\",state=\"",
                              DiskHealth::NameOf(trouble), "\"}"),
         .value = value,
         .is_gauge = true});
  }
}

}  // namespace

std::vector<BlockStore::Reading> BlockStore::Stats() const {
  std::vector<Reading> stats;
  for (auto& [name, value] : counters_.Read()) {
    stats.push_back({.name = std::move(name), .value = value});
  }
  if (cold_ != nullptr) AddDisk(cold_->tier(), stats);
  const std::pair<const char*, uint64_t> gauges[] = {
      {"banyan_blocks", index_.blocks()},
      {"banyan_index_bytes", index_.memory_bytes()},
      {"banyan_sessions", sessions_.size()},
      {"banyan_leases", leases_.size()},
      {"banyan_leased_bytes", leases_.leased_bytes()},
      {"banyan_open_writes", writes_.size()},
      {"banyan_eviction_candidates", policy_->size()}};
  for (const auto& [name, value] : gauges) {
    stats.push_back({.name = name, .value = value, .is_gauge = true});
  }
  if (cold_ != nullptr) AddTroubles(cold_->tier(), stats);
  return stats;
}

}  // namespace banyan::engine
