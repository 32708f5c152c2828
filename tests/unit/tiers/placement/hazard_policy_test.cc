// The policy learns who comes back, admits by it, and takes hints as advice.
//
// Method: small worlds with a known truth: talks that always go on beside ones
// that never do, through a store of a fixed size, against LRU and the truth.
#include "tiers/placement/hazard_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "client/ctl/bounds.h"
#include "client/ctl/simulator.h"

namespace banyan::tiers {
namespace {

using ctl::TraceRequest;

// Talks of many turns, each turn 60 s after the one before, among four times as
// many prompts that never come again and are longer.
std::vector<TraceRequest> TalksAndOneOffs(uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<TraceRequest> trace;
  uint64_t next = 1;
  std::vector<std::vector<uint64_t>> talks(30);
  for (uint64_t second = 0; second < 6000; second += 2) {
    const size_t at = second / 2 % 30;
    std::vector<uint64_t>& talk = talks[at];
    if (talk.size() > 20) talk.clear();
    talk.push_back(next++);
    talk.push_back(next++);
    trace.push_back({.timestamp_ms = second * 1000, .blocks = talk});
    for (int i = 0; i < 4; ++i) {
      std::vector<uint64_t> prompt(12 + rng() % 4);
      for (uint64_t& block : prompt) block = next++;
      trace.push_back(
          {.timestamp_ms = second * 1000 + 300 * (i + 1), .blocks = prompt});
    }
  }
  return trace;
}

uint64_t HitsOf(const std::vector<TraceRequest>& trace, const char* policy,
                uint64_t capacity, const ctl::HintColumn& hints = {}) {
  const ctl::SimulatedTrace compact(trace, hints);
  const auto made = *MakeEvictionPolicy(policy);
  return Simulate(compact, *made, capacity, {}).blocks_hit;
}

// What goes, in order, from a store of `capacity` blocks that is asked as a node
// is: a lookup of the whole prompt, then maybe reads of what it found, in two
// parts, then what is missing comes in.
std::vector<BlockRef> VictimsOf(const std::vector<TraceRequest>& trace,
                                size_t capacity, bool has_reads) {
  const auto policy = *MakeEvictionPolicy("hazard");
  std::set<BlockRef> stored;
  std::vector<BlockRef> victims;
  for (const TraceRequest& request : trace) {
    const std::vector<BlockRef> prompt(request.blocks.begin(),
                                       request.blocks.end());
    const auto blocks = static_cast<uint32_t>(prompt.size());
    const absl::Duration now = absl::Milliseconds(request.timestamp_ms);
    const auto end = std::ranges::find_if(
        prompt, [&](BlockRef block) { return !stored.contains(block); });
    const auto found = static_cast<uint32_t>(end - prompt.begin());
    const auto run = absl::MakeConstSpan(prompt).first(found);
    policy->Touch(run, {.now = now, .prompt_blocks = blocks});
    for (uint32_t at = 0; has_reads && at < found; at += (found + 1) / 2) {
      const auto part = run.subspan(at, (found + 1) / 2);
      policy->Touch(part,
                    {.now = now,
                     .first_block = at,
                     .prompt_blocks = at + static_cast<uint32_t>(part.size())});
    }
    const auto fresh = absl::MakeConstSpan(prompt).subspan(found);
    if (fresh.empty()) continue;
    while (stored.size() + fresh.size() > capacity) {
      victims.push_back(*policy->TakeVictim());
      stored.erase(victims.back());
    }
    std::vector<BlockId> ids;
    for (const BlockRef block : fresh) ids.push_back({.low = block, .high = 1});
    stored.insert(fresh.begin(), fresh.end());
    policy->Insert({.blocks = fresh,
                    .ids = ids,
                    .parent = found > 0 ? prompt[found - 1] : kNoBlock},
                   {.now = now + absl::Milliseconds(9),
                    .first_block = found,
                    .prompt_blocks = blocks});
  }
  return victims;
}

TEST(HazardPolicyTest, ReadingWhatALookupFoundIsNoOtherRequest) {
  const std::vector<TraceRequest> trace = TalksAndOneOffs(2);
  const std::vector<BlockRef> victims = VictimsOf(trace, 500, true);
  EXPECT_GT(victims.size(), 10000u);
  EXPECT_EQ(victims, VictimsOf(trace, 500, false));
}

TEST(HazardPolicyTest, KeepsWhatComesBack) {
  // LRU would need 60 s of everything: 1900 blocks. The talks alone need 400.
  const std::vector<TraceRequest> trace = TalksAndOneOffs(1);
  const uint64_t possible = ctl::BeladyHits(trace, 500);
  EXPECT_LT(HitsOf(trace, "lru", 500), possible / 10);
  EXPECT_GT(HitsOf(trace, "hazard", 500), possible * 8 / 10);
}

TEST(HazardPolicyTest, IsLruWhereNothingCanBeLearned) {
  // All prompts are alike, and which one comes again is chance by age alone.
  std::mt19937_64 rng(4);
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 8000; ++i) {
    uint64_t talk = i;
    if (i > 0 && rng() % 2 == 0) {
      const double back = std::exp(static_cast<double>(rng() % 1000) / 140);
      talk = i - std::min<uint64_t>(i, 1 + static_cast<uint64_t>(back));
      talk = trace[talk].blocks[0] / 10;
    }
    std::vector<uint64_t> prompt;
    for (uint64_t b = 0; b < 4; ++b) prompt.push_back(talk * 10 + b);
    trace.push_back({.timestamp_ms = i * 1000, .blocks = prompt});
  }
  for (const uint64_t capacity : {200, 1000}) {
    const auto lru = static_cast<double>(HitsOf(trace, "lru", capacity));
    const auto own = static_cast<double>(HitsOf(trace, "hazard", capacity));
    EXPECT_GT((own - lru) / (4.0 * 8000), -0.01) << capacity;
  }
}

TEST(HazardPolicyTest, TrueEndingsHelp) {
  // Talks end at random after each turn, and nothing tells which.
  std::mt19937_64 rng(9);
  std::vector<TraceRequest> trace;
  uint64_t next = 1;
  std::vector<std::vector<uint64_t>> talks(60);
  for (uint64_t i = 0; i < 6000; ++i) {
    std::vector<uint64_t>& talk = talks[i % talks.size()];
    if (talk.empty() || rng() % 2 == 0) talk.clear();
    for (int b = 0; b < 5; ++b) talk.push_back(next++);
    trace.push_back({.timestamp_ms = i * 1000, .blocks = talk});
  }
  const uint64_t without = HitsOf(trace, "hazard", 250);
  EXPECT_GT(HitsOf(trace, "hazard", 250, {.told = 1}), without * 12 / 10);
  // All of them wrong: it hurts at first, then they are found to be worthless.
  EXPECT_GT(HitsOf(trace, "hazard", 250, {.untrue = 1}), without * 7 / 10);
}

TEST(HazardPolicyTest, TheLengthOfAnAnswerTellsWhoComesBack) {
  // Short answers are asked on from after a minute, long ones never.
  std::vector<TraceRequest> trace;
  uint64_t next = 1;
  std::vector<std::vector<uint64_t>> due(60);
  for (uint64_t second = 0; second < 6000; ++second) {
    std::vector<uint64_t>& again = due[second % due.size()];
    std::vector<uint64_t> prompt = std::exchange(again, {});
    const bool is_short = prompt.empty() && second % 4 == 0;
    if (prompt.empty()) {
      for (int b = 0; b < 10; ++b) prompt.push_back(next++);
    }
    if (is_short) again = prompt;
    trace.push_back({.timestamp_ms = second * 1000,
                     .output_tokens = is_short ? 10u : 300u,
                     .blocks = prompt});
  }
  const uint64_t told = HitsOf(trace, "hazard", 200, {.token_ms = 10});
  const uint64_t untold = HitsOf(trace, "hazard", 200, {.token_ms = 0});
  EXPECT_GT(told, untold * 13 / 10);
  EXPECT_GT(told, ctl::BeladyHits(trace, 200) / 2);
}

TEST(HazardPolicyTest, AskedWordForWordOnceMeansAskedAgainThoughItWasGone) {
  // Of each document another question is asked after a minute. Where that was the
  // same one, four more follow. Nothing is in memory for as long as that, unless
  // it is known to come back.
  constexpr size_t kDueSeconds = 60;
  struct Document {
    std::vector<uint64_t> prompt;
    int asked = 0;
    bool is_repeated = false;
  };
  std::vector<TraceRequest> trace;
  uint64_t next = 1;
  std::mt19937_64 rng(5);
  std::vector<Document> due(kDueSeconds);
  for (uint64_t second = 0; second < 12000; ++second) {
    Document& document = due[second % kDueSeconds];
    const bool is_over = document.asked == (document.is_repeated ? 6 : 2) ||
                         second < kDueSeconds;
    if (is_over) {
      document = {.is_repeated = rng() % 4 == 0};
      for (int b = 0; b < 10; ++b) document.prompt.push_back(next++);
    } else if (document.asked != 1 || !document.is_repeated) {
      document.prompt.back() = next++;
    }
    ++document.asked;
    trace.push_back({.timestamp_ms = second * 1000, .blocks = document.prompt});
  }
  EXPECT_GT(HitsOf(trace, "hazard", 150), ctl::BeladyHits(trace, 150) * 9 / 10);
}

class HazardPolicyCallsTest : public ::testing::Test {
 protected:
  void Insert(const std::vector<BlockRef>& run, BlockRef parent,
              const RequestFacts& facts) {
    std::vector<BlockId> ids;
    for (const BlockRef block : run) ids.push_back({.low = 1000 + block});
    policy_.Insert({.blocks = run, .ids = ids, .parent = parent}, facts);
  }

