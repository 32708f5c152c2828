// Leading blocks of a chain, to be read layer by layer: stored ones, pinned,
// and blocks that are still being written, each layer as soon as it has
// arrived. It hands out what is there and tells what is not yet; it moves no
// bytes.
//
// Rows are layers; after the last comes one more, kEnds, in which a block is
// kReady if it is stored: only then is it a hit.
//
// Invariant: what is handed out stays as it is as long as its owner is held. It
//            has one watcher at most, and none once it is gone.
// Threads:   thread-compatible. Watchers are told on other threads.
// Lifetime:  destroy it, and all owners, before the store.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block_id.h"
#include "base/checksum.h"
#include "cache_server/engine/growing_block.h"
#include "cache_server/lease/lease_table.h"
#include "cache_server/runtime/counters.h"

namespace banyan::engine {

class LayeredRead {
 public:
  struct Layers {
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t total = 0;  // Of a block.
    uint64_t layer_bytes = 0;
  };
  // A block, in the order of the chain.
  struct Block {
    BlockId id;
    tiers::TierKind tier = tiers::TierKind::kHost;
    const tiers::BlockPin* pin = nullptr;   // Of a stored one,
    std::shared_ptr<const void> owner;      // kept by this;
    std::shared_ptr<GrowingBlock> growing;  // else of one that is written.
  };

  LayeredRead(const Layers& layers, std::vector<Block> blocks,
              server::Counters& counters)
      : layers_(layers), blocks_(std::move(blocks)), counters_(counters) {}
  // Counts what became of the blocks that were followed.
  ~LayeredRead();
  LayeredRead(const LayeredRead&) = delete;
  LayeredRead& operator=(const LayeredRead&) = delete;

  const Layers& layers() const { return layers_; }
  uint32_t end_layer() const { return layers_.first + layers_.count; }
  size_t size() const { return blocks_.size(); }
  // Requires of all `block`: < size().
  const Block& block(size_t block) const { return blocks_[block]; }
  bool IsGrowing(size_t block) const {
    return blocks_[block].growing != nullptr;
  }

  static constexpr uint32_t kEnds = UINT32_MAX;

  enum class State : uint8_t {
    kPending,    // Not there yet.
    kReady,      // There; in row kEnds: stored.
    kWithdrawn,  // Its write ended without a commit.
  };
  State Look(size_t block, uint32_t layer) const;

  // Of a layer that was kReady. If it has become withdrawn since: the checksum
  // of nothing.
  Checksum128 ChecksumOf(size_t block, uint32_t layer) const;

  // The bytes of a layer that was kReady, verified now.
  // Errors: kDataLoss, reason CHECKSUM.
  absl::StatusOr<absl::Span<const std::byte>> Read(size_t block,
                                                   uint32_t layer) const;

  // Keeps what Read handed out.
  std::shared_ptr<const void> OwnerOf(size_t block) const;

  // Tells the watcher when this is kPending no more, in place of what it was to
  // be told before. False: it is so already.
  bool Watch(size_t block, uint32_t layer,
             const std::shared_ptr<BlockWatcher>& watcher);

 private:
  // What it waits for.
  struct Watched {
    size_t block = 0;
    uint64_t ticket = 0;
  };

  void Unwatch();

  const Layers layers_;
  const std::vector<Block> blocks_;
  server::Counters& counters_;
  std::optional<Watched> watched_;
};

}  // namespace banyan::engine
