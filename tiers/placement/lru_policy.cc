#include "tiers/placement/lru_policy.h"

namespace banyan::tiers {

// links_[kEnd] closes the ring: its `older` is the youngest block, its
// `younger` the oldest.
LruPolicy::LruPolicy() : links_(1, Links{.younger = kEnd, .older = kEnd}) {}

bool LruPolicy::IsTracked(BlockRef block) const {
  return size_t{block} + 1 < links_.size() &&
         links_[block + 1].older != kUntracked;
}

void LruPolicy::Unlink(uint32_t at) {
  Links& links = links_[at];
  links_[links.younger].older = links.older;
  links_[links.older].younger = links.younger;
  links = Links();
  --size_;
}

void LruPolicy::PlaceBehind(uint32_t at, uint32_t younger) {
  if (at >= links_.size()) links_.resize(size_t{at} + 1);
  if (links_[at].older != kUntracked) Unlink(at);
  const uint32_t older = links_[younger].older;
  links_[at] = {.younger = younger, .older = older};
  links_[younger].older = at;
  links_[older].younger = at;
  ++size_;
}

void LruPolicy::Insert(const NewRun& run, const RequestFacts& /*facts*/) {
  MutexLock lock(mutex_);
  uint32_t younger =
      run.parent != kNoBlock && IsTracked(run.parent) ? run.parent + 1 : kEnd;
  for (const BlockRef block : run.blocks) {
    if (block + 1 == younger) continue;  // A block is not behind itself.
    PlaceBehind(block + 1, younger);
    younger = block + 1;
  }
}

void LruPolicy::Touch(absl::Span<const BlockRef> run,
                      const RequestFacts& /*facts*/) {
  MutexLock lock(mutex_);
  for (auto block = run.rbegin(); block != run.rend(); ++block) {
    if (IsTracked(*block)) PlaceBehind(*block + 1, kEnd);
  }
}

void LruPolicy::Remove(BlockRef block) {
  MutexLock lock(mutex_);
  if (IsTracked(block)) Unlink(block + 1);
}

std::optional<BlockRef> LruPolicy::TakeVictim() {
  MutexLock lock(mutex_);
  const uint32_t oldest = links_[kEnd].younger;
  if (oldest == kEnd) return std::nullopt;
  Unlink(oldest);
  return oldest - 1;
}

void LruPolicy::Retain(BlockRef block) {
  MutexLock lock(mutex_);
  PlaceBehind(block + 1, kEnd);
}

size_t LruPolicy::size() const {
  MutexLock lock(mutex_);
  return size_;
}

size_t LruPolicy::memory_bytes() const {
  MutexLock lock(mutex_);
  return links_.capacity() * sizeof(Links);
}

}  // namespace banyan::tiers