  HazardPolicy policy_;
};

TEST_F(HazardPolicyCallsTest, WhatIsToldToEndGoesFirst) {
  Insert({0, 1, 2}, kNoBlock, {.now = absl::Seconds(1), .prompt_blocks = 3});
  Insert({3, 4, 5}, kNoBlock, {.now = absl::Seconds(2), .prompt_blocks = 3});
  policy_.Hint({3, 4, 5},
               {.now = absl::Seconds(3), .hint = {.reuse = Reuse::kEnded}});
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{5});
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{4});
}

TEST_F(HazardPolicyCallsTest, TheNextLookupEndsAHint) {
  Insert({0, 1, 2}, kNoBlock, {.now = absl::Seconds(1), .prompt_blocks = 3});
  Insert({3, 4, 5}, kNoBlock, {.now = absl::Seconds(2), .prompt_blocks = 3});
  policy_.Hint({3, 4, 5},
               {.now = absl::Seconds(3), .hint = {.reuse = Reuse::kEnded}});
  policy_.Touch({3, 4, 5}, {.now = absl::Seconds(40), .prompt_blocks = 3});
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{2});
}

TEST_F(HazardPolicyCallsTest, WhatIsExpectedStaysUntilItIsLate) {
  Insert({0}, kNoBlock, {.now = absl::Seconds(1), .prompt_blocks = 1});
  Insert({1}, kNoBlock, {.now = absl::Seconds(1), .prompt_blocks = 1});
  policy_.Hint(
      {0}, {.now = absl::Seconds(2),
            .hint = {.reuse = Reuse::kExpected, .within = absl::Seconds(20)}});
  policy_.Touch({}, {.now = absl::Seconds(10)});
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{1});
  Insert({1}, kNoBlock, {.now = absl::Seconds(500), .prompt_blocks = 1});
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{0});
}

