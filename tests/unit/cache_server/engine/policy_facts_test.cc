// The engine tells its policy what it knows, in the documented order, and obeys
// it: facts, ids, hints by each of their ways, and what is not admitted.
//
// Method: a store whose policy writes each call down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

using testing::ChainKeys;
using ::testing::ElementsAre;
using testing::StoreDriver;
using tiers::BlockRef;
using tiers::RequestFacts;
using tiers::Reuse;

constexpr uint64_t kPayloadBytes = 64 * kKiB;

class RecordingPolicy final : public tiers::EvictionPolicy {
 public:
  absl::string_view name() const override { return "recording"; }
  void Insert(const tiers::NewRun& run, const RequestFacts& facts) override {
    EXPECT_EQ(run.blocks.size(), run.ids.size());
    Note("insert", run.blocks.size(), facts);
    has_parent = run.parent != tiers::kNoBlock;
    tracked_ += run.blocks.size();
  }
  void Touch(absl::Span<const BlockRef> run,
             const RequestFacts& facts) override {
    Note("touch", run.size(), facts);
  }
  void Hint(absl::Span<const BlockRef> run,
            const RequestFacts& facts) override {
    Note(absl::StrCat("hint ", static_cast<int>(facts.hint.reuse), " on"),
         run.size(), facts);
    within = facts.hint.within;
    generated_tokens = facts.hint.generated_tokens;
    owner = facts.owner;
  }
  void Remove(BlockRef) override {}
  std::optional<BlockRef> TakeVictim() override { return std::nullopt; }
  std::optional<BlockRef> TakeVictimFor(const tiers::IncomingRun& incoming,
                                        const RequestFacts& facts) override {
    EXPECT_LT(incoming.next, incoming.ids.size());
    Note(absl::StrCat("room for ", incoming.next, " of"), incoming.ids.size(),
         facts);
    return std::nullopt;
  }
  void Retain(BlockRef) override {}
  size_t size() const override { return tracked_; }
  size_t memory_bytes() const override { return 0; }

  std::vector<std::string> calls;
  absl::Duration within;
  uint32_t generated_tokens = 0;
  uint32_t owner = 0;
  bool has_parent = false;

 private:
  void Note(const std::string& what, size_t blocks, const RequestFacts& facts) {
    calls.push_back(absl::StrCat(what, " ", blocks, " from ", facts.first_block,
                                 " of ", facts.prompt_blocks));
  }
  size_t tracked_ = 0;
};

class PolicyFactsTest : public ::testing::Test {
 protected:
  PolicyFactsTest()
      : driver_({.capacity_bytes = 10 * kPayloadBytes, .make_policy = [this] {
                   auto policy = std::make_unique<RecordingPolicy>();
                   policy_ = policy.get();
                   return policy;
                 }}) {
    session_ = driver_.OpenSession("client");
  }

  // The calls since the last time.
  std::vector<std::string> Calls() { return std::exchange(policy_->calls, {}); }

  void Put(const std::string& keys, uint32_t begin, uint32_t end) {
    ASSERT_TRUE(driver_
                    .Put(session_, driver_.On(keys, begin, end), kPayloadBytes,
                         kPayloadBytes)
                    .ok());
  }

  RecordingPolicy* policy_ = nullptr;
  StoreDriver driver_;
  std::string session_;
};

TEST_F(PolicyFactsTest, AReadAndAWriteTellTheirFacts) {
  const std::string keys = ChainKeys(1, 0, 5);
  ASSERT_EQ(*driver_.store().Match(driver_.On(keys)), 0u);
  EXPECT_THAT(Calls(), ElementsAre("touch 0 from 0 of 5"));

  Put(keys, 0, 3);
  EXPECT_THAT(Calls(),
              ElementsAre("touch 0 from 0 of 3", "insert 3 from 0 of 3"));
  EXPECT_FALSE(policy_->has_parent);

  ASSERT_EQ(*driver_.store().Match(driver_.On(keys)), 3u);
  EXPECT_THAT(Calls(), ElementsAre("touch 3 from 0 of 5"));
  Put(keys, 3, 5);
  EXPECT_THAT(Calls(),
              ElementsAre("touch 0 from 3 of 5", "insert 2 from 3 of 5"));
  EXPECT_TRUE(policy_->has_parent);
}

