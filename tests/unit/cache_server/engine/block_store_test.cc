// The BlockStore by example: what a writer and a reader of the contract in
// proto/banyan/v1/cache.proto may rely on, and each error with its message.
//
// Method: one store on 4 MiB of host memory, a fake clock, payloads that say
// whose they are.
#include "cache_server/engine/block_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "tests/testing/store_driver.h"

namespace banyan::engine {
namespace {

using testing::ChainKeys;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::StoreDriver;

constexpr uint64_t kBytes = 16 * kKiB;
constexpr uint64_t kPiece = 5000;  // The last piece is shorter.

class BlockStoreTest : public ::testing::Test {
 protected:
  static StoreDriver::Options SmallOptions() {
    StoreDriver::Options options;
    options.store.keys_max = 1000;
    options.store.index = {.shards = 4, .group_blocks = 4};
    options.store.leases.leases_max = 100;
    return options;
  }

  BlockStore& store() { return driver_.store(); }

  // Writes the blocks; all get WRITE.
  void Put(const Target& target) {
    const auto verdicts = driver_.Put(session_, target, kBytes, kPiece);
    ASSERT_TRUE(verdicts.ok()) << verdicts.status();
    ASSERT_THAT(*verdicts, Each(WriteVerdict::kWrite));
  }

  BlockStore::Granted Acquire(const Target& target, AcquireMode mode) {
    return *store().Acquire(session_, 0, target, mode, absl::Seconds(10));
  }

  std::vector<uint32_t> Ordinals(const lease::PinSet& pins) {
    std::vector<uint32_t> ordinals;
    for (const auto& block : *pins) ordinals.push_back(block.ordinal);
    return ordinals;
  }

  static void ExpectError(const absl::Status& status, absl::StatusCode code,
                          absl::string_view reason, absl::string_view message) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(ErrorReason(status), reason);
    EXPECT_EQ(status.message(), message);
  }
  void ExpectInvalid(const absl::Status& status, absl::string_view reason,
                     absl::string_view message) {
    ExpectError(status, absl::StatusCode::kInvalidArgument, reason, message);
    driver_.ExpectQuiet();
  }

  absl::Status ReserveStatus(const Target& target,
                             std::vector<uint64_t> sizes = {kBytes},
                             uint64_t piece_bytes = kPiece) {
    return store().Reserve(session_, 0, target, sizes, piece_bytes).status();
  }

