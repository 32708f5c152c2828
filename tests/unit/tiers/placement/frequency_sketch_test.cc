// The sketch never counts too low, seldom too high, and forgets with time.
//
// Method: random blocks are counted beside an exact map.
#include "tiers/placement/frequency_sketch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace banyan::tiers {
namespace {

BlockId RandomId(std::mt19937_64& rng) { return {.low = rng(), .high = rng()}; }

TEST(FrequencySketchTest, CountsAreNeverTooLowAndSeldomTooHigh) {
  std::mt19937_64 rng(3);
  std::vector<BlockId> ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(RandomId(rng));
  FrequencySketch sketch;
  std::map<uint64_t, uint32_t> exact;
  sketch.Fit(500);
  for (int i = 0; i < 5000; ++i) {
    if (i == 500) sketch.Fit(1000);
    const BlockId& id = ids[std::min(rng() % 1000, rng() % 1000)];
    sketch.Add(id);
    ++exact[id.low];
  }
  int too_high = 0;
  for (const BlockId& id : ids) {
    const uint32_t count = std::min<uint32_t>(15, exact[id.low]);
    EXPECT_GE(sketch.Estimate(id), count);
    if (sketch.Estimate(id) > count) ++too_high;
  }
  EXPECT_LT(too_high, 50);
}

TEST(FrequencySketchTest, OldCountsFade) {
  std::mt19937_64 rng(4);
  FrequencySketch sketch;
  sketch.Fit(100);
  const BlockId old = RandomId(rng);
  for (int i = 0; i < 12; ++i) sketch.Add(old);
  ASSERT_EQ(sketch.Estimate(old), 12u);

  const BlockId other = RandomId(rng);
  for (int i = 0; i < 6000; ++i) sketch.Add(other);

  EXPECT_LE(sketch.Estimate(old), 2u);
}

}  // namespace
}  // namespace banyan::tiers
