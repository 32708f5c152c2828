// S3-FIFO (Yang et al., SOSP 2023), leaf first. New blocks enter a small queue;
// those used more than once there move to the main one, in which a used block
// gets another round. What leaves the small queue is remembered, and enters the
// main queue when it returns.
//
// Cost: 53 bytes a block and 40 bytes for each of as many evicted ones.
#pragma once

#include <vector>

#include "tiers/placement/block_lists.h"
#include "tiers/placement/ghost_queue.h"
#include "tiers/placement/leaf_first_policy.h"

namespace banyan::tiers {

class S3FifoPolicy final : public LeafFirstPolicy {
 public:
  absl::string_view name() const override { return "s3fifo"; }

 private:
  enum Queue : BlockLists::ListNo { kSmall = 0, kMain = 1 };

  void OnInsert(BlockRef block) override;
  void OnTouch(BlockRef block) override;
  void OnRemove(BlockRef block) override { lists_.Unlink(block); }
  BlockRef NextVictim() override;
  void OnEvict(BlockRef block) override;
  void OnRetain(BlockRef block) override;
  size_t own_memory_bytes() const override;

  void Enter(Queue queue, BlockRef block);
  // Moves the used ones at the old end; true if an unused one is there then.
  bool SettleSmall();
  bool SettleMain();

  BlockLists lists_{2};
  std::vector<uint8_t> uses_;  // By ref; up to kUsesMax.
  GhostQueue gone_;
};

}  // namespace banyan::tiers
