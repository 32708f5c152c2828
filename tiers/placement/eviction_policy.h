// An EvictionPolicy ranks the blocks of one node and names the one to go next.
// It keeps no bytes and evicts nothing itself. The engine feeds it and asks:
//
//   Insert   after a run of blocks became findable
//   Touch    after a run of blocks was asked for and found
//   Remove   before a block stops being findable for another reason
//   TakeVictim / Retain   to make room
//
// Order inside a chain: a block is only worth keeping while all blocks before
// it are kept, so a policy ranks a block no higher than its parent. Victims are
// thus normally leaves; one that is not, or that is pinned, comes back through
// Retain.
//
// Tolerance: calls from different threads may arrive in another order than the
// events happened. So Insert of a tracked block is a Touch of it; Touch, Remove
// and Retain of a block that is not tracked do nothing (Retain: re-inserts it).
// A victim may have ceased to exist; the engine then drops it.
//
// Threads: thread-safe.
// Cost:    a few dozen nanoseconds a block; no allocation except growth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::tiers {

// Small dense number of a findable block, given by the index. Numbers are
// reused after the block is gone, so policies keep their state in arrays.
using BlockRef = uint32_t;
inline constexpr BlockRef kNoBlock = UINT32_MAX;

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  // Name as in the flag --eviction.
  virtual absl::string_view name() const = 0;

  // `run` is consecutive in one chain, root side first; `parent` is the block
  // before run[0], or kNoBlock if there is none or it is not stored.
  virtual void Insert(absl::Span<const BlockRef> run, BlockRef parent) = 0;

  // `run` is consecutive in one chain, root side first.
  virtual void Touch(absl::Span<const BlockRef> run) = 0;

  virtual void Remove(BlockRef block) = 0;

  // The block to evict next; the policy forgets it. nullopt if none is tracked.
  virtual std::optional<BlockRef> TakeVictim() = 0;

  // The victim could not go now: track it again, as one that is in use.
  virtual void Retain(BlockRef block) = 0;

  // Number of blocks tracked.
  virtual size_t size() const = 0;
};

// The policy of that name. Errors: kInvalidArgument with the known names.
absl::StatusOr<std::unique_ptr<EvictionPolicy>> MakeEvictionPolicy(
    absl::string_view name);

}  // namespace banyan::tiers
