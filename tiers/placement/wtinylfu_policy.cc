#include "tiers/placement/wtinylfu_policy.h"

#include <algorithm>

namespace banyan::tiers {
namespace {

// The paper's constants.
constexpr double kWindowShare = 0.01;
constexpr double kProtectedShare = 0.8;  // Of the main part.

}  // namespace

size_t WTinyLfuPolicy::window_blocks_max() const {
  return std::max<size_t>(
      1, static_cast<size_t>(kWindowShare * static_cast<double>(capacity())));
}

void WTinyLfuPolicy::OnInsert(BlockRef block) {
  sketch_.Fit(capacity());
  sketch_.Add(IdOf(block));
  lists_.PushYoung(kWindow, block);
  while (lists_.size(kWindow) > window_blocks_max()) Contest();
}

BlockRef WTinyLfuPolicy::MainVictim() const {
  const BlockRef block = lists_.Oldest(kProbation);
  return block != kNoBlock ? block : lists_.Oldest(kProtected);
}

void WTinyLfuPolicy::Contest() {
  const BlockRef candidate = lists_.Oldest(kWindow);
  const BlockRef victim = MainVictim();
  const bool is_admitted =
      is_growing() || victim == kNoBlock ||
      sketch_.Estimate(IdOf(candidate)) > sketch_.Estimate(IdOf(victim));
  lists_.PushYoung(is_admitted ? kProbation : kLosers, candidate);
  if (is_admitted && !is_growing() && victim != kNoBlock) {
    lists_.PushYoung(kLosers, victim);
  }
}

void WTinyLfuPolicy::Protect(BlockRef block) {
  lists_.PushYoung(kProtected, block);
  const auto protected_max = static_cast<size_t>(
      kProtectedShare * static_cast<double>(capacity() - window_blocks_max()));
  while (lists_.size(kProtected) > std::max<size_t>(1, protected_max)) {
    lists_.PushYoung(kProbation, lists_.Oldest(kProtected));
  }
}

void WTinyLfuPolicy::OnTouch(BlockRef block) {
  sketch_.Add(IdOf(block));
  if (lists_.ListOf(block) == kWindow) {
    lists_.PushYoung(kWindow, block);
  } else {
    Protect(block);
  }
}

BlockRef WTinyLfuPolicy::NextVictim() {
  for (const Queue queue : {kLosers, kProbation, kProtected}) {
    if (lists_.size(queue) > 0) return lists_.Oldest(queue);
  }
  return lists_.Oldest(kWindow);
}

size_t WTinyLfuPolicy::own_memory_bytes() const {
  return lists_.memory_bytes() + sketch_.memory_bytes();
}

}  // namespace banyan::tiers
