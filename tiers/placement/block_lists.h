// A fixed number of doubly linked lists of blocks, old to young, over one array
// indexed by BlockRef. A block is in one list at most.
//
// Threads: not thread-safe.
// Cost:    12 bytes a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers {

class BlockLists {
 public:
  using ListNo = uint32_t;
  static constexpr ListNo kNowhere = UINT32_MAX;

  explicit BlockLists(uint32_t lists);

  ListNo ListOf(BlockRef block) const {
    return size_t{block} + ends_ < links_.size() ? links_[block + ends_].list
                                                 : kNowhere;
  }
  // kNoBlock if the list is empty.
  BlockRef Oldest(ListNo list) const {
    const uint32_t at = links_[list].younger;
    return at == list ? kNoBlock : at - ends_;
  }
  size_t size(ListNo list) const { return sizes_[list]; }

  // Puts the block at the young end, out of the list that it is in, if any.
  void PushYoung(ListNo list, BlockRef block);
  // No effect if it is in none.
  void Unlink(BlockRef block);

  // Largest ref ever pushed + 1.
  size_t refs_end() const { return links_.size() - ends_; }
  size_t memory_bytes() const { return links_.capacity() * sizeof(Links); }

 private:
  // Links are positions: block + ends_; position i < ends_ is the end of list
  // i: its `younger` is the oldest block, its `older` the youngest.
  struct Links {
    uint32_t younger = 0;
    uint32_t older = 0;
    ListNo list = kNowhere;
  };

  const uint32_t ends_;
  std::vector<Links> links_;
  std::vector<size_t> sizes_;
};

}  // namespace banyan::tiers
