// W-TinyLFU keeps what is seen often, and its parts have their sizes.
//
// Method: single blocks go to the policy and to a naive model in vectors; each
// victim must be the same. The model counts with a sketch of its own, which has
// its own test.
#include "tiers/placement/wtinylfu_policy.h"

#include <gtest/gtest.h>

#include "tests/unit/tiers/placement/naive_cache.h"
#include "tests/unit/tiers/placement/naive_queues.h"

namespace banyan::tiers {
namespace {

using testing::Drop;

using testing::NaiveQueue;
using testing::PopOldest;

class NaiveWTinyLfu {
 public:
  explicit NaiveWTinyLfu(size_t capacity)
      : capacity_(capacity), window_max_(std::max<size_t>(1, capacity / 100)) {}

  void Touch(uint32_t x) {
    sketch_.Add(testing::NaiveId(x));
    if (Drop(window_, x)) {
      window_.push_back(x);
      return;
    }
    Drop(probation_, x);
    Drop(protected_, x);
    Drop(losers_, x);
    Protect(x);
  }
  void Insert(uint32_t x) {
    ++size_;
    sketch_.Fit(std::max(was_full_ ? capacity_ : 0, size_));
    sketch_.Add(testing::NaiveId(x));
    const bool is_growing = !was_full_;
    window_.push_back(x);
    const size_t window_max =
        is_growing ? std::max<size_t>(1, size_ / 100) : window_max_;
    while (window_.size() > window_max) {
      const uint32_t candidate = PopOldest(window_);
      NaiveQueue& main = probation_.empty() ? protected_ : probation_;
      if (is_growing || main.empty()) {
        probation_.push_back(candidate);
      } else if (Seen(candidate) > Seen(main.front())) {
        losers_.push_back(PopOldest(main));
        probation_.push_back(candidate);
      } else {
        losers_.push_back(candidate);
      }
    }
  }
  uint32_t Evict() {
    was_full_ = true;
    --size_;
    for (NaiveQueue* queue : {&losers_, &probation_, &protected_}) {
      if (!queue->empty()) return PopOldest(*queue);
    }
    return PopOldest(window_);
  }

 private:
  uint32_t Seen(uint32_t x) const {
    return sketch_.Estimate(testing::NaiveId(x));
  }
  void Protect(uint32_t x) {
    protected_.push_back(x);
    const size_t capacity = was_full_ ? capacity_ : size_;
    const size_t window_max = std::max<size_t>(1, capacity / 100);
    const auto protected_max = std::max<size_t>(
        1,
        static_cast<size_t>(0.8 * static_cast<double>(capacity - window_max)));
    while (protected_.size() > protected_max) {
      probation_.push_back(PopOldest(protected_));
    }
  }

  const size_t capacity_;
  const size_t window_max_;
  size_t size_ = 0;
  bool was_full_ = false;
  FrequencySketch sketch_;
  NaiveQueue window_, probation_, protected_, losers_;
};

TEST(WTinyLfuPolicyTest, VictimsAreThoseOfANaiveModel) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    constexpr size_t kCapacity = 300;
    WTinyLfuPolicy policy;
    NaiveWTinyLfu model(kCapacity);
    testing::ExpectSameVictims(policy, model,
                               testing::MixedAccesses(seed, 8000), kCapacity);
  }
}

TEST(WTinyLfuPolicyTest, AScanLeavesWhatIsSeenOften) {
  WTinyLfuPolicy policy;
  for (BlockRef ref = 0; ref < 10; ++ref) {
    policy.Insert({.blocks = {ref}, .ids = {BlockId{ref * 77, ref * 5}}}, {});
  }
  for (int i = 0; i < 3; ++i) policy.Touch({0, 1, 2, 3, 4, 5}, {});

  for (uint64_t scan = 0; scan < 50; ++scan) {
    const std::optional<BlockRef> victim = policy.TakeVictim();
    ASSERT_TRUE(victim.has_value());
    ASSERT_GT(*victim, 5u) << "scan " << scan;
    policy.Insert({.blocks = {*victim}, .ids = {BlockId{1000 + scan, scan}}},
                  {});
  }
}

}  // namespace
}  // namespace banyan::tiers