  StoreDriver driver_{SmallOptions()};
  std::string session_ = driver_.OpenSession("client");
  const std::string keys_ = ChainKeys(1, 1, 10);
};

// --- Put and get.

TEST_F(BlockStoreTest, WhatWasPutIsRead) {
  const Target target = driver_.On(keys_);
  Put(target);
  EXPECT_EQ(store().Match(target).value(), 10u);
  const lease::PinSet pins =
      store().Read(target, AcquireMode::kLongestPrefix).value();
  EXPECT_EQ(pins->size(), 10u);
  EXPECT_TRUE(StoreDriver::CheckPins(*pins, target).ok());
  EXPECT_EQ(driver_.host().usage().blocks, 10u);
}

TEST_F(BlockStoreTest, RunsInsideTheChainAreRead) {
  Put(driver_.On(keys_));
  for (uint32_t begin = 1; begin < 10; ++begin) {
    const Target target = driver_.On(keys_, begin, 10);
    const auto pins = store().Read(target, AcquireMode::kAllOrNone).value();
    EXPECT_EQ(pins->size(), 10 - begin);
    EXPECT_TRUE(StoreDriver::CheckPins(*pins, target).ok());
  }
}

TEST_F(BlockStoreTest, ChainPutInPartsIsOneChain) {
  Put(driver_.On(keys_, 0, 3));
  Put(driver_.On(keys_, 3, 6));
  Put(driver_.On(keys_, 6, 10));
  EXPECT_EQ(store().Match(driver_.On(keys_)).value(), 10u);
}

TEST_F(BlockStoreTest, SaltAndNamespaceSeparateEqualKeys) {
  Put(driver_.On(keys_, 0, 2));
  const Target salted = driver_.On(keys_, 0, 2, "user-a");
  EXPECT_EQ(store().Match(salted).value(), 0u);
  Put(salted);
  EXPECT_TRUE(StoreDriver::CheckPins(
                  *store().Read(salted, AcquireMode::kEach).value(), salted)
                  .ok());
  const NamespacePtr second = driver_.OpenNamespace("second");
  Target other = driver_.On(keys_, 0, 2);
  other.namespace_id = second->id;
  EXPECT_EQ(store().Match(other).value(), 0u);
  EXPECT_EQ(store().BlocksOf(driver_.ns()), 4u);
  EXPECT_EQ(store().BlocksOf(*second), 0u);
}

TEST_F(BlockStoreTest, ModesGrantPrefixAllOrEach) {
  Put(driver_.On(keys_, 0, 2));
  Put(driver_.On(keys_, 3, 5));
  const Target target = driver_.On(keys_, 0, 6);
  EXPECT_THAT(Ordinals(Acquire(target, AcquireMode::kLongestPrefix).pins),
              ElementsAre(0, 1));
  EXPECT_THAT(Ordinals(Acquire(target, AcquireMode::kEach).pins),
              ElementsAre(0, 1, 3, 4));
  const auto none = Acquire(target, AcquireMode::kAllOrNone);
  EXPECT_TRUE(none.lease_id.empty());
  EXPECT_TRUE(none.pins->empty());
  EXPECT_THAT(store().Exists(target).value(),
              ElementsAre(true, true, false, true, true, false));
}

// --- Writing.

TEST_F(BlockStoreTest, NothingIsVisibleBeforeCommit) {
  const Target target = driver_.On(keys_, 0, 3);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, kPiece).value();
  const auto claims =
      driver_.Send(session_, reserved, target, kBytes, kPiece).value();
  EXPECT_EQ(store().Match(target).value(), 0u);
  EXPECT_TRUE(store().Read(target, AcquireMode::kEach).value()->empty());
  EXPECT_GT(driver_.host().usage().staged_bytes, 0u);
  ASSERT_TRUE(store().Commit(session_, reserved.write_id, claims).ok());
  EXPECT_EQ(store().Match(target).value(), 3u);
  driver_.ExpectQuiet();
}

TEST_F(BlockStoreTest, SecondPutGetsExists) {
  Put(driver_.On(keys_, 0, 3));
  const auto again =
      store().Reserve(session_, 0, driver_.On(keys_, 0, 4), {kBytes}, 0);
  EXPECT_THAT(again->verdicts,
              ElementsAre(WriteVerdict::kExists, WriteVerdict::kExists,
                          WriteVerdict::kExists, WriteVerdict::kWrite));
  store().Abort(session_, again->write_id);
  const auto all =
      store().Reserve(session_, 0, driver_.On(keys_, 0, 3), {kBytes}, 0);
  EXPECT_TRUE(all->write_id.empty());
  driver_.ExpectQuiet();
}

TEST_F(BlockStoreTest, ConcurrentWriterGetsInProgressUntilAbort) {
  const Target target = driver_.On(keys_, 0, 2);
  const std::string other = driver_.OpenSession("other");
  const auto first = store().Reserve(session_, 0, target, {kBytes}, 0).value();
  const auto second = store().Reserve(other, 0, target, {kBytes}, 0).value();
  EXPECT_THAT(second.verdicts, Each(WriteVerdict::kInProgress));
  EXPECT_TRUE(second.write_id.empty());
  store().Abort(other, first.write_id);  // Not its own: does nothing.
  EXPECT_TRUE(store().FindWrite(session_, first.write_id).ok());
  store().Abort(session_, first.write_id);
  const auto third = store().Reserve(other, 0, target, {kBytes}, 0).value();
  EXPECT_THAT(third.verdicts, Each(WriteVerdict::kWrite));
  store().Abort(other, third.write_id);
  driver_.ExpectQuiet();
}

