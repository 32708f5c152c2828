#include "tiers/placement/leaf_first_policy.h"

namespace banyan::tiers {

void LeafFirstPolicy::Insert(const NewRun& run, const RequestFacts& /*facts*/) {
  MutexLock lock(mutex_);
  is_making_room_ = false;
  // Links go from the root down, so that each block finds its parent; queues
  // are fed from the end up.
  fresh_.clear();
  for (size_t i = 0; i < run.blocks.size(); ++i) {
    const BlockRef block = run.blocks[i];
    if (links_.IsLinked(block)) continue;
    links_.Add(block, i == 0 ? run.parent : run.blocks[i - 1]);
    if (block >= ids_.size()) ids_.resize(size_t{block} + 1);
    ids_[block] = run.ids[i];
    ++size_;
    fresh_.push_back(i);
  }
  size_t next_fresh = fresh_.size();
  for (size_t i = run.blocks.size(); i-- > 0;) {
    if (next_fresh > 0 && fresh_[next_fresh - 1] == i) {
      --next_fresh;
      OnInsert(run.blocks[i]);
    } else {
      OnTouch(run.blocks[i]);
    }
  }
}

void LeafFirstPolicy::Touch(absl::Span<const BlockRef> run,
                            const RequestFacts& /*facts*/) {
  MutexLock lock(mutex_);
  for (auto block = run.rbegin(); block != run.rend(); ++block) {
    if (links_.IsLinked(*block)) OnTouch(*block);
  }
}

void LeafFirstPolicy::Remove(BlockRef block) {
  MutexLock lock(mutex_);
  if (!links_.IsLinked(block)) return;
  OnRemove(block);
  links_.Drop(block);
  --size_;
}

std::optional<BlockRef> LeafFirstPolicy::TakeVictim() {
  MutexLock lock(mutex_);
  if (size_ == 0) return std::nullopt;
  if (!is_making_room_) full_size_ = size_;
  is_making_room_ = true;
  const BlockRef victim = links_.LeafBelow(NextVictim());
  OnEvict(victim);
  links_.Drop(victim);
  --size_;
  return victim;
}

void LeafFirstPolicy::Retain(BlockRef block) {
  MutexLock lock(mutex_);
  if (links_.IsLinked(block)) return OnTouch(block);
  links_.Restore(block);  // ids_[block] is as it was.
  if (block >= ids_.size()) ids_.resize(size_t{block} + 1);
  ++size_;
  // With all before it: else the same block would go in their place again.
  for (BlockRef at = block; at != kNoBlock; at = links_.Parent(at)) {
    OnRetain(at);
  }
}

size_t LeafFirstPolicy::size() const {
  MutexLock lock(mutex_);
  return size_;
}

size_t LeafFirstPolicy::memory_bytes() const {
  MutexLock lock(mutex_);
  return links_.memory_bytes() + ids_.capacity() * sizeof(BlockId) +
         own_memory_bytes();
}

}  // namespace banyan::tiers