TEST_F(HazardPolicyCallsTest, WhatIsPastItsTimeGoesAsSoonAsItIs) {
  // Blocks come back five times, after 60 s each, and then never again.
  constexpr BlockRef kBlocks = 300;
  constexpr int kReturns = 5;
  const auto at = [](double second) {
    return RequestFacts{.now = absl::Seconds(second), .prompt_blocks = 1};
  };
  for (BlockRef step = 0; step < kBlocks + 6 * kReturns; ++step) {
    const double second = 10.0 * step;
    for (int n = kReturns; n > 0; --n) {
      const BlockRef block = step - 6 * static_cast<BlockRef>(n);
      if (block < kBlocks) policy_.Touch({block}, at(second));
    }
    if (step < kBlocks) Insert({step}, kNoBlock, at(second));
  }
  for (BlockRef block = 0; block < kBlocks; ++block) policy_.Remove(block);

  const double start = 10.0 * (kBlocks + 6 * kReturns);
  Insert({500}, kNoBlock, at(start));
  Insert({501}, kNoBlock, at(start));
  policy_.Touch({}, at(start + 50));
  Insert({502}, kNoBlock, at(start + 58));
  EXPECT_EQ(policy_.TakeVictim(), BlockRef{502}) << "the others are about due";
  // A return at 60 s lies in the bin that ends at 64 s.
  policy_.Touch({}, at(start + 63));
  Insert({503}, kNoBlock, at(start + 64.3));
  EXPECT_NE(policy_.TakeVictim(), BlockRef{503}) << "the others are overdue";
  EXPECT_NE(policy_.TakeVictim(), BlockRef{503});
}

