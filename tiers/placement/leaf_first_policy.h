// What the block-wise policies share: the lock, tolerance to facts in any
// order, the name of each block, and that in place of a block which others
// hang on the end of the oldest branch behind it goes. A policy on top of it
// says only in which order blocks would go.
//
// Runs are handed on deepest block first, so that in each queue the deeper
// block of a chain is the older one. Hints are not used.
//
// Threads: thread-safe; the private virtual functions run under the lock.
// Cost:    40 bytes a block beside what the policy keeps.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "tiers/placement/chain_links.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {

class LeafFirstPolicy : public EvictionPolicy {
 public:
  void Insert(const NewRun& run, const RequestFacts& facts) final;
  void Touch(absl::Span<const BlockRef> run, const RequestFacts& facts) final;
  void Hint(absl::Span<const BlockRef> /*run*/,
            const RequestFacts& /*facts*/) final {}
  void Remove(BlockRef block) final;
  std::optional<BlockRef> TakeVictim() final;
  void Retain(BlockRef block) final;
  size_t size() const final;
  size_t memory_bytes() const final;

 protected:
  // The rest is for the policies on top, under the lock.
  const BlockId& IdOf(BlockRef block) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return ids_[block];
  }
  size_t tracked() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return size_; }
  // Blocks that fit: what was there when room was last asked for.
  size_t capacity() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return size_ > full_size_ ? size_ : full_size_;
  }
  // True if no room had to be made for the last blocks.
  bool is_growing() const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return size_ > full_size_;
  }

 private:
  virtual void OnInsert(BlockRef block) = 0;
  virtual void OnTouch(BlockRef block) = 0;
  // It leaves, and not to make room.
  virtual void OnRemove(BlockRef block) = 0;
  // The block to go next. Requires: one is tracked.
  virtual BlockRef NextVictim() = 0;
  // The block goes: what NextVictim named, or a leaf in its place.
  virtual void OnEvict(BlockRef block) = 0;
  // It, or one behind it, did not go after all: it counts as in use.
  virtual void OnRetain(BlockRef block) = 0;
  virtual size_t own_memory_bytes() const = 0;

  mutable Mutex mutex_;
  ChainLinks links_ ABSL_GUARDED_BY(mutex_);
  std::vector<BlockId> ids_ ABSL_GUARDED_BY(mutex_);  // By ref.
  // New blocks of the run at hand, as positions; kept for its memory.
  std::vector<size_t> fresh_ ABSL_GUARDED_BY(mutex_);
  size_t size_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t full_size_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_making_room_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace banyan::tiers
