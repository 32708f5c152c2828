// S3-FIFO is what its paper says.
//
// Method: single blocks go to the policy and to a naive model in vectors,
// written from the paper's algorithm; each victim must be the same.
#include "tiers/placement/s3fifo_policy.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/unit/tiers/placement/naive_cache.h"
#include "tests/unit/tiers/placement/naive_queues.h"

namespace banyan::tiers {
namespace {

using testing::Drop;
using testing::NaiveQueue;
using testing::PopOldest;
using testing::TrimOldest;

class NaiveS3Fifo {
 public:
  explicit NaiveS3Fifo(size_t capacity) : capacity_(capacity) {}

  void Touch(uint32_t x) { freq_[x] = std::min(3, freq_[x] + 1); }
  void Insert(uint32_t x) {
    freq_[x] = 0;
    (Drop(ghost_, x) ? m_ : s_).push_back(x);
  }
  uint32_t Evict() {
    while (true) {
      if (10 * s_.size() >= capacity_ || m_.empty()) {
        while (!s_.empty()) {  // EVICTS of the paper.
          const uint32_t t = PopOldest(s_);
          if (freq_[t] <= 1) return Remember(t);
          freq_[t] = 0;
          m_.push_back(t);
        }
      }
      while (!m_.empty()) {  // EVICTM of the paper.
        const uint32_t t = PopOldest(m_);
        if (freq_[t] == 0) return t;
        --freq_[t];
        m_.push_back(t);
      }
    }
  }

 private:
  uint32_t Remember(uint32_t x) {
    ghost_.push_back(x);
    TrimOldest(ghost_, capacity_ - capacity_ / 10);
    return x;
  }

  const size_t capacity_;
  std::map<uint32_t, int> freq_;
  NaiveQueue s_, m_, ghost_;
};

class S3FifoPolicyTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(S3FifoPolicyTest, VictimsAreThoseOfThePaper) {
  for (const size_t capacity : {10, 50, 150}) {
    SCOPED_TRACE(::testing::Message() << "capacity " << capacity);
    S3FifoPolicy policy;
    NaiveS3Fifo model(capacity);
    testing::ExpectSameVictims(
        policy, model, testing::MixedAccesses(GetParam(), 8000), capacity);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, S3FifoPolicyTest,
                         ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace banyan::tiers
