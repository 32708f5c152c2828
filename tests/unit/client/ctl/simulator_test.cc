// The simulator counts what its header says, drives a policy as the engine
// does, and its bounds hold.
//
// Method: (1) LRU through the simulator has the hits of a brute-force LRU on
// random conversations; (2) a recording policy sees the calls and facts of a
// hand-made trace; (3) hints come in the shares asked for; (4) the lengths of
// answers are told when they are complete.
#include "client/ctl/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/ctl/bounds.h"
#include "tiers/placement/lru_policy.h"

namespace banyan::ctl {
namespace {

using ::testing::ElementsAre;

// Conversations over shared prompts, each turn a little longer.
std::vector<TraceRequest> Conversations(uint64_t seed, size_t count) {
  std::mt19937_64 rng(seed);
  uint64_t next = 1;
  std::vector<std::vector<uint64_t>> talks;
  std::vector<TraceRequest> trace;
  while (trace.size() < count) {
    if (talks.empty() || rng() % 4 == 0) {
      const uint64_t root = rng() % 3;
      talks.push_back({1000000 + root, 2000000 + 10 * root + rng() % 3});
    }
    auto& talk =
        talks[talks.size() - 1 - rng() % std::min<size_t>(talks.size(), 12)];
    if (!talk.empty() && rng() % 3 == 0) talk.pop_back();  // Half full.
    for (uint64_t i = rng() % 6 + 1; i > 0; --i) talk.push_back(next++);
    trace.push_back({.timestamp_ms = trace.size() * 500, .blocks = talk});
  }
  return trace;
}

// Order by (request, shallower first), kept in a vector, old to young.
uint64_t BruteForceLruHits(const std::vector<TraceRequest>& trace,
                           size_t capacity) {
  std::vector<uint64_t> order;
  uint64_t hits = 0;
  for (const TraceRequest& request : trace) {
    const auto is_cached = [&](uint64_t block) {
      return std::find(order.begin(), order.end(), block) != order.end();
    };
    for (const uint64_t block : request.blocks) {
      if (!is_cached(block)) break;
      ++hits;
    }
    for (auto it = request.blocks.rbegin(); it != request.blocks.rend(); ++it) {
      order.erase(std::remove(order.begin(), order.end(), *it), order.end());
      order.push_back(*it);
    }
    if (order.size() > capacity) {
      order.erase(order.begin(), order.end() - static_cast<long>(capacity));
    }
  }
  return hits;
}

TEST(SimulatorTest, LruHasTheHitsOfBruteForce) {
  for (const uint64_t seed : {1, 2, 3}) {
    const std::vector<TraceRequest> trace = Conversations(seed, 400);
    const SimulatedTrace compact(trace, {});
    for (const size_t capacity : {1, 10, 60, 300, 100000}) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, " capacity ", capacity));
      tiers::LruPolicy policy;
      const Simulation simulation = Simulate(compact, policy, capacity, {});
      EXPECT_EQ(simulation.blocks_hit, BruteForceLruHits(trace, capacity));
      EXPECT_LE(policy.size(), capacity);
    }
  }
}

TEST(SimulatorTest, NoPolicyBeatsItsBounds) {
  const std::vector<TraceRequest> trace = Conversations(9, 1500);
  const SimulatedTrace compact(trace, {.told = 0.7, .untrue = 0.02});
  for (const std::string& name : tiers::EvictionPolicyNames()) {
    for (const size_t capacity : {20, 100, 500, 100000}) {
      SCOPED_TRACE(absl::StrCat(name, " capacity ", capacity));
      const auto policy = *tiers::MakeEvictionPolicy(name);
      const Simulation simulation = Simulate(compact, *policy, capacity, {});
      EXPECT_LE(simulation.blocks_hit, BeladyHits(trace, capacity));
      EXPECT_LE(policy->size(), capacity);
      if (capacity == 100000) {
        EXPECT_EQ(simulation.blocks_hit, InfiniteHits(trace));
        EXPECT_EQ(simulation.evictions, 0u);
      }
    }
  }
}

// Writes down each call; evicts the block inserted last.
class RecordingPolicy final : public tiers::EvictionPolicy {
 public:
  absl::string_view name() const override { return "recording"; }
  void Insert(const tiers::NewRun& run,
              const tiers::RequestFacts& facts) override {
    ASSERT_EQ(run.blocks.size(), run.ids.size());
    stack_.insert(stack_.end(), run.blocks.begin(), run.blocks.end());
    Note("insert", run.blocks, facts);
  }
  void Touch(absl::Span<const tiers::BlockRef> run,
             const tiers::RequestFacts& facts) override {
    Note("touch", run, facts);
  }
  void Hint(absl::Span<const tiers::BlockRef> run,
            const tiers::RequestFacts& facts) override {
    if (facts.hint.generated_tokens > 0) {
      Note(absl::StrCat("answer of ", facts.hint.generated_tokens, " to"), run,
           facts);
    } else {
      EXPECT_EQ(facts.hint.reuse, tiers::Reuse::kEnded);
      Note("hint", run, facts);
    }
  }
  void Remove(tiers::BlockRef) override {}
  std::optional<tiers::BlockRef> TakeVictim() override {
    if (stack_.empty()) return std::nullopt;
    const tiers::BlockRef victim = stack_.back();
    stack_.pop_back();
    calls.push_back(absl::StrCat("victim ", victim));
    return victim;
  }
  void Retain(tiers::BlockRef) override {}
  size_t size() const override { return stack_.size(); }
  size_t memory_bytes() const override { return 0; }

