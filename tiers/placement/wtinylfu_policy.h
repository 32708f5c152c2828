// W-TinyLFU (Einziger, Friedman and Manes, 2017), leaf first. New blocks enter
// a small window; the one that leaves it stays only if it was seen more often
// than the next victim of the main part, which is LRU in two segments.
//
// Room is made before blocks come in, so the loser of that contest cannot go at
// once: it goes first when room is made again, unless it is used before.
//
// Cost: 68 to 100 bytes a block, sketch included.
#pragma once

#include "tiers/placement/block_lists.h"
#include "tiers/placement/frequency_sketch.h"
#include "tiers/placement/leaf_first_policy.h"

namespace banyan::tiers {

class WTinyLfuPolicy final : public LeafFirstPolicy {
 public:
  absl::string_view name() const override { return "wtinylfu"; }

 private:
  enum Queue : BlockLists::ListNo {
    kWindow = 0,
    kProbation,
    kProtected,
    kLosers,
    kQueues
  };

  void OnInsert(BlockRef block) override;
  void OnTouch(BlockRef block) override;
  void OnRemove(BlockRef block) override { lists_.Unlink(block); }
  BlockRef NextVictim() override;
  void OnEvict(BlockRef block) override { lists_.Unlink(block); }
  void OnRetain(BlockRef block) override { Protect(block); }
  size_t own_memory_bytes() const override;

  size_t window_blocks_max() const;
  void Protect(BlockRef block);
  // The oldest of the window leaves it.
  void Contest();
  // kNoBlock if the main part is empty.
  BlockRef MainVictim() const;

  BlockLists lists_{kQueues};
  FrequencySketch sketch_;
};

}  // namespace banyan::tiers
