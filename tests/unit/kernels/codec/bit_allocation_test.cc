// T-DP: bits go where they save most.
#include "kernels/codec/bit_allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace banyan::codec {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

struct Allocation {
  std::vector<uint8_t> bits;
  double distortion = 0;
};

Allocation Allocate(const std::vector<float>& variances, uint64_t budget) {
  Allocation made{.bits = std::vector<uint8_t>(variances.size(), 77)};
  std::vector<float> order(variances.size());
  made.distortion = AllocateBits(variances, budget, absl::MakeSpan(made.bits),
                                 absl::MakeSpan(order));
  return made;
}

// The golden numbers: variances 2^(-i / 4), 2 bits each on average.
TEST(BitAllocationTest, FallingVariancesGetFallingBits) {
  std::vector<float> variances;
  double even = 0;
  for (int i = 0; i < 32; ++i) {
    variances.push_back(static_cast<float>(std::exp2(-i / 4.0)));
    even += std::exp2(-i / 4.0) / 16;
  }
  const Allocation made = Allocate(variances, 64);
  std::vector<uint8_t> expected;
  for (const auto& [count, bits] :
       {std::pair(4, 4), {8, 3}, {8, 2}, {8, 1}, {4, 0}}) {
    expected.insert(expected.end(), count, static_cast<uint8_t>(bits));
  }
  EXPECT_EQ(made.bits, expected);
  EXPECT_NEAR(made.distortion, 0.14731, 1e-5);
  EXPECT_NEAR(even, 0.39129, 1e-5);
}

// Against all ways to give away so few bits.
TEST(BitAllocationTest, NothingIsBetter) {
  const std::vector<float> variances = {0.3f, 5, 1, 0.02f};
  for (int budget = 0; budget <= 8; ++budget) {
    double best = INFINITY;
    for (int code = 0; code < 9 * 9 * 9 * 9; ++code) {
      int left = code;
      int sum = 0;
      double distortion = 0;
      for (const float variance : variances) {
        sum += left % 9;
        distortion += std::ldexp(double{variance}, -2 * (left % 9));
        left /= 9;
      }
      if (sum <= budget) best = std::min(best, distortion);
    }
    EXPECT_DOUBLE_EQ(Allocate(variances, budget).distortion, best) << budget;
  }
}

TEST(BitAllocationTest, EdgesAreDefined) {
  EXPECT_EQ(Allocate({}, 5).distortion, 0);
  EXPECT_THAT(Allocate({0, 0, 0}, 9).bits, Each(0));
  EXPECT_THAT(Allocate({0, 1, 0}, 1000).bits,
              ElementsAre(0, kAllocatedBitsMax, 0));
  EXPECT_THAT(Allocate({1, 1, 1}, 4).bits, ElementsAre(2, 1, 1));
}

}  // namespace
}  // namespace banyan::codec