  std::vector<std::string> calls;

 private:
  void Note(absl::string_view what, absl::Span<const tiers::BlockRef> run,
            const tiers::RequestFacts& facts) {
    calls.push_back(absl::StrCat(what, " [", absl::StrJoin(run, " "), "] at ",
                                 absl::ToInt64Milliseconds(facts.now), " from ",
                                 facts.first_block, " of ",
                                 facts.prompt_blocks));
  }
  std::vector<tiers::BlockRef> stack_;
};

TEST(SimulatorTest, CallsComeInTheOrderOfTheEngine) {
  const std::vector<TraceRequest> trace = {
      {.timestamp_ms = 5, .blocks = {70, 71}},
      {.timestamp_ms = 9, .blocks = {70, 71, 72, 73}},
      {.timestamp_ms = 11, .blocks = {80}}};
  const SimulatedTrace compact(trace, {.told = 1});
  RecordingPolicy policy;
  const Simulation simulation = Simulate(compact, policy, 4, {});
  EXPECT_EQ(simulation.blocks_hit, 2u);
  EXPECT_EQ(simulation.evictions, 1u);
  EXPECT_THAT(
      policy.calls,
      ElementsAre(
          "touch [] at 5 from 0 of 2", "insert [0 1] at 5 from 0 of 2",
          "touch [0 1] at 9 from 0 of 4", "insert [2 3] at 9 from 2 of 4",
          "hint [0 1 2 3] at 9 from 0 of 4", "touch [] at 11 from 0 of 1",
          "victim 3", "insert [3] at 11 from 0 of 1",
          "hint [3] at 11 from 0 of 1"));
}

TEST(SimulatorTest, AnswersAreToldWhenTheyAreComplete) {
  const std::vector<TraceRequest> trace = {
      {.timestamp_ms = 0, .output_tokens = 100, .blocks = {1, 2, 3}},
      {.timestamp_ms = 10, .output_tokens = 50, .blocks = {7}},
      {.timestamp_ms = 20, .blocks = {8}},  // Nothing is known of it.
      // Goes on from the first one, which so was complete.
      {.timestamp_ms = 600, .output_tokens = 9, .blocks = {1, 2, 4}},
      {.timestamp_ms = 2000, .blocks = {9}}};
  const auto answers = [&](double token_ms) {
    const SimulatedTrace compact(trace, {.token_ms = token_ms});
    RecordingPolicy policy;
    Simulate(compact, policy, 100, {});
    std::vector<std::string> told;
    for (const std::string& call : policy.calls) {
      if (call.starts_with("answer")) told.push_back(call);
    }
    return told;
  };
  EXPECT_THAT(answers(10),
              ElementsAre("answer of 100 to [0 1 2] at 600 from 0 of 3",
                          "answer of 50 to [3] at 600 from 0 of 1",
                          "answer of 9 to [0 1 5] at 2000 from 0 of 3"));
  EXPECT_THAT(answers(0), ElementsAre());
}

TEST(SimulatorTest, HintsComeInTheirShares) {
  const std::vector<TraceRequest> trace = Conversations(5, 8000);
  const SimulatedTrace compact(trace, {.told = 0.7, .untrue = 0.1, .seed = 4});
  double endings = 0;
  double told = 0;
  double untrue = 0;
  for (size_t i = 0; i < compact.size(); ++i) {
    endings += compact.IsEnding(i) ? 1 : 0;
    (compact.IsEnding(i) ? told : untrue) += compact.is_told_to_end(i) ? 1 : 0;
  }
  ASSERT_GT(endings, 1000);
  const double others = static_cast<double>(compact.size()) - endings;
  EXPECT_NEAR(told / endings, 0.7, 0.05);
  EXPECT_NEAR(untrue / others, 0.1, 0.03);
}

TEST(SimulatorTest, AnEndingIsWhatNobodyGoesOnFrom) {
  const std::vector<TraceRequest> trace = {
      {.blocks = {1, 2, 3}},     // Goes on: its last block was half full.
      {.blocks = {1, 2, 4, 5}},  // Goes on.
      {.blocks = {1, 9}},        // The shared root is asked for again; counts.
      {.blocks = {1, 2, 4, 6}}};
  const SimulatedTrace compact(trace, {});
  EXPECT_FALSE(compact.IsEnding(0));
  EXPECT_FALSE(compact.IsEnding(1));
  EXPECT_FALSE(compact.IsEnding(2));
  EXPECT_TRUE(compact.IsEnding(3));
}

}  // namespace
}  // namespace banyan::ctl
