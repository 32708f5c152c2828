// The list has the order in which numbers joined it, whatever left.
//
// Method: random calls beside a std::list.
#include "tiers/placement/number_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

namespace banyan::tiers {
namespace {

std::list<uint32_t> NumbersOf(const NumberList& list) {
  std::list<uint32_t> numbers;
  for (uint32_t at = list.front(); at != NumberList::kNone;
       at = list.Next(at)) {
    numbers.push_back(at);
  }
  return numbers;
}

TEST(NumberListTest, IsAListOfNumbers) {
  std::mt19937_64 rng(3);
  NumberList list;
  std::list<uint32_t> naive;
  for (int step = 0; step < 5000; ++step) {
    const auto number = static_cast<uint32_t>(rng() % 40);
    const auto other = static_cast<uint32_t>(rng() % 40);
    const auto at = std::find(naive.begin(), naive.end(), number);
    const auto beside = std::find(naive.begin(), naive.end(), other);
    ASSERT_EQ(list.Has(number), at != naive.end());
    if (at != naive.end()) {
      naive.erase(at);
      list.Erase(number);
    } else if (beside == naive.end()) {
      naive.push_back(number);
      list.PushBack(number);
    } else if (rng() % 2 == 0) {
      naive.insert(beside, number);
      list.InsertBefore(other, number);
    } else {
      naive.insert(std::next(beside), number);
      list.InsertAfter(other, number);
    }
    ASSERT_EQ(NumbersOf(list), naive) << step;
  }
}

TEST(NumberListTest, WhatIsNotThereCannotLeave) {
  NumberList list;
  list.Erase(7);
  EXPECT_FALSE(list.Has(7));
  EXPECT_EQ(list.front(), NumberList::kNone);
}

}  // namespace
}  // namespace banyan::tiers