TEST_F(BlockStoreTest, RepeatedReserveGetsTheSameWrite) {
  const Target target = driver_.On(keys_, 0, 2);
  const auto first = store().Reserve(session_, 9, target, {kBytes}, 0).value();
  const auto again = store().Reserve(session_, 9, target, {kBytes}, 0).value();
  EXPECT_EQ(first.write_id, again.write_id);
  EXPECT_EQ(first.verdicts, again.verdicts);
}

TEST_F(BlockStoreTest, CommitTwiceIsARepeatOfTheSameContentOnly) {
  const Target target = driver_.On(keys_, 0, 2);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, kPiece).value();
  auto claims =
      driver_.Send(session_, reserved, target, kBytes, kPiece).value();
  const auto first = store().Commit(session_, reserved.write_id, claims);
  EXPECT_FALSE(first->is_repeat);
  EXPECT_THAT(first->outcomes, Each(WriteOutcome::kCommitted));
  const auto again = store().Commit(session_, reserved.write_id, claims);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->is_repeat);
  EXPECT_EQ(again->outcomes, first->outcomes);
  claims[1].checksums[0].low ^= 1;
  const absl::Status other =
      store().Commit(session_, reserved.write_id, claims).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ErrorReason(other), "CONTENT");
  EXPECT_THAT(std::string(other.message()),
              ::testing::MatchesRegex("write: committed with different "
                                      "content .checksum [0-9a-f]{8} vs "
                                      "[0-9a-f]{8}.\\."));
}

TEST_F(BlockStoreTest, ChecksumMismatchStoresNothing) {
  const Target target = driver_.On(keys_, 0, 3);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, kPiece).value();
  auto claims =
      driver_.Send(session_, reserved, target, kBytes, kPiece).value();
  claims[2].checksums[3].high ^= 1;
  ExpectError(store().Commit(session_, reserved.write_id, claims).status(),
              absl::StatusCode::kDataLoss, "CHECKSUM",
              "checksum mismatch on arrival; nothing stored. Send again; "
              "check the network path.");
  EXPECT_EQ(driver_.host().usage().used_bytes, 0u);
  driver_.ExpectQuiet();
  Put(target);  // And the ids are free again.
}

TEST_F(BlockStoreTest, IncompleteBlockStoresNothing) {
  const Target target = driver_.On(keys_, 0, 1);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, kBytes).value();
  const auto payload = StoreDriver::Payload(target, 0, kBytes);
  ASSERT_TRUE(store()
                  .FindWrite(session_, reserved.write_id)
                  .value()
                  ->Write(0, 0, absl::MakeConstSpan(payload).first(100))
                  .ok());
  ExpectInvalid(store()
                    .Commit(session_, reserved.write_id,
                            {StoreDriver::ClaimOf(target, 0, kBytes, kBytes)})
                    .status(),
                "SIZE", "size: said 16384, received 100. Publish dropped.");
  EXPECT_EQ(driver_.host().usage().used_bytes, 0u);
}

TEST_F(BlockStoreTest, UnclaimedBlocksAreDropped) {
  const Target target = driver_.On(keys_, 0, 4);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, kPiece).value();
  auto claims =
      driver_.Send(session_, reserved, target, kBytes, kPiece).value();
  claims.erase(claims.begin() + 1);
  ASSERT_TRUE(store().Commit(session_, reserved.write_id, claims).ok());
  EXPECT_THAT(store().Exists(target).value(),
              ElementsAre(true, false, true, true));
  driver_.ExpectQuiet();
  Put(driver_.On(keys_, 1, 2));
  EXPECT_EQ(store().Match(target).value(), 4u);
}