TEST_F(PolicyFactsTest, WhatThePolicyDoesNotAdmitIsNotStored) {
  Put(ChainKeys(1, 0, 8), 0, 8);
  Calls();
  const std::string keys = ChainKeys(2, 0, 4);
  const auto verdicts =
      driver_.Put(session_, driver_.On(keys), kPayloadBytes, kPayloadBytes);
  ASSERT_TRUE(verdicts.ok()) << verdicts.status();
  EXPECT_THAT(*verdicts, ElementsAre(WriteVerdict::kWrite, WriteVerdict::kWrite,
                                     WriteVerdict::kNoCapacity,
                                     WriteVerdict::kNoCapacity));
  EXPECT_THAT(Calls(),
              ElementsAre("touch 0 from 0 of 4", "room for 2 of 4 from 0 of 4",
                          "insert 2 from 0 of 4"));
  EXPECT_EQ(*driver_.store().Match(driver_.On(keys)), 2u);
}

TEST_F(PolicyFactsTest, ACallsHintReachesThePolicy) {
  const std::string keys = ChainKeys(1, 0, 5);
  Put(keys, 0, 3);
  Calls();
  const auto hinted = driver_.store().Hint(
      driver_.On(keys),
      {.reuse = Reuse::kExpected, .within = absl::Seconds(2)});
  ASSERT_TRUE(hinted.ok()) << hinted.status();
  EXPECT_EQ(*hinted, 3u);
  EXPECT_THAT(Calls(), ElementsAre("hint 2 on 3 from 0 of 5"));
  EXPECT_EQ(policy_->within, absl::Seconds(2));
  EXPECT_EQ(policy_->owner, driver_.ns().number);

  EXPECT_EQ(*driver_.store().Hint(driver_.On(keys), {}), 3u);
  EXPECT_THAT(Calls(), ElementsAre()) << "nothing was told";

  EXPECT_EQ(*driver_.store().Hint(driver_.On(keys), {.generated_tokens = 7}),
            3u);
  EXPECT_THAT(Calls(), ElementsAre("hint 0 on 3 from 0 of 5"));
  EXPECT_EQ(policy_->generated_tokens, 7u);
}

TEST_F(PolicyFactsTest, AWritesHintCountsOnceItIsCommitted) {
  for (const bool at_commit : {false, true}) {
    const std::string keys = ChainKeys(at_commit ? 1 : 2, 0, 2);
    const auto target = driver_.On(keys);
    const auto reserved = driver_.store().Reserve(
        session_, 0, target, {kPayloadBytes}, kPayloadBytes,
        Durability::kMemory, {.reuse = Reuse::kKeep});
    ASSERT_TRUE(reserved.ok());
    const auto claims =
        driver_.Send(session_, *reserved, target, kPayloadBytes, kPayloadBytes);
    ASSERT_TRUE(claims.ok());
    Calls();
    ASSERT_TRUE(
        driver_.store()
            .Commit(session_, reserved->write_id, *claims,
                    {.reuse = at_commit ? Reuse::kEnded : Reuse::kUnknown})
            .ok());
    EXPECT_THAT(Calls(), ElementsAre("insert 2 from 0 of 2",
                                     at_commit ? "hint 1 on 2 from 0 of 0"
                                               : "hint 3 on 2 from 0 of 0"));
  }
}

TEST_F(PolicyFactsTest, AReleasesHintIsOnTheBlocksOfTheLease) {
  const std::string keys = ChainKeys(1, 0, 4);
  Put(keys, 0, 4);
  const auto granted =
      driver_.store().Acquire(session_, 0, driver_.On(keys, 0, 3),
                              AcquireMode::kLongestPrefix, absl::Seconds(5));
  ASSERT_TRUE(granted.ok());
  Calls();
  driver_.store().Release(session_, {granted->lease_id, "unknown"},
                          {.reuse = Reuse::kEnded, .generated_tokens = 5});
  EXPECT_THAT(Calls(), ElementsAre("hint 1 on 3 from 0 of 0"));
  EXPECT_EQ(policy_->generated_tokens, 5u);
  EXPECT_EQ(policy_->owner, driver_.ns().number);
  EXPECT_EQ(driver_.Gauge("banyan_leases"), 0u);
}

}  // namespace
}  // namespace banyan::engine
