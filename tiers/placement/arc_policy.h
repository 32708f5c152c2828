// ARC (Megiddo and Modha, FAST 2003), leaf first. Blocks seen once and blocks
// seen again have a queue each; what was evicted from a queue is remembered,
// and its return makes that queue larger.
//
// Different from the paper: room is made before it is known what comes in, so
// the tie of the paper's REPLACE is always resolved towards the second queue.
//
// Cost: 52 bytes a block and 40 bytes for each of as many evicted ones.
#pragma once

#include "tiers/placement/block_lists.h"
#include "tiers/placement/ghost_queue.h"
#include "tiers/placement/leaf_first_policy.h"

namespace banyan::tiers {

class ArcPolicy final : public LeafFirstPolicy {
 public:
  absl::string_view name() const override { return "arc"; }

 private:
  enum Queue : BlockLists::ListNo { kOnce = 0, kAgain = 1 };

  void OnInsert(BlockRef block) override;
  void OnTouch(BlockRef block) override { lists_.PushYoung(kAgain, block); }
  void OnRemove(BlockRef block) override { lists_.Unlink(block); }
  BlockRef NextVictim() override;
  void OnEvict(BlockRef block) override;
  void OnRetain(BlockRef block) override { lists_.PushYoung(kAgain, block); }
  size_t own_memory_bytes() const override;

  BlockLists lists_{2};
  GhostQueue gone_once_;
  GhostQueue gone_again_;
  double once_target_ = 0;  // The paper's p: blocks for the first queue.
};

}  // namespace banyan::tiers