TEST_F(BlockStoreTest, IdleWriteEnds) {
  const Target target = driver_.On(keys_, 0, 2);
  const auto reserved =
      store().Reserve(session_, 0, target, {kBytes}, 0).value();
  driver_.clock().Advance(absl::Seconds(29));
  ASSERT_TRUE(store().TouchSession(session_).ok());
  store().Tick();
  EXPECT_TRUE(store().FindWrite(session_, reserved.write_id).ok());
  driver_.clock().Advance(absl::Seconds(29));
  ASSERT_TRUE(store().TouchSession(session_).ok());
  store().Tick();  // The look-up above counted as activity.
  EXPECT_TRUE(store().FindWrite(session_, reserved.write_id).ok());
  driver_.clock().Advance(absl::Seconds(31));
  ASSERT_TRUE(store().TouchSession(session_).ok());
  store().Tick();
  ExpectError(store().FindWrite(session_, reserved.write_id).status(),
              absl::StatusCode::kFailedPrecondition, "WRITE",
              "write: unknown or ended. Reserve again.");
  driver_.ExpectQuiet();
}

// --- Leases and sessions.

TEST_F(BlockStoreTest, LeasedBlockStaysReadableAfterDelete) {
  const Target target = driver_.On(keys_, 0, 3);
  Put(target);
  auto granted = Acquire(target, AcquireMode::kAllOrNone);
  EXPECT_EQ(store().DropNamespace("first").value(), 3u);
  EXPECT_TRUE(StoreDriver::CheckPins(*granted.pins, target).ok());
  EXPECT_GT(driver_.host().usage().pinned_bytes, 0u);
  granted.pins = nullptr;
  store().Release(session_, {granted.lease_id});
  driver_.ExpectQuiet();
  EXPECT_EQ(driver_.host().usage().used_bytes, 0u);
}

TEST_F(BlockStoreTest, LeaseEndsWithItsTime) {
  const Target target = driver_.On(keys_, 0, 3);
  Put(target);
  const std::string lease = Acquire(target, AcquireMode::kAllOrNone).lease_id;
  driver_.clock().Advance(absl::Seconds(9));
  absl::Duration ttl = absl::Seconds(10);
  EXPECT_TRUE(store().Renew(session_, {lease}, ttl).value().empty());
  driver_.clock().Advance(absl::Seconds(9));
  store().Tick();
  EXPECT_TRUE(store().ReadLease(session_, lease).ok());
  driver_.clock().Advance(absl::Seconds(2));
  ExpectError(store().ReadLease(session_, lease).status(),
              absl::StatusCode::kFailedPrecondition, "LEASE",
              "lease: unknown or ended. Look the keys up again.");
  store().Tick();
  driver_.ExpectQuiet();
  EXPECT_THAT(store().Renew(session_, {lease}, ttl).value(),
              ElementsAre(lease));
}

TEST_F(BlockStoreTest, LongLeaseIsCutToTheLimit) {
  Put(driver_.On(keys_));
  const auto granted =
      store().Acquire(session_, 0, driver_.On(keys_),
                      AcquireMode::kLongestPrefix, absl::Hours(1));
  EXPECT_EQ(granted->ttl, store().options().lease_ttl_max);
}

TEST_F(BlockStoreTest, RepeatedAcquireGetsTheSameLease) {
  const Target target = driver_.On(keys_, 0, 3);
  Put(target);
  const auto acquire = [&] {
    return store()
        .Acquire(session_, 5, target, AcquireMode::kEach, absl::Seconds(10))
        ->lease_id;
  };
  const std::string first = acquire();
  EXPECT_EQ(acquire(), first);
  EXPECT_EQ(driver_.Gauge("banyan_leases"), 1u);
}

TEST_F(BlockStoreTest, AcquireAfterTheEndGetsANewLease) {
  const Target target = driver_.On(keys_, 0, 3);
  Put(target);
  const auto acquire = [&] {
    return store()
        .Acquire(session_, 5, target, AcquireMode::kEach, absl::Seconds(10))
        ->lease_id;
  };
  const std::string first = acquire();
  driver_.clock().Advance(absl::Seconds(11));  // No Tick has come yet.
  EXPECT_NE(acquire(), first);
}

