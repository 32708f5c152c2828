// ARC is what its paper says, but for the order of making room.
//
// Method: single blocks go to the policy and to a naive model in vectors,
// written from the paper's cases; each victim must be the same.
#include "tiers/placement/arc_policy.h"

#include <gtest/gtest.h>

#include "tests/unit/tiers/placement/naive_cache.h"
#include "tests/unit/tiers/placement/naive_queues.h"

namespace banyan::tiers {
namespace {

using testing::Drop;

using testing::NaiveQueue;
using testing::PopOldest;
using testing::TrimOldest;

class NaiveArc {
 public:
  explicit NaiveArc(size_t capacity) : c_(capacity) {}

  void Touch(uint32_t x) {
    Drop(t1_, x);
    Drop(t2_, x);
    t2_.push_back(x);
  }
  void Insert(uint32_t x) {
    const auto b1 = static_cast<double>(b1_.size());
    const auto b2 = static_cast<double>(b2_.size());
    if (Drop(b1_, x)) {  // Case II.
      p_ = std::min(static_cast<double>(c_), p_ + std::max(1.0, b2 / b1));
      t2_.push_back(x);
    } else if (Drop(b2_, x)) {  // Case III.
      p_ = std::max(0.0, p_ - std::max(1.0, b1 / b2));
      t2_.push_back(x);
    } else {
      t1_.push_back(x);
    }
  }
  uint32_t Evict() {
    const bool from_t1 =
        t2_.empty() || (!t1_.empty() && static_cast<double>(t1_.size()) > p_);
    const uint32_t x = PopOldest(from_t1 ? t1_ : t2_);
    (from_t1 ? b1_ : b2_).push_back(x);
    TrimOldest(b1_, c_ - t1_.size());
    TrimOldest(b2_, c_ - b1_.size());
    return x;
  }

 private:
  const size_t c_;
  double p_ = 0;
  NaiveQueue t1_, t2_, b1_, b2_;
};

class ArcPolicyTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(ArcPolicyTest, VictimsAreThoseOfThePaper) {
  for (const size_t capacity : {1, 7, 50, 150}) {
    SCOPED_TRACE(::testing::Message() << "capacity " << capacity);
    ArcPolicy policy;
    NaiveArc model(capacity);
    testing::ExpectSameVictims(
        policy, model, testing::MixedAccesses(GetParam(), 8000), capacity);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArcPolicyTest, ::testing::Values(1u, 2u, 3u));

TEST(ArcPolicyExampleTest, AScanLeavesWhatWasSeenTwice) {
  ArcPolicy policy;
  policy.Insert({.blocks = {0, 1}, .ids = {BlockId{1}, BlockId{2}}}, {});
  policy.Touch({0, 1}, {});
  policy.Insert({.blocks = {2}, .ids = {BlockId{3}}}, {});

  for (uint64_t scan = 0; scan < 100; ++scan) {
    ASSERT_EQ(policy.TakeVictim(), BlockRef{2});
    policy.Insert({.blocks = {2}, .ids = {BlockId{10 + scan}}}, {});
  }
}

}  // namespace
}  // namespace banyan::tiers
