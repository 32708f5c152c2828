// Least recently used, children before parents. One list over arrays indexed
// by BlockRef; a touched run enters the young end deepest first, and a new
// block enters right behind its parent, so inside a chain the deeper block is
// always the older one. For callers that ask for whole chains this equals LRU
// by (request, shallower first). Takes no hints.
//
// Cost: 8 bytes a block; about three cache lines a touch.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {

class LruPolicy final : public EvictionPolicy {
 public:
  LruPolicy();

  absl::string_view name() const override { return "lru"; }
  void Insert(const NewRun& run, const RequestFacts& facts) override;
  void Touch(absl::Span<const BlockRef> run,
             const RequestFacts& facts) override;
  void Hint(absl::Span<const BlockRef> /*run*/,
            const RequestFacts& /*facts*/) override {}
  void Remove(BlockRef block) override;
  std::optional<BlockRef> TakeVictim() override;
  void Retain(BlockRef block) override;
  size_t size() const override;
  size_t memory_bytes() const override;

 private:
  // Links are positions: block + 1; position 0 is the list's end on both sides.
  struct Links {
    uint32_t younger = kUntracked;
    uint32_t older = kUntracked;
  };
  static constexpr uint32_t kUntracked = UINT32_MAX;
  static constexpr uint32_t kEnd = 0;

  bool IsTracked(BlockRef block) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unlink(uint32_t at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the block, tracked or not, on the older side of position `younger`.
  void PlaceBehind(uint32_t at, uint32_t younger)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::vector<Links> links_ ABSL_GUARDED_BY(mutex_);
  size_t size_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace banyan::tiers
