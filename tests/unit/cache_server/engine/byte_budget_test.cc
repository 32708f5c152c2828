// A budget gives out what it has, and gets it back, also after its own end.
#include "cache_server/engine/byte_budget.h"

#include <gtest/gtest.h>

#include <memory>

namespace banyan::engine {
namespace {

TEST(ByteBudgetTest, NoMoreThanThereIs) {
  ByteBudget budget(100);
  ByteBudget::Hold first = budget.Take(60);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(budget.Take(41), nullptr);
  const ByteBudget::Hold second = budget.Take(40);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(budget.Take(1), nullptr);
  ByteBudget::Hold copy = first;
  first = nullptr;
  EXPECT_EQ(budget.Take(60), nullptr);
  copy = nullptr;
  EXPECT_NE(budget.Take(60), nullptr);
}

TEST(ByteBudgetTest, AHoldMayOutliveIt) {
  auto budget = std::make_unique<ByteBudget>(10);
  ByteBudget::Hold hold = budget->Take(10);
  budget = nullptr;
  hold = nullptr;
}

}  // namespace
}  // namespace banyan::engine
