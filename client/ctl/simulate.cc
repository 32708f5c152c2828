#include "client/ctl/simulate.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/bounds.h"
#include "client/ctl/chart.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::ctl {
namespace {

using Progress = std::function<void(const std::string&, double)>;

absl::Status Validate(const SimulateOptions& options) {
  const auto bad = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SIMULATE", message);
  };
  if (options.policies.empty()) return bad("policy: name at least one.");
  if (options.capacities_blocks.empty()) {
    return bad("capacity-blocks: give at least one.");
  }
  for (const uint64_t capacity : options.capacities_blocks) {
    if (capacity == 0) return bad("capacity-blocks: 0. Give 1 or more.");
  }
  for (const std::string& name : options.policies) {
    BANYAN_RETURN_IF_ERROR(tiers::MakeEvictionPolicy(name).status());
  }
  for (const double share : {options.hints.told, options.hints.untrue}) {
    if (!(share >= 0 && share <= 1)) {
      return bad("hint-told, hint-false: want a share from 0 to 1.");
    }
  }
  if (!(options.hints.token_ms >= 0 && options.hints.token_ms <= 1e6)) {
    return bad("token-ms: want milliseconds from 0 to 1000000.");
  }
  return absl::OkStatus();
}

// Requires: Validate was OK with it.
SimulatedRow RunOne(const SimulatedTrace& trace, const std::string& policy_name,
                    uint64_t capacity_blocks, const Progress& progress) {
  const auto policy = *tiers::MakeEvictionPolicy(policy_name);
  const std::string what =
      absl::StrCat(policy_name, " at ", capacity_blocks, " blocks");
  const Simulation simulation =
      Simulate(trace, *policy, capacity_blocks, [&](size_t done) {
        progress(what,
                 static_cast<double>(done) / static_cast<double>(trace.size()));
      });
  return {.policy = policy_name,
          .capacity_blocks = capacity_blocks,
          .hit_ratio = simulation.hit_ratio(),
          .blocks_per_second = simulation.blocks_per_second(),
          .evictions = simulation.evictions,
          .policy_bytes = policy->memory_bytes()};
}

}  // namespace

double SimulatedRow::gap_closed() const {
  const double gap = hit_ratio_belady - hit_ratio_lru;
  return gap > 0 ? (hit_ratio - hit_ratio_lru) / gap : 0;
}

void AppendTrace(std::vector<TraceRequest> part,
                 std::vector<TraceRequest>& trace) {
  uint64_t shift_ms = 0;
  if (!trace.empty() && !part.empty() &&
      part.front().timestamp_ms < trace.back().timestamp_ms) {
    shift_ms = trace.back().timestamp_ms - part.front().timestamp_ms;
  }
  for (TraceRequest& request : part) {
    request.timestamp_ms += shift_ms;
    trace.push_back(std::move(request));
  }
}

absl::StatusOr<SimulationReport> RunSimulations(
    const std::vector<TraceRequest>& trace, const SimulateOptions& options,
    const Progress& progress) {
  BANYAN_RETURN_IF_ERROR(Validate(options));
  const SimulatedTrace compact(trace, options.hints);
  SimulationReport report{.requests = compact.size(),
                          .blocks_requested = compact.blocks_requested(),
                          .blocks_distinct = compact.ids().size()};
  const auto ratio = [&](uint64_t hits) {
    return static_cast<double>(hits) /
           static_cast<double>(std::max<uint64_t>(1, report.blocks_requested));
  };
  const double infinite = ratio(InfiniteHits(trace));
  for (const uint64_t capacity : options.capacities_blocks) {
    progress(absl::StrCat("belady at ", capacity, " blocks"), 0);
    const double belady = ratio(BeladyHits(trace, capacity));
    const double lru = RunOne(compact, "lru", capacity, progress).hit_ratio;
    for (const std::string& policy : options.policies) {
      SimulatedRow row = RunOne(compact, policy, capacity, progress);
      row.hit_ratio_lru = lru;
      row.hit_ratio_belady = belady;
      row.hit_ratio_infinite = infinite;
      report.rows.push_back(std::move(row));
    }
  }
  return report;
}

std::string SimulationText(const SimulationReport& report) {
  std::string text = absl::StrFormat(
      "%d requests, %d blocks asked for, %d distinct\n\n"
      "capacity  policy      hit ratio      LRU   Belady  infinite  gap closed"
      "   blocks/s\n",
      report.requests, report.blocks_requested, report.blocks_distinct);
  for (const SimulatedRow& row : report.rows) {
    absl::StrAppendFormat(
        &text,
        "%8d  %-10s  %7.2f %%  %5.2f %%  %5.2f %%   %5.2f %%     %5.1f %%"
        "  %9.2e\n",
        row.capacity_blocks, row.policy, 100 * row.hit_ratio,
        100 * row.hit_ratio_lru, 100 * row.hit_ratio_belady,
        100 * row.hit_ratio_infinite, 100 * row.gap_closed(),
        row.blocks_per_second);
  }
  return text;
}

std::string SimulationJson(const SimulationReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const SimulatedRow& row : report.rows) {
    rows.push_back({{"policy", row.policy},
                    {"capacity_blocks", row.capacity_blocks},
                    {"hit_ratio", row.hit_ratio},
                    {"hit_ratio_lru", row.hit_ratio_lru},
                    {"hit_ratio_belady", row.hit_ratio_belady},
                    {"hit_ratio_infinite", row.hit_ratio_infinite},
                    {"gap_closed", row.gap_closed()},
                    {"blocks_per_second", row.blocks_per_second},
                    {"evictions", row.evictions},
                    {"policy_bytes", row.policy_bytes}});
  }
  return rows.dump(2) + "\n";
}

std::string SimulationHtml(const SimulationReport& report) {
  std::vector<Line> lines;
  std::map<std::string, size_t> line_of;
  Line belady{.name = "Belady"};
  Line infinite{.name = "infinite"};
  for (const SimulatedRow& row : report.rows) {
    const auto [entry, is_new] = line_of.emplace(row.policy, lines.size());
    if (is_new) lines.push_back({.name = row.policy});
    const auto x = static_cast<double>(row.capacity_blocks);
    lines[entry->second].points.emplace_back(x, row.hit_ratio);
    if (!belady.points.empty() && belady.points.back().first == x) continue;
    belady.points.emplace_back(x, row.hit_ratio_belady);
    infinite.points.emplace_back(x, row.hit_ratio_infinite);
  }
  lines.push_back(std::move(belady));
  lines.push_back(std::move(infinite));
  return HtmlPage("Banyan simulation", SimulationText(report),
                  LogChart("Hit ratio by capacity", "capacity in blocks",
                           "hits per block asked for", lines));
}

}  // namespace banyan::ctl
