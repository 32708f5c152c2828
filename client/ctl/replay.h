// Replays a trace against a node: for each request match, get what is there and
// verify every byte, put the rest. Payloads follow from the block's identity
// (client/ctl/payload.h), so a wrong byte is recognised as whose it is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fingerprint.h"
#include "client/cpp/client.h"
#include "client/ctl/report.h"
#include "client/ctl/trace.h"

namespace banyan::ctl {

struct ReplayOptions {
  std::string space = "replay";  // Name of the namespace, and of the payloads.
  // What the blocks hold. An opaque layout has blocks of `block_bytes`.
  Fingerprint fingerprint;
  uint64_t block_bytes = 4096;
  uint64_t piece_bytes = 0;  // 0: one piece a block.
  uint32_t block_tokens = 512;
  Durability durability = Durability::kMemory;  // Of what is written.

  // Closed loop: one request after the other, each as soon as the one before
  // has ended. Open loop: requests start at their timestamps divided by
  // `speed`, up to `concurrency` at a time; what a request waits for its turn
  // counts in its lag.
  bool is_open_loop = false;
  double speed = 1;
  uint32_t concurrency = 8;
};

// Options for blocks of that many bytes of unknown structure.
ReplayOptions OpaqueReplay(uint64_t block_bytes);

// Options for blocks of a model's shape: "LAYERSxKV_HEADSxHEAD_DIM[:DTYPE]",
// such as "32x8x128:bf16" (the default data type). A piece is a layer. With a
// codec spec blocks are encoded on their way to the node.
// Errors: kInvalidArgument.
absl::StatusOr<ReplayOptions> ShapedReplay(const std::string& shape,
                                           uint32_t block_tokens,
                                           const std::string& kv_codec);

// `progress(done, total, hit_ratio)` is called now and then, by one thread at a
// time. Fails only if the namespace cannot be opened; other failures are
// counted in the report.
absl::StatusOr<ReplayReport> Replay(
    Client& client, const std::vector<TraceRequest>& trace,
    const ReplayOptions& options,
    const std::function<void(size_t, size_t, double)>& progress);

}  // namespace banyan::ctl