TEST_F(HazardPolicyCallsTest, OneOwnersWrongHintsAreHisOwnLoss) {
  // Owner 1 says of everything that it ended, and all of it comes back.
  BlockRef next = 0;
  double second = 0;
  for (int round = 0; round < 300; ++round) {
    const std::vector<BlockRef> run = {next, next + 1};
    second += 1;
    Insert(run, kNoBlock,
           {.now = absl::Seconds(second), .prompt_blocks = 2, .owner = 1});
    policy_.Hint(run, {.now = absl::Seconds(second),
                       .owner = 1,
                       .hint = {.reuse = Reuse::kEnded}});
    second += 5;
    policy_.Touch(run, {.now = absl::Seconds(second), .prompt_blocks = 2});
    policy_.Remove(next + 1);
    policy_.Remove(next);
    next += 2;
  }
  // Of two blocks of the same age the one of the owner who is believed goes.
  const RequestFacts facts = {.now = absl::Seconds(second), .prompt_blocks = 1};
  Insert({next}, kNoBlock, facts);
  Insert({next + 1}, kNoBlock, facts);
  RequestFacts hint = facts;
  hint.hint.reuse = Reuse::kEnded;
  hint.owner = 1;
  policy_.Hint({next}, hint);
  hint.owner = 2;
  policy_.Hint({next + 1}, hint);
  EXPECT_EQ(policy_.TakeVictim(), next + 1);
}

TEST_F(HazardPolicyCallsTest, RefusesWhatIsWorthLessThanAllThatIsThere) {
  // Single blocks that come back every 2 s beside ones that never do.
  double second = 0;
  for (int round = 0; round < 400; ++round) {
    second += 1;
    const BlockRef regular = round % 2;
    const RequestFacts facts = {.now = absl::Seconds(second),
                                .prompt_blocks = 1};
    policy_.Touch({regular}, facts);
    if (round < 2) Insert({regular}, kNoBlock, facts);
    const BlockRef once = 10 + static_cast<BlockRef>(round);
    RequestFacts long_facts = facts;
    long_facts.prompt_blocks = 40;
    long_facts.first_block = 0;
    Insert({once}, kNoBlock, long_facts);
    policy_.Hint({once}, {.now = facts.now, .hint = {.reuse = Reuse::kEnded}});
    if (round > 20) policy_.Remove(once - 15);
  }
  while (policy_.size() > 2) ASSERT_GT(*policy_.TakeVictim(), 1u);

  const std::vector<BlockId> ids = {{.low = 77777}};
  RequestFacts facts = {.now = absl::Seconds(second), .prompt_blocks = 40};
  // At once nothing is known to be worse; later the two have aged.
  EXPECT_EQ(policy_.TakeVictimFor({.ids = ids}, facts), std::nullopt);
  EXPECT_EQ(policy_.size(), 2u);
  EXPECT_TRUE(policy_.TakeVictim().has_value()) << "asked for without choice";
}

TEST_F(HazardPolicyCallsTest, LookingUpTwiceIsOneRequest) {
  HazardPolicy other;
  const std::vector<BlockRef> run = {0, 1, 2};
  const std::vector<BlockId> ids(3, BlockId{5});
  for (HazardPolicy* policy : {&policy_, &other}) {
    for (BlockRef base : {0, 10}) {
      const std::vector<BlockRef> blocks = {base, base + 1, base + 2};
      policy->Insert({.blocks = blocks, .ids = ids},
                     {.now = absl::Seconds(1), .prompt_blocks = 3});
    }
    policy->Touch(run, {.now = absl::Seconds(9), .prompt_blocks = 3});
  }
  for (int i = 1; i < 9; ++i) {
    policy_.Touch(run, {.now = absl::Seconds(9) + i * absl::Milliseconds(100),
                        .prompt_blocks = 3});
  }
  std::vector<std::optional<BlockRef>> victims;
  for (HazardPolicy* policy : {&policy_, &other}) {
    policy->Touch({}, {.now = absl::Seconds(60)});
    for (int i = 0; i < 6; ++i) victims.push_back(policy->TakeVictim());
  }
  EXPECT_TRUE(
      std::equal(victims.begin(), victims.begin() + 6, victims.begin() + 6));
}

}  // namespace
}  // namespace banyan::tiers