TEST_F(BlockStoreTest, EndOfSessionEndsLeasesAndWrites) {
  Put(driver_.On(keys_, 0, 3));
  Acquire(driver_.On(keys_, 0, 3), AcquireMode::kAllOrNone);
  ASSERT_TRUE(
      store().Reserve(session_, 0, driver_.On(keys_, 3, 6), {kBytes}, 0).ok());
  EXPECT_GT(driver_.host().usage().pinned_bytes, 0u);
  EXPECT_GT(driver_.host().usage().staged_bytes, 0u);
  store().EndSession(session_);
  driver_.ExpectQuiet();
  ExpectError(store().TouchSession(session_),
              absl::StatusCode::kFailedPrecondition, "SESSION",
              "session: unknown or ended. Open a new one.");
}

TEST_F(BlockStoreTest, NewSessionOfAClientEndsTheOlder) {
  Put(driver_.On(keys_, 0, 3));
  Acquire(driver_.On(keys_, 0, 3), AcquireMode::kAllOrNone);
  const std::string newer = driver_.OpenSession("client");
  driver_.ExpectQuiet();
  EXPECT_FALSE(store().TouchSession(session_).ok());
  EXPECT_TRUE(store().TouchSession(newer).ok());
}

TEST_F(BlockStoreTest, SilentSessionEnds) {
  Put(driver_.On(keys_, 0, 3));
  ASSERT_FALSE(store()
                   .Acquire(session_, 0, driver_.On(keys_, 0, 3),
                            AcquireMode::kEach, absl::Minutes(5))
                   ->lease_id.empty());
  driver_.clock().Advance(absl::Seconds(31));
  store().Tick();
  driver_.ExpectQuiet();
  EXPECT_FALSE(store().TouchSession(session_).ok());
}

TEST_F(BlockStoreTest, AnotherSessionHasNoPartInALease) {
  Put(driver_.On(keys_, 0, 3));
  const std::string lease =
      Acquire(driver_.On(keys_, 0, 3), AcquireMode::kEach).lease_id;
  const std::string other = driver_.OpenSession("other");
  absl::Duration ttl = absl::Seconds(10);
  EXPECT_FALSE(store().ReadLease(other, lease).ok());
  EXPECT_THAT(store().Renew(other, {lease}, ttl).value(), ElementsAre(lease));
  store().Release(other, {lease});
  EXPECT_TRUE(store().ReadLease(session_, lease).ok());
}

// --- Eviction.

TEST_F(BlockStoreTest, PressureEvictsTheOldestChainFromItsEnd) {
  const std::string old_keys = ChainKeys(1, 1, 8);
  Put(driver_.On(old_keys));
  bool has_shrunk = false;
  for (uint32_t i = 0; i < 400 && !has_shrunk; ++i) {
    Put(driver_.On(ChainKeys(2, i, 1)));
    const auto exists = store().Exists(driver_.On(old_keys)).value();
    EXPECT_TRUE(std::is_sorted(exists.rbegin(), exists.rend()))
        << "a block goes after all behind it";
    has_shrunk = !exists[0];
  }
  EXPECT_TRUE(has_shrunk);
  driver_.ExpectQuiet();
}

TEST_F(BlockStoreTest, PinnedBlocksAreNotEvicted) {
  const Target kept = driver_.On(keys_, 0, 8);
  Put(kept);
  const auto granted = Acquire(kept, AcquireMode::kAllOrNone);
  for (uint32_t i = 0; i < 400; ++i) Put(driver_.On(ChainKeys(2, i, 1)));
  EXPECT_GT(driver_.Gauge("banyan_evictions_total{tier=\"host\","
                          "reason=\"capacity\"}"),
            0u);
  EXPECT_EQ(store().Match(kept).value(), 8u);
  EXPECT_TRUE(StoreDriver::CheckPins(*granted.pins, kept).ok());
}

