// Open-addressing table from block ids to node numbers. It stores 32 bits of
// each id beside the number, so that a probe touches the node only when they
// agree, and growing reads no node at all.
//
// Threads: none of its own; a shard's lock guards it.
// Cost:    8 bytes a slot, load 3/8 to 3/4. Growing is one sequential pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/block_id.h"
#include "cache_server/index/huge_memory.h"

namespace banyan::index {

using NodeNo = uint32_t;
inline constexpr NodeNo kNoNode = UINT32_MAX;

class IdTable {
 public:
  IdTable() : slots_(kSlotsMin) {}

  // Brings the first slot of `id` towards the cache.
  void Prefetch(const BlockId& id) const {
    __builtin_prefetch(&slots_[Home(Tag(id))]);
  }

  // The first node whose tag agrees with `id`, or kNoNode: for prefetching.
  NodeNo Candidate(const BlockId& id) const {
    const uint32_t tag = Tag(id);
    for (size_t i = Home(tag);; i = Next(i)) {
      if (slots_[i].node == kNoNode) return kNoNode;
      if (slots_[i].tag == tag) return slots_[i].node;
    }
  }

  // The node for which is_same(node) holds, or kNoNode.
  template <typename IsSame>
  NodeNo Find(const BlockId& id, const IsSame& is_same) const {
    const uint32_t tag = Tag(id);
    for (size_t i = Home(tag);; i = Next(i)) {
      if (slots_[i].node == kNoNode) return kNoNode;
      if (slots_[i].tag == tag && is_same(slots_[i].node)) {
        return slots_[i].node;
      }
    }
  }

  // Makes room for `more` ids at once.
  void Reserve(size_t more) {
    while ((count_ + more) * 4 > slots_.size() * 3) Grow();
  }

  // Requires: the id is not in the table.
  void Insert(const BlockId& id, NodeNo node) {
    if ((count_ + 1) * 4 > slots_.size() * 3) Grow();
    Place({.node = node, .tag = Tag(id)});
    ++count_;
  }

  // Requires: `node` is in the table under `id`.
  void Erase(const BlockId& id, NodeNo node) {
    size_t hole = Home(Tag(id));
    while (slots_[hole].node != node) hole = Next(hole);
    // Close the gap, so that probes need no tombstones.
    for (size_t i = Next(hole); slots_[i].node != kNoNode; i = Next(i)) {
      const size_t home = Home(slots_[i].tag);
      if (((i - home) & Mask()) >= ((i - hole) & Mask())) {
        slots_[hole] = slots_[i];
        hole = i;
      }
    }
    slots_[hole] = Slot();
    --count_;
  }

  size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    NodeNo node = kNoNode;
    uint32_t tag = 0;
  };

  using Slots = std::vector<Slot, HugeAllocator<Slot>>;

  static constexpr size_t kSlotsMin = 16;

  static uint32_t Tag(const BlockId& id) {
    return static_cast<uint32_t>(id.low);
  }
  size_t Mask() const { return slots_.size() - 1; }
  // Spread again: with truncated ids (tests) tags are small numbers.
  size_t Home(uint32_t tag) const {
    return (tag * uint64_t{0x9e3779b97f4a7c15} >> 20) & Mask();
  }
  size_t Next(size_t i) const { return (i + 1) & Mask(); }

  void Place(const Slot& slot) {
    size_t i = Home(slot.tag);
    while (slots_[i].node != kNoNode) i = Next(i);
    slots_[i] = slot;
  }

  void Grow() {
    Slots old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.node != kNoNode) Place(slot);
    }
  }

  size_t count_ = 0;
  Slots slots_;
};

}  // namespace banyan::index
