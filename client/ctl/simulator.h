// Replays a trace through an eviction policy without a server: no bytes, no
// keys, only who is there. It makes the calls that the server's engine makes,
// in the engine's order: look up (Touch), make room for each missing block
// (TakeVictim, Retain), publish them (Insert), and Hint where somebody tells.
//
// A hit is a block of the leading run of a prompt that is cached when the
// prompt comes; afterwards the whole prompt is cached, or as much of its head
// as fits.
//
// Cost: about 20 ns a block plus what the policy takes; memory for the trace
//       (4 bytes a block asked for) and 32 bytes a distinct block.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/block_id.h"
#include "client/ctl/trace.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::ctl {

// What the engine and its users tell.
struct HintColumn {
  double told = 0;    // Share of the endings of conversations that are told.
  double untrue = 0;  // Share of the other requests told to be endings.
  uint64_t seed = 1;  // Both are drawn from it.
  // The length of an answer is told when it is complete: so long a token after
  // its prompt came, or before the next turn. 0: it is never told.
  double token_ms = 10;
};

// A trace with its blocks numbered from 0 by first appearance.
class SimulatedTrace {
 public:
  SimulatedTrace(const std::vector<TraceRequest>& trace,
                 const HintColumn& hints);

  size_t size() const { return requests_.size(); }
  uint64_t blocks_requested() const { return blocks_.size(); }
  // Distinct blocks.
  const std::vector<BlockId>& ids() const { return ids_; }
  // Numbers of the blocks of request i, root side first.
  absl::Span<const uint32_t> prompt(size_t i) const;
  absl::Duration now(size_t i) const { return requests_[i].now; }
  uint32_t answer_tokens(size_t i) const { return requests_[i].answer_tokens; }
  // When its answer is complete.
  absl::Duration end(size_t i) const { return requests_[i].end; }
  bool is_told_to_end(size_t i) const { return requests_[i].is_told_to_end; }

  // True if no later request goes on from request i: none shares half of its
  // prompt. Another question about the same document goes on from it, another
  // conversation behind the same system prompt does not.
  bool IsEnding(size_t i) const;

 private:
  struct Request {
    size_t begin = 0;  // In blocks_.
    absl::Duration now;
    absl::Duration end;
    uint32_t answer_tokens = 0;  // 0: nobody tells.
    bool is_told_to_end = false;
  };
  std::vector<Request> requests_;
  std::vector<uint32_t> blocks_;
  std::vector<BlockId> ids_;
  std::vector<uint32_t> last_request_;  // By number of the block.
};

struct Simulation {
  uint64_t blocks_requested = 0;
  uint64_t blocks_hit = 0;
  uint64_t evictions = 0;
  double seconds = 0;

  double hit_ratio() const {
    return blocks_requested == 0 ? 0
                                 : static_cast<double>(blocks_hit) /
                                       static_cast<double>(blocks_requested);
  }
  double blocks_per_second() const {
    return static_cast<double>(blocks_requested) / (seconds > 0 ? seconds : 1);
  }
};

// Requires: capacity_blocks > 0, and a policy that tracks nothing yet.
// `progress(requests done)` is called now and then; may be empty.
Simulation Simulate(const SimulatedTrace& trace, tiers::EvictionPolicy& policy,
                    uint64_t capacity_blocks,
                    const std::function<void(size_t)>& progress);

}  // namespace banyan::ctl
