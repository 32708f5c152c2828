// banyanctl bench: what a running node does for this client. Writes chains of
// blocks of its own, compares what comes back with what was written, as far as
// time allows, then measures matching and reading them. All the while the
// client verifies the checksum of every piece, as always.
//
// Threads: blocks; runs the calls on threads of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "client/ctl/report.h"

namespace banyan::ctl {

struct BenchOptions {
  std::string space;  // Namespace to open; holds nothing yet.
  uint64_t block_bytes = 0;
  uint32_t blocks = 0;        // Written in all, in chains of chain_blocks.
  uint32_t chain_blocks = 0;  // Blocks a call.
  uint32_t threads = 0;       // Calls in flight.
  double seconds = 0;         // In all, at most: a quarter for each phase.
  const std::atomic<bool>* is_stopped = nullptr;  // Ends it early.
};

// What one kind of call did.
struct BenchPhase {
  uint64_t calls = 0;
  uint64_t blocks = 0;      // Committed, found, or read.
  double busy_seconds = 0;  // Sum over all threads of the time in calls.
  double wall_seconds =
      0;         // From the start of the first to the end of the last.
  Latencies us;  // Of a call.
};

struct BenchReport {
  BenchOptions options;
  BenchPhase put;
  BenchPhase match;
  BenchPhase get;
  uint64_t missed_blocks = 0;  // Evicted meanwhile.
  uint64_t wrong_blocks = 0;   // Must be 0.
  uint64_t errors = 0;         // Calls that failed.
  std::string first_error;

  // Blocks a second, with options.threads calls in flight.
  double BlocksPerSecond(const BenchPhase& phase) const;
};

// Errors: those of OpenNamespace; what fails later is counted in the report.
absl::StatusOr<BenchReport> RunBench(Client& client,
                                     const BenchOptions& options);

std::string BenchText(const BenchReport& report);
std::string BenchJson(const BenchReport& report);

}  // namespace banyan::ctl
