// The prefix forest: which blocks of which chains exist on this node. It knows
// *that* a block exists, never where its bytes are.
//
// A chain is cut into groups of `group_blocks` consecutive blocks. Each group
// is a small tree of its own in one shard, chosen by the id of the group's
// first block; a node per block with parent, children, depth and heat. Links
// never leave a group, so a lookup takes each shard's lock once per group.
//
// Invariant: inside a group, a present block's parent is present or the block
//            is the group's first, or it was published without its parent: an
//            orphan, which LongestPrefix links when it meets it behind its
//            parent.
// Threads:   thread-safe; one lock per shard, never two at once.
// Cost:      LongestPrefix about one cache miss a block, overlapped by
//            prefetching; at most 96 bytes of index a block at full load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "base/block_id.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::index {

using tiers::BlockRef;
using tiers::kNoBlock;

// Number of a namespace on this node, given by the engine.
using NamespaceNo = uint32_t;

// A run of consecutive blocks of one chain, as ids. The view of a KeyRun that
// the index works on (see base/block_key.h for `lead`).
struct IdRun {
  absl::Span<const BlockId> ids;
  uint32_t first_block = 0;
  absl::Span<const BlockId> lead;
};

struct BlockHeat {
  uint32_t depth = 0;       // Position in the chain.
  uint32_t touches = 0;     // Saturates at 65535.
  uint32_t last_touch = 0;  // The `now` of the last Publish or LongestPrefix.
};

// Where a block stands in its chain: enough to make it findable again.
struct BlockPlace {
  BlockId head;                   // First block of its group.
  std::optional<BlockId> parent;  // Block before it, if in the same group.
  uint32_t depth = 0;             // Position in the chain.

  friend bool operator==(const BlockPlace&, const BlockPlace&) = default;
};

// A block that comes back after a restart.
struct RestoredBlock {
  BlockId id;
  BlockPlace place;
  NamespaceNo ns = 0;
};

class PrefixIndex {
 public:
  struct Options {
    uint32_t shards = 64;        // Power of two.
    uint32_t group_blocks = 32;  // 1 to 4096.
  };

  explicit PrefixIndex(const Options& options);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  uint32_t group_blocks() const;

  // Length of the longest leading part of `run` whose blocks all exist; each
  // of them is touched with `now`, and its ref is appended to *refs (may be
  // null). Requires: run.lead is consistent with run.first_block.
  uint32_t LongestPrefix(const IdRun& run, uint32_t now,
                         std::vector<BlockRef>* refs);

  // One ref per id, kNoBlock where the block does not exist. No touch.
  void Find(const IdRun& run, std::vector<BlockRef>* refs) const;

  // The ref of one block whose place in its chain is not known; asks every
  // shard. For administration.
  BlockRef FindAnywhere(const BlockId& id) const;

  // Makes the blocks findable, linked to their parents in the group. Appends a
  // ref per id to *refs; a block that exists already keeps its ref. Returns how
  // many are new.
  uint32_t Publish(const IdRun& run, NamespaceNo ns, uint32_t now,
                   std::vector<BlockRef>* refs);

  // Removes the block if it exists and has no children in its group. Returns
  // its id, or nullopt if it was not removed.
  std::optional<BlockId> UnpublishLeaf(BlockRef ref);

  // Removes the block and everything below it in its group, children first.
  // Calls `before_removal` with the refs about to go (outside all locks; a
  // block published below meanwhile is removed too, in a further round), and
  // returns the ids removed. Empty if the ref names nothing.
  std::vector<BlockId> UnpublishSubtree(
      BlockRef ref,
      const std::function<void(absl::Span<const BlockRef>)>& before_removal);

  // True if the block exists and has no children in its group.
  bool IsLeaf(BlockRef ref) const;

  std::optional<BlockHeat> Heat(BlockRef ref) const;
  std::optional<BlockId> IdOf(BlockRef ref) const;

  // The place of the block; nullopt if it is gone, or an orphan, or below one:
  // then nobody knows its group.
  std::optional<BlockPlace> PlaceOf(BlockRef ref) const;

  // The ref of a block at a known place, or kNoBlock.
  BlockRef FindAt(const BlockId& id, const BlockPlace& place) const;

  // Makes blocks findable at the places they had before a restart, untouched;
  // in any order. A block that exists already keeps its ref; one whose parent is
  // not there starts as an orphan. Uses several threads.
  // Requires: depths and group_blocks() agree with those at Publish.
  // Cost: 0.2 us a block.
  void Restore(absl::Span<const RestoredBlock> blocks);

  // Refs of up to `limit` blocks of the namespace whose ref is >= `from`, in
  // rising order; the caller goes on from the last + 1. Blocks published or
  // removed meanwhile may or may not show. For List, Trim and Drop.
  std::vector<BlockRef> ListNamespace(NamespaceNo ns, BlockRef from,
                                      size_t limit) const;

  uint64_t blocks() const;
  uint64_t blocks(NamespaceNo ns) const;

  // Bytes of memory held by the index itself.
  uint64_t memory_bytes() const;

 private:
  struct Shard;

  static void RestoreIn(Shard& shard,
                        absl::Span<const RestoredBlock* const> blocks);
  uint32_t ShardNo(const BlockId& head) const;
  BlockRef RefOf(uint32_t shard, uint32_t node) const;
  Shard& ShardOfRef(BlockRef ref) const;
  uint32_t NodeOfRef(BlockRef ref) const;

  const Options options_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace banyan::index
