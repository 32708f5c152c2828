#include "tiers/placement/s3fifo_policy.h"

#include <algorithm>

namespace banyan::tiers {
namespace {

// The paper's constants.
constexpr uint8_t kUsesMax = 3;
constexpr uint8_t kUsesToStay = 2;  // In the small queue, to enter the main.
constexpr double kSmallShare = 0.1;

}  // namespace

void S3FifoPolicy::Enter(Queue queue, BlockRef block) {
  if (block >= uses_.size()) uses_.resize(size_t{block} + 1);
  uses_[block] = 0;
  lists_.PushYoung(queue, block);
}

void S3FifoPolicy::OnInsert(BlockRef block) {
  Enter(gone_.Take(IdOf(block)) ? kMain : kSmall, block);
}

void S3FifoPolicy::OnTouch(BlockRef block) {
  uses_[block] = std::min<uint8_t>(kUsesMax, uses_[block] + 1);
}

bool S3FifoPolicy::SettleSmall() {
  while (lists_.size(kSmall) > 0) {
    const BlockRef block = lists_.Oldest(kSmall);
    if (uses_[block] < kUsesToStay) return true;
    Enter(kMain, block);
  }
  return false;
}

bool S3FifoPolicy::SettleMain() {
  while (lists_.size(kMain) > 0) {
    const BlockRef block = lists_.Oldest(kMain);
    if (uses_[block] == 0) return true;
    --uses_[block];
    lists_.PushYoung(kMain, block);
  }
  return false;
}

BlockRef S3FifoPolicy::NextVictim() {
  const bool is_small_over = static_cast<double>(lists_.size(kSmall)) >=
                             kSmallShare * static_cast<double>(capacity());
  if (is_small_over && SettleSmall()) return lists_.Oldest(kSmall);
  if (SettleMain()) return lists_.Oldest(kMain);
  SettleSmall();
  return lists_.Oldest(lists_.size(kSmall) > 0 ? kSmall : kMain);
}

void S3FifoPolicy::OnEvict(BlockRef block) {
  if (lists_.ListOf(block) == kSmall) gone_.Add(IdOf(block));
  lists_.Unlink(block);
  const auto small =
      static_cast<size_t>(kSmallShare * static_cast<double>(capacity()));
  gone_.Trim(capacity() - small);
}

void S3FifoPolicy::OnRetain(BlockRef block) {
  Enter(kMain, block);
  uses_[block] = 1;
}

size_t S3FifoPolicy::own_memory_bytes() const {
  return lists_.memory_bytes() + uses_.capacity() + gone_.memory_bytes();
}

}  // namespace banyan::tiers
