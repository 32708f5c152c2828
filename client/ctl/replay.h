// Replays a trace against a node: for each request match, get what is there and
// verify every byte, put the rest. Payloads follow from the block's identity
// (client/ctl/payload.h), so a wrong byte is recognised as whose it is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "client/ctl/report.h"
#include "client/ctl/trace.h"

namespace banyan::ctl {

struct ReplayOptions {
  std::string space = "replay";  // Name of the namespace.
  uint64_t block_bytes = 4096;
  bool is_open_loop = false;  // Requests start at their timestamps.
  double speed = 1;           // Of the open loop.
  uint32_t block_tokens = 512;
};

// `progress(done, total, hit_ratio)` is called now and then. Fails only if the
// namespace cannot be opened; other failures are counted in the report.
absl::StatusOr<ReplayReport> Replay(
    Client& client, const std::vector<TraceRequest>& trace,
    const ReplayOptions& options,
    const std::function<void(size_t, size_t, double)>& progress);

}  // namespace banyan::ctl
