// Whoever outlives a stage is named once for it, in the order of time, and nobody
// else is.
//
// Method: random calls beside a map of ages, with small steps of time and leaps.
#include "tiers/placement/age_stages.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>
#include <vector>

namespace banyan::tiers {
namespace {

using Counts = std::map<uint32_t, uint32_t>;  // Stages outlived, by number.

class NaiveStages {
 public:
  explicit NaiveStages(std::vector<double> ends) : ends_(std::move(ends)) {}

  void Touch(uint32_t number, double now) { lives_[number] = {now, 0}; }
  void AddTwin(uint32_t other, uint32_t number) {
    lives_[number] = lives_[other];
  }
  void Erase(uint32_t number) { lives_.erase(number); }
  bool Has(uint32_t number) const { return lives_.contains(number); }
  double TouchedAt(uint32_t number) const { return lives_.at(number).touched; }

  Counts Advance(double now) {
    Counts changed;
    for (auto& [number, life] : lives_) {
      uint32_t stages = 0;
      for (const double end : ends_) {
        if (life.touched + end <= now) ++stages;
      }
      if (stages > life.stages) changed[number] = stages;
      life.stages = stages;
    }
    return changed;
  }

 private:
  struct Life {
    double touched = 0;
    uint32_t stages = 0;
  };
  std::vector<double> ends_;
  std::map<uint32_t, Life> lives_;
};

TEST(AgeStagesTest, NamesWhoOutlivesAStage) {
  std::mt19937_64 rng(5);
  const std::vector<double> ends = {1, 2, 4, 8, 100, 1000};
  AgeStages stages(ends);
  NaiveStages naive(ends);
  double now = 0;
  size_t named = 0;
  for (int step = 0; step < 20000; ++step) {
    const auto number = static_cast<uint32_t>(rng() % 50);
    const auto other = static_cast<uint32_t>(rng() % 50);
    if (rng() % 3 == 0) {
      stages.Erase(number);
      naive.Erase(number);
    } else if (!naive.Has(number) && naive.Has(other)) {
      stages.AddTwin(other, number);
      naive.AddTwin(other, number);
    } else {
      stages.Touch(number, now);
      naive.Touch(number, now);
    }
    now += rng() % 1000 == 0 ? 300 : static_cast<double>(rng() % 8) / 16;
    Counts outlived;
    double last_due = 0;
    stages.Advance(now, [&](uint32_t who, uint32_t count) {
      if (outlived.contains(who)) {
        EXPECT_EQ(count, outlived[who] + 1);
      }
      outlived[who] = count;
      const double due = naive.TouchedAt(who) + ends[count - 1];
      EXPECT_GE(due, last_due);
      last_due = due;
    });
    ASSERT_EQ(outlived, naive.Advance(now)) << step;
    named += outlived.size();
  }
  EXPECT_GT(named, 1000u);
}

TEST(AgeStagesTest, StagesComeOneByOneAfterALeap) {
  AgeStages stages({1, 10});
  stages.Touch(0, 0);
  stages.Touch(1, 5);
  stages.Touch(2, 8);
  using Call = std::pair<uint32_t, uint32_t>;
  std::vector<Call> calls;
  stages.Advance(15, [&](uint32_t who, uint32_t count) {
    calls.emplace_back(who, count);
  });
  EXPECT_EQ(calls, (std::vector<Call>{{0, 1}, {1, 1}, {2, 1}, {0, 2}, {1, 2}}));
}

}  // namespace
}  // namespace banyan::tiers
