// Single blocks through a cache of a fixed size, to compare a policy with a
// naive model of it: each access is told to both, and each victim must be the
// same block.
//
// A model has Touch(block), Insert(block), and Evict() -> block. It is told of
// an eviction before the insertion that needs the room, as policies are.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "tiers/placement/eviction_policy.h"

namespace banyan::tiers::testing {

// Accesses with some popular blocks, some scans and some bursts.
inline std::vector<uint32_t> MixedAccesses(uint64_t seed, size_t count) {
  std::mt19937_64 rng(seed);
  std::vector<uint32_t> accesses;
  uint32_t fresh = 1000;
  while (accesses.size() < count) {
    switch (rng() % 4) {
      case 0:
        accesses.push_back(static_cast<uint32_t>(rng() % 40));
        break;
      case 1:
        accesses.push_back(static_cast<uint32_t>(rng() % 200));
        break;
      case 2:
        accesses.push_back(fresh++);
        break;
      case 3:
        accesses.push_back(fresh - 1 - static_cast<uint32_t>(rng() % 90));
        break;
    }
  }
  return accesses;
}

inline BlockId NaiveId(uint32_t block) {
  const uint64_t low = block * 0x9e3779b97f4a7c15ull;
  return {.low = low, .high = low >> 7};
}

template <typename Model>
void ExpectSameVictims(EvictionPolicy& policy, Model& model,
                       const std::vector<uint32_t>& accesses, size_t capacity) {
  std::map<uint32_t, BlockRef> stored;  // Block to ref.
  std::map<BlockRef, uint32_t> names;
  std::vector<BlockRef> free;
  for (size_t i = capacity; i-- > 0;) free.push_back(static_cast<BlockRef>(i));
  for (size_t i = 0; i < accesses.size(); ++i) {
    const uint32_t block = accesses[i];
    if (const auto found = stored.find(block); found != stored.end()) {
      policy.Touch({found->second}, {});
      model.Touch(block);
      continue;
    }
    if (free.empty()) {
      const std::optional<BlockRef> victim = policy.TakeVictim();
      ASSERT_TRUE(victim.has_value());
      ASSERT_EQ(names[*victim], model.Evict()) << "access " << i;
      stored.erase(names[*victim]);
      free.push_back(*victim);
    }
    const BlockRef ref = free.back();
    free.pop_back();
    stored[block] = ref;
    names[ref] = block;
    policy.Insert({.blocks = {ref}, .ids = {NaiveId(block)}}, {});
    model.Insert(block);
  }
}

}  // namespace banyan::tiers::testing
