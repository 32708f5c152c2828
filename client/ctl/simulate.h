// The command `banyanctl simulate`: policies × capacities over one trace,
// beside the bounds, as a table, as JSON (fixed field names) and as one
// self-contained HTML page with a chart.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/simulator.h"
#include "client/ctl/trace.h"

namespace banyan::ctl {

struct SimulateOptions {
  std::vector<std::string> policies;
  std::vector<uint64_t> capacities_blocks;
  HintColumn hints;
};

// One policy at one capacity. Ratios are hits per block asked for.
struct SimulatedRow {
  std::string policy;
  uint64_t capacity_blocks = 0;
  double hit_ratio = 0;
  double hit_ratio_lru = 0;
  double hit_ratio_belady = 0;
  double hit_ratio_infinite = 0;
  double blocks_per_second = 0;
  uint64_t evictions = 0;
  uint64_t policy_bytes = 0;  // Memory of the policy at the end.

  // Share of the way from LRU to Belady; 0 if there is none to go.
  double gap_closed() const;
};

struct SimulationReport {
  uint64_t requests = 0;
  uint64_t blocks_requested = 0;
  uint64_t blocks_distinct = 0;
  std::vector<SimulatedRow> rows;
};

// Appends `part` to `trace`. A part whose clock starts before the end of what
// is there is moved to follow on: files are read as parts of one trace.
void AppendTrace(std::vector<TraceRequest> part,
                 std::vector<TraceRequest>& trace);

// `progress(what, share done)` is called now and then. Errors:
// kInvalidArgument for an unknown policy, no policy, or a capacity of 0.
absl::StatusOr<SimulationReport> RunSimulations(
    const std::vector<TraceRequest>& trace, const SimulateOptions& options,
    const std::function<void(const std::string&, double)>& progress);

std::string SimulationText(const SimulationReport& report);
std::string SimulationJson(const SimulationReport& report);
std::string SimulationHtml(const SimulationReport& report);

}  // namespace banyan::ctl
