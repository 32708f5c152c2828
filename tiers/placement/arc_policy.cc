#include "tiers/placement/arc_policy.h"

#include <algorithm>

namespace banyan::tiers {
namespace {

// How far one return moves the border: more if the other memory is longer.
double Step(const GhostQueue& of, const GhostQueue& other) {
  return std::max(1.0, static_cast<double>(other.size()) /
                           static_cast<double>(of.size() + 1));
}

}  // namespace

void ArcPolicy::OnInsert(BlockRef block) {
  if (gone_once_.Take(IdOf(block))) {
    once_target_ = std::min(once_target_ + Step(gone_once_, gone_again_),
                            static_cast<double>(capacity()));
    lists_.PushYoung(kAgain, block);
  } else if (gone_again_.Take(IdOf(block))) {
    once_target_ = std::max(0.0, once_target_ - Step(gone_again_, gone_once_));
    lists_.PushYoung(kAgain, block);
  } else {
    lists_.PushYoung(kOnce, block);
  }
}

BlockRef ArcPolicy::NextVictim() {
  const bool is_once_over =
      static_cast<double>(lists_.size(kOnce)) > once_target_;
  const Queue queue =
      lists_.size(kAgain) == 0 || (is_once_over && lists_.size(kOnce) > 0)
          ? kOnce
          : kAgain;
  return lists_.Oldest(queue);
}

void ArcPolicy::OnEvict(BlockRef block) {
  (lists_.ListOf(block) == kOnce ? gone_once_ : gone_again_).Add(IdOf(block));
  lists_.Unlink(block);
  // The paper's bounds: the first queue and its memory within the capacity,
  // both memories together as well.
  const size_t once = std::min(capacity(), lists_.size(kOnce));
  gone_once_.Trim(capacity() - once);
  gone_again_.Trim(capacity() - std::min(capacity(), gone_once_.size()));
}

size_t ArcPolicy::own_memory_bytes() const {
  return lists_.memory_bytes() + gone_once_.memory_bytes() +
         gone_again_.memory_bytes();
}

}  // namespace banyan::tiers
