// Next tokens are compared as the formulas say.
#include "client/ctl/model/divergence.h"

#include <gtest/gtest.h>

#include <cmath>

namespace banyan::ctl {
namespace {

TEST(LogProbabilitiesTest, SumToOneWhateverIsAdded) {
  const float small[] = {0.0f, 1.0f, -2.0f};
  const float large[] = {500.0f, 501.0f, 498.0f};
  const auto a = LogProbabilities(small);
  const auto b = LogProbabilities(large);
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) {
    sum += std::exp(a[i]);
    EXPECT_TRUE(std::fabs(a[i] - b[i]) <= 1e-12);
  }
  EXPECT_TRUE(std::fabs(sum - 1) <= 1e-12);
}

TEST(DivergenceTest, IsThatOfKullbackAndLeibler) {
  // Probabilities 1/2, 1/4, 1/4 and 1/4, 1/2, 1/4.
  const float p[] = {std::log(2.0f), 0.0f, 0.0f};
  const float q[] = {0.0f, std::log(2.0f), 0.0f};
  Divergence divergence;

  divergence.AddLogits(p, q);

  EXPECT_TRUE(std::fabs(divergence.kl() - 0.25 * std::log(2.0)) <= 1e-7);
  EXPECT_EQ(divergence.same_top(), 0);

  divergence.AddLogits(p, p);

  EXPECT_TRUE(std::fabs(divergence.kl() - 0.125 * std::log(2.0)) <= 1e-7);
  EXPECT_EQ(divergence.same_top(), 0.5);
  EXPECT_EQ(divergence.tokens(), 2u);
}

TEST(DivergenceTest, OfNothingIsZero) {
  EXPECT_EQ(Divergence().kl(), 0);
  EXPECT_EQ(Divergence().same_top(), 0);
}

}  // namespace
}  // namespace banyan::ctl