TEST_F(BlockStoreTest, NoCapacityWhenEverythingIsPinned) {
  const std::string many = ChainKeys(3, 1, 500);
  const auto verdicts =
      driver_.Put(session_, driver_.On(many), kBytes, kPiece).value();
  EXPECT_THAT(verdicts, Contains(WriteVerdict::kNoCapacity));
  auto granted = Acquire(driver_.On(many), AcquireMode::kEach);
  const uint64_t blocks = driver_.host().usage().blocks;
  const Target target = driver_.On(keys_, 0, 1);
  const auto full = store().Reserve(session_, 0, target, {kBytes}, 0).value();
  EXPECT_THAT(full.verdicts, ElementsAre(WriteVerdict::kNoCapacity));
  EXPECT_TRUE(full.write_id.empty());
  EXPECT_EQ(driver_.host().usage().blocks, blocks);
  store().Release(session_, {granted.lease_id});
  granted.pins = nullptr;
  Put(target);
}

TEST_F(BlockStoreTest, BlockLargerThanTheTierIsTooLarge) {
  const auto reserved =
      store().Reserve(session_, 0, driver_.On(keys_, 0, 1), {60 * kMiB}, 0);
  EXPECT_THAT(reserved->verdicts, ElementsAre(WriteVerdict::kTooLarge));
  driver_.ExpectQuiet();
}

// --- Administration.

TEST_F(BlockStoreTest, DeleteTakesTheBlockAndThoseBehindItInItsGroup) {
  Put(driver_.On(keys_, 0, 8));
  const BlockKey key = *BlockKey::FromBytes(driver_.On(keys_, 1, 2).run.key(0));
  EXPECT_EQ(store().Delete("first", "", {key}).value(), 3u);
  EXPECT_EQ(store().Match(driver_.On(keys_)).value(), 1u);
  EXPECT_EQ(store().Delete("first", "", {key}).value(), 0u);
  EXPECT_EQ(driver_.host().usage().blocks, 5u);
}

TEST_F(BlockStoreTest, StatTellsFacts) {
  Put(driver_.On(keys_, 0, 3));
  driver_.clock().Advance(absl::Seconds(2));
  const BlockKey key = *BlockKey::FromBytes(driver_.On(keys_).run.key(2));
  const BlockKey absent = *BlockKey::FromBytes(driver_.On(keys_).run.key(3));
  const auto facts = store().Stat("first", "", {key, absent}).value();
  EXPECT_TRUE(facts[0].is_stored);
  EXPECT_FALSE(facts[0].is_pinned);
  EXPECT_EQ(facts[0].heat.depth, 2u);
  EXPECT_EQ(facts[0].idle, absl::Seconds(2));
  EXPECT_EQ(facts[0].header.payload_bytes, kBytes);
  EXPECT_FALSE(facts[1].is_stored);
  driver_.ExpectQuiet();
}

TEST_F(BlockStoreTest, TrimToNothingRemovesAllThatIsNotPinned) {
  for (uint32_t i = 0; i < 10; ++i) {  // Later blocks are younger.
    Put(driver_.On(keys_, i, i + 1));
    driver_.clock().Advance(absl::Seconds(1));
  }
  EXPECT_EQ(store().Trim("", 0, absl::InfiniteDuration())->blocks, 10u);
  EXPECT_EQ(driver_.host().usage().used_bytes, 0u);
}

TEST_F(BlockStoreTest, TrimByAgeKeepsWhatWasUsedSince) {
  Put(driver_.On(keys_));
  const std::string young = ChainKeys(2, 1, 5);
  driver_.clock().Advance(absl::Seconds(20));
  Put(driver_.On(young));
  const auto trimmed =
      store().Trim("first", std::nullopt, absl::Seconds(10)).value();
  EXPECT_EQ(trimmed.blocks, 10u);
  EXPECT_EQ(trimmed.bytes, 10 * kBytes);
  EXPECT_EQ(store().Match(driver_.On(young)).value(), 5u);
}

// --- Errors.

TEST_F(BlockStoreTest, SaltIsValidated) {
  const std::string long_salt(257, 's');
  ExpectInvalid(store().Match(driver_.On(keys_, 0, 1, long_salt)).status(),
                "SALT", "cache_salt: 257 bytes, limit 256.");
  ExpectInvalid(store().Match(driver_.On(keys_, 0, 1, "a\nb")).status(), "SALT",
                "cache_salt: has a control byte. Use printable bytes.");
}

