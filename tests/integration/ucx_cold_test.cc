// Goal: reads of the SSD at the UCX door pin no more at a time than other reads, and
// are answered all the same.
// Method: a node with a disk in memory, whose blocks are on it only; a client by hand
// that asks for several chains at once, at a door that lets it pin little.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "cache_server/transfer/ucx.h"
#include "tests/integration/node.h"
#include "tests/testing/fault_node.h"
#include "tests/testing/ucx_raw.h"

namespace banyan {
namespace {

constexpr size_t kBlocks = 4;  // Of a chain.
constexpr uint64_t kBytes = kMiB;
constexpr uint64_t kChains = 5;
constexpr uint64_t kHostBytes = 32 * kMiB;

class UcxColdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (uint64_t i = 0; i < kChains; ++i) {
      Put(absl::StrCat("cold", i), Durability::kDurable);
    }
    // Pushes those out of memory.
    for (uint64_t i = 0; i < 2 * kHostBytes / kBytes / kBlocks; ++i) {
      Put(absl::StrCat("fill", i), Durability::kMemory);
    }
    auto door = transfer::OpenUcxDoor({.pinned_bytes_max = 1}, store(),
                                      executor_, tickets_, Clock::Monotonic());
    ASSERT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
  }

  void Put(const std::string& name, Durability durability) {
    const std::string keys = testing::ChainKeys(name, kBlocks);
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < kBlocks; ++i) {
      payloads.push_back(testing::PayloadOf("cold", keys, i, kBytes));
    }
    const Completion done = node_.client().Put(
        node_.namespace_id(), {.keys = keys}, 0,
        {payloads.begin(), payloads.end()}, {.durability = durability});
    ASSERT_TRUE(done.status.ok()) << done.status;
  }

  engine::BlockStore& store() { return node_.server().store(); }
  uint64_t pinned() { return store().HostUsage().pinned_bytes; }

  testing::FaultNode node_{testing::FaultNode::Options{
      .host_bytes = kHostBytes, .read_timeout = absl::Seconds(10)}};
  tiers::Executor executor_{tiers::Executor::Options()};
  transfer::DoorTickets tickets_{{}, Clock::Monotonic()};
  std::unique_ptr<transfer::Door> door_;
};

TEST_F(UcxColdTest, WhatTheDiskBringsWaitsItsTurn) {
  const std::string session = *store().OpenSession("client");
  const uint64_t cold_before = testing::Reading(
      node_.server(), "banyan_fetch_blocks_total{tier=\"ssd\"}");
  testing::RawUcx raw(door_->port());
  raw.SendHello(tickets_.Issue("ucx", session)->token);
  ASSERT_TRUE(raw.IsWelcome());
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < kChains; ++i) {
    keys.push_back(testing::ChainKeys(absl::StrCat("cold", i), kBlocks));
    const transport::UcxQuestion get{
        .kind = transport::UcxToNodeKind::kGet,
        .call_id = i + 1,
        .namespace_id = node_.namespace_id(),
        .run = {.keys = keys.back(), .key_bytes = 32},
        .timeout_ms = 20000};
    raw.Send(EncodeUcx(get), UcxBodyOf(get));
  }
  uint64_t pinned_max = 0;
  EXPECT_TRUE(testing::PollUntil([&] {
    pinned_max = std::max(pinned_max, pinned());
    return raw.answers().size() == kChains;
  }));

  for (const auto& answer : raw.answers()) {
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.blocks, kBlocks);
  }
  // One read, one that comes from the disk, and what UCX still holds.
  EXPECT_LE(pinned_max, 3 * kBlocks * kBytes);
  EXPECT_GT(testing::Reading(node_.server(),
                             "banyan_fetch_blocks_total{tier=\"ssd\"}"),
            cold_before);
  EXPECT_TRUE(testing::PollUntil([&] { return pinned() == 0; }));
}

}  // namespace
}  // namespace banyan
