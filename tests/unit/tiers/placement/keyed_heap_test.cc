// The heap's top is the least key, whatever was set, changed and erased.
//
// Method: random calls beside an ordered map.
#include "tiers/placement/keyed_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace banyan::tiers {
namespace {

TEST(KeyedHeapTest, TopIsTheLeastOfAMap) {
  std::mt19937_64 rng(1);
  KeyedHeap heap;
  std::map<uint32_t, double> keys;
  for (int step = 0; step < 20000; ++step) {
    const auto number = static_cast<uint32_t>(rng() % 60);
    if (rng() % 3 == 0) {
      heap.Erase(number);
      keys.erase(number);
    } else {
      const auto key = static_cast<double>(rng() % 1000);
      heap.Set(number, key);
      keys[number] = key;
    }
    ASSERT_EQ(heap.size(), keys.size());
    ASSERT_EQ(heap.Has(number), keys.contains(number));
    if (keys.empty()) continue;
    const auto least = std::min_element(
        keys.begin(), keys.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    ASSERT_EQ(heap.top().key, least->second) << step;
    ASSERT_EQ(keys[heap.top().number], least->second) << step;
    ASSERT_EQ(heap.KeyOf(least->first), least->second) << step;
  }
}

}  // namespace
}  // namespace banyan::tiers