TEST_F(BlockStoreTest, KeysAreValidated) {
  Target target = driver_.On(keys_, 0, 2);
  target.run.keys = "";
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "keys: empty. Send 1 to 1000 keys.");
  target = driver_.On(keys_, 0, 2);
  target.run.key_bytes = 65;
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "key_bytes: 65, need 1 to 64.");
  target.run.key_bytes = 0;
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "key_bytes: 0, need 1 to 64.");
  target.run.key_bytes = 5;
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "keys: 32 bytes are no multiple of key_bytes 5.");
  const std::string many = ChainKeys(1, 1, 1001);
  ExpectInvalid(store().Match(driver_.On(many)).status(), "KEYS",
                "keys: 1001 given, limit 1000. Split the batch.");
}

TEST_F(BlockStoreTest, LeadIsValidated) {
  Target target = driver_.On(keys_, 6, 8);
  target.run.lead = "";
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "lead: 0 bytes, need 2 keys before block 6 (groups have 4 "
                "blocks).");
  target = driver_.On(keys_, 0, 2);
  target.run.lead = target.run.keys;
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "lead: 32 bytes, need 0 keys before block 0 (groups have 4 "
                "blocks).");
  target = driver_.On(keys_, 6, 8);
  target.run.first_block = UINT32_MAX - 1;
  ExpectInvalid(store().Match(target).status(), "KEYS",
                "first_block: first_block + keys overflows.");
}

TEST_F(BlockStoreTest, NamespaceMustExist) {
  Target target = driver_.On(keys_);
  target.namespace_id = "0123456789abcdef";
  const absl::Status status = store().Match(target).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(status), "NAMESPACE");
}

TEST_F(BlockStoreTest, TtlIsValidated) {
  ExpectInvalid(store()
                    .Acquire(session_, 0, driver_.On(keys_), AcquireMode::kEach,
                             absl::Milliseconds(99))
                    .status(),
                "TTL", "ttl: 99ms; allowed 100ms to 24h.");
  absl::Duration ttl = absl::Hours(25);
  ExpectInvalid(store().Renew(session_, {}, ttl).status(), "TTL",
                "ttl: 25h; allowed 100ms to 24h.");
}

TEST_F(BlockStoreTest, SizesAreValidated) {
  const Target three = driver_.On(keys_, 0, 3);
  ExpectInvalid(ReserveStatus(three, {1, 2}), "SIZE",
                "payload_bytes: 2 sizes for 3 keys. Send one, or one a key.");
  ExpectInvalid(ReserveStatus(three, {1, 0, 1}), "SIZE",
                "size: 0. Blocks hold at least 1 byte.");
  ExpectInvalid(ReserveStatus(three, {65 * kMiB}), "SIZE",
                "size: 65 MiB, limit 64 MiB (max-block-bytes).");
  ExpectInvalid(ReserveStatus(three, {5000}, 1), "PIECES",
                "piece_bytes: 1 makes over 4096 pieces. Use larger ones.");
  ExpectInvalid(ReserveStatus(driver_.On(ChainKeys(1, 1, 20)), {64 * kMiB}, 0),
                "SIZE",
                "payload_bytes: 1.2 GiB in one write, limit 1 GiB. Split the "
                "batch.");
}

TEST_F(BlockStoreTest, EqualKeysInOneWriteAreRefused) {
  std::string keys = ChainKeys(1, 1, 3);
  keys.replace(2 * testing::kTestKeyBytes, testing::kTestKeyBytes, keys, 0,
               testing::kTestKeyBytes);
  ExpectInvalid(ReserveStatus(driver_.On(keys)), "KEYS",
                "blocks[2]: same key as blocks[0].");
}

TEST_F(BlockStoreTest, SessionMustLive) {
  const absl::Status status =
      store().Reserve("no such", 0, driver_.On(keys_), {kBytes}, 0).status();
  ExpectError(status, absl::StatusCode::kFailedPrecondition, "SESSION",
              "session: unknown or ended. Open a new one.");
}

}  // namespace
}  // namespace banyan::engine
