// An EvictionPolicy ranks the blocks of one node and names the one to go next.
// It keeps no bytes and evicts nothing itself. The engine feeds it and asks:
//
//   Touch    after a run of blocks was asked for and found; also with an empty
//            run, when nothing was found
//   TakeVictim(For) / Retain   to make room
//   Insert   after a run of blocks became findable
//   Hint     when somebody says what will become of a run
//   Remove   before a block stops being findable for another reason
//
// That is also the order of the events of one request: it is looked up, room is
// made, and what it wrote comes in last, maybe in several runs.
//
// Order inside a chain: a block is only worth keeping while all blocks before
// it are kept, so a policy ranks a block no higher than its parent. Victims are
// thus normally leaves; one that is not, or that is pinned, comes back through
// Retain.
//
// Tolerance: calls from different threads may arrive in another order than the
// events happened. So Insert of a tracked block is a Touch of it; Touch, Hint,
// Remove and Retain of a block that is not tracked do nothing (Retain:
// re-inserts it). A victim may have ceased to exist; the engine then drops it.
// One request may be looked up more than once. Facts are advice: no value of
// theirs can do more than make the ranking worse.
//
// Threads: thread-safe.
// Cost:    a few dozen nanoseconds a block for the simple policies; no
//          allocation except growth. Memory is bounded by the largest number
//          of blocks tracked at a time (kPolicyBytesPerBlockMax).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/block_id.h"

namespace banyan::tiers {

// Small dense number of a findable block, given by the index. Numbers are
// reused after the block is gone, so policies keep their state in arrays.
using BlockRef = uint32_t;
inline constexpr BlockRef kNoBlock = UINT32_MAX;

// Memory of any policy, by the largest BlockRef or number of blocks it met.
inline constexpr size_t kPolicyBytesPerBlockMax = 512;
inline constexpr size_t kPolicyBytesFixedMax = size_t{8} << 20;

// What somebody who knows says about the future of a run. Never trusted for
// more than rank, and weighed by how often the same owner was right.
enum class Reuse : uint8_t {
  kUnknown = 0,
  kEnded,     // Nobody will ask for it again.
  kExpected,  // It will be asked for again within ReuseHint::within.
  kKeep,      // It will be asked for again, nobody knows when.
};
inline constexpr int kReuseKinds = 4;

struct ReuseHint {
  Reuse reuse = Reuse::kUnknown;
  absl::Duration within;  // Of kExpected only.
  // Length of the answer to the prompt, once it is complete; 0: not told.
  uint32_t generated_tokens = 0;

  bool is_empty() const {
    return reuse == Reuse::kUnknown && generated_tokens == 0;
  }
};

// The request behind a call, as far as the caller knows it.
struct RequestFacts {
  // Time since any fixed instant: a policy has no clock of its own. It may go
  // back; the latest one counts.
  absl::Duration now;
  uint32_t first_block = 0;  // Position in its chain of the run's first block.
  uint32_t prompt_blocks = 0;  // From the root to the prompt's end; 0: unknown.
  uint32_t owner = 0;          // Whose blocks: hints are weighed per owner.
  ReuseHint hint;
};

// Blocks that became findable: consecutive in one chain, root side first.
struct NewRun {
  absl::Span<const BlockRef> blocks;
  absl::Span<const BlockId> ids;  // One a block.
  // The block before the first one; kNoBlock if there is none or it is not
  // stored.
  BlockRef parent = kNoBlock;
};

// Blocks that wait for room, before they are findable: the part of one chain
// that is not stored, root side first.
struct IncomingRun {
  absl::Span<const BlockId> ids;
  size_t next = 0;             // The one that room is made for now.
  BlockRef parent = kNoBlock;  // As in NewRun.
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  // Name as in the flag --eviction.
  virtual absl::string_view name() const = 0;

  // Requires: as many ids as blocks.
  virtual void Insert(const NewRun& run, const RequestFacts& facts) = 0;

  // `run` is consecutive in one chain, root side first.
  virtual void Touch(absl::Span<const BlockRef> run,
                     const RequestFacts& facts) = 0;

  // facts.hint is about `run`, which is as in Touch. Nobody asked for it.
  virtual void Hint(absl::Span<const BlockRef> run,
                    const RequestFacts& facts) = 0;

  virtual void Remove(BlockRef block) = 0;

  // The block to evict next; the policy forgets it. nullopt if none is tracked.
  virtual std::optional<BlockRef> TakeVictim() = 0;

  // The same for the sake of incoming.ids[next]: also nullopt if it, and with
  // it all behind it, is worth less than any block tracked. Calls for one run
  // come with rising `next`; facts are those of its Insert. Most policies admit
  // everything. Requires: next < ids.size().
  virtual std::optional<BlockRef> TakeVictimFor(const IncomingRun& /*incoming*/,
                                                const RequestFacts& /*facts*/) {
    return TakeVictim();
  }

  // The victim could not go now: track it again, as one that is in use.
  virtual void Retain(BlockRef block) = 0;

  // Number of blocks tracked.
  virtual size_t size() const = 0;

  // Bytes of memory held by the policy itself.
  virtual size_t memory_bytes() const = 0;
};

// Names that MakeEvictionPolicy knows, the default one first.
std::vector<std::string> EvictionPolicyNames();

// The policy of that name. Errors: kInvalidArgument with the known names.
absl::StatusOr<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(
    absl::string_view name);

}  // namespace banyan::tiers
