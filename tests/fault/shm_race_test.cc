// Goal: a reader in shared memory never accepts a byte that is not the block's,
// whatever happens to the memory meanwhile: eviction, other blocks in the same
// slots, the same block written anew, deletion, pins that end under its copy, a
// session that ends under its view.
// Method: readers get blocks from a node whose memory holds a fraction of what is
// written to it all the time; payloads name their block, and each hit is checked
// against that. Some readers look in place. BANYAN_RACE_READS sets how many
// blocks are to be accepted; the acceptance run is 10000000. Two more doors make
// the rare cases common: one whose pins last 1 ms, and one whose sessions end
// while their views are read.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "base/block_header.h"
#include "base/error.h"
#include "client/transport/shm_transport.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/repetitions.h"

namespace banyan {
namespace {

constexpr char kSpace[] = "race";
constexpr uint64_t kBytes = 16 * kKiB;
constexpr size_t kChains = 64;
constexpr size_t kBlocks = 8;

uint64_t ReadsWanted() {
  const char* const text = std::getenv("BANYAN_RACE_READS");
  uint64_t reads = 0;
  return text != nullptr && absl::SimpleAtoi(text, &reads)
             ? reads
             : testing::Repetitions(uint64_t{20000});
}

class ShmRaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Room for a quarter of the chains.
    server::Config config =
        testing::SmallConfig(kChains * kBlocks * kBytes / 4);
    config.eviction = "lru";
    server_ = *server::Server::Start(config);
    for (size_t i = 0; i < kChains; ++i) {
      chains_.push_back(testing::ChainKeys(absl::StrCat("race", i), kBlocks));
    }
  }

  std::unique_ptr<Client> Connect() {
    auto client = *Client::Connect({.endpoint = testing::EndpointOf(*server_),
                                    .lookup_timeout_ms = 10000,
                                    .transport = TransportKind::kShm});
    EXPECT_TRUE(client->WaitReady(10000).ok());
    return client;
  }

  // Writes chains until the end, sizes changing, so that slots change hands.
  void Write(uint64_t seed) {
    const auto client = Connect();
    const std::string ns =
        client->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
    std::mt19937_64 random(seed);
    while (!is_over_) {
      const std::string& keys = chains_[random() % kChains];
      const uint64_t bytes = kBytes - random() % 3 * 5000;
      std::vector<std::vector<std::byte>> payloads;
      for (size_t i = 0; i < kBlocks; ++i) {
        payloads.push_back(testing::PayloadOf(kSpace, keys, i, bytes));
      }
      client->Put(ns, {.keys = keys}, 0, {payloads.begin(), payloads.end()},
                  {.piece_bytes = 4096});
      if (random() % 16 == 0) {
        server_->store()
            .Delete(
                kSpace, "",
                {*BlockKey::FromBytes(absl::string_view(keys).substr(0, 32))})
            .IgnoreError();
      }
    }
  }

  // Until all readers together have accepted so many blocks.
  void Read(uint64_t seed, uint64_t wanted,
            std::chrono::steady_clock::time_point end) {
    const auto client = Connect();
    const std::string ns =
        client->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
    std::mt19937_64 random(seed);
    std::vector<std::vector<std::byte>> buffers(kBlocks,
                                                std::vector<std::byte>(kBytes));
    while (hits_ < wanted && std::chrono::steady_clock::now() < end) {
      const std::string& keys = chains_[random() % kChains];
      if (random() % 4 == 0) {
        View(*client, ns, keys);
        continue;
      }
      const Completion done =
          client->Get(ns, {.keys = keys}, 0, {buffers.begin(), buffers.end()});
      for (uint32_t i = 0; i < done.hit_blocks; ++i) {
        Check(keys, i, std::span(buffers[i]).first(done.read_bytes[i]));
      }
    }
  }

  void View(Client& client, const std::string& ns, const std::string& keys) {
    const auto view = client.GetView(ns, {.keys = keys}, 0, kBlocks,
                                     {.check = ViewOptions::Check::kAtCommit});
    if (!view.ok()) return;
    for (uint32_t i = 0; i < (*view)->blocks().size(); ++i) {
      Check(keys, i, (*view)->blocks()[i]);
    }
  }

  void Check(const std::string& keys, uint32_t i,
             std::span<const std::byte> bytes) {
    ++hits_;
    if (!testing::CheckPayload(kSpace, keys, i, bytes).ok()) ++wrong_;
  }

  std::unique_ptr<server::Server> server_;
  std::vector<std::string> chains_;
  std::atomic<bool> is_over_{false};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> wrong_{0};
};

TEST_F(ShmRaceTest, NoReaderAcceptsAWrongByte) {
  const uint64_t reads = ReadsWanted();
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2) +
                   reads * std::chrono::microseconds(200);
  std::vector<std::thread> writers;
  for (uint64_t seed : {11, 12}) {
    writers.emplace_back([this, seed] { Write(seed); });
  }
  std::vector<std::thread> readers;
  for (uint64_t seed : {21, 22, 23}) {
    readers.emplace_back([this, seed, reads, end] { Read(seed, reads, end); });
  }
  for (std::thread& reader : readers) reader.join();
  is_over_ = true;
  for (std::thread& writer : writers) writer.join();

  EXPECT_EQ(wrong_, 0u) << "of " << hits_ << " hits";
  EXPECT_GE(hits_, reads) << "in time";
  EXPECT_GT(testing::Reading(*server_,
                             "banyan_evictions_total{tier=\"host\","
                             "reason=\"capacity\"}"),
            100u);
  RecordProperty("hits", static_cast<int>(hits_));
  EXPECT_TRUE(testing::PollUntil(
      [&] { return server_->store().HostUsage().pinned_bytes == 0; }));
}

// A node with a door of the test's own, and one writer at its memory, which holds
// a quarter of the chains.
class OwnDoorRaceTest : public ::testing::Test {
 protected:
  // Blocks are `bytes` long; what a reader does not release is unpinned after
  // `pin_ttl`, in real time.
  void Open(uint64_t bytes, absl::Duration pin_ttl) {
    bytes_ = bytes;
    node_ = std::make_unique<testing::BareNode>(testing::BareNode::Options{
        .capacity_bytes = kDoorChains * kBlocks * bytes / 4});
    ns_ = node_->store()
              .OpenNamespace(kSpace, testing::OpaqueFingerprint())
              ->ns->id;
    calls_ = std::make_unique<transfer::ShmCalls>(
        node_->store(), node_->host(), Clock::Monotonic(),
        transfer::ShmCalls::Options{.pin_ttl = pin_ttl});
    auto door = transfer::ShmDoor::Open(
        {.socket_path = node_->shm_path() + "-race"}, *calls_, tickets_);
    ASSERT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
    for (size_t i = 0; i < kDoorChains; ++i) {
      chains_.push_back(testing::ChainKeys(absl::StrCat("door", i), kBlocks));
    }
    writer_ = std::jthread([this](const std::stop_token& stop) {
      const std::string session = *node_->store().OpenSession("writer");
      for (size_t i = 0; !stop.stop_requested(); ++i) {
        Write(session, chains_[i % kDoorChains]);
      }
    });
  }

  void TearDown() override {
    writer_ = {};
    door_ = nullptr;
    EXPECT_EQ(node_->host().usage().pinned_bytes, 0u);
  }

  std::unique_ptr<transport::ShmTransport> Connect(const std::string& session) {
    const auto ticket = tickets_.Issue("shm", session);
    auto shm = transport::ShmTransport::Connect(
        {.ticket = {.socket_path = ticket->address,
                    .token = ticket->token,
                    .proof = ticket->proof}});
    EXPECT_TRUE(shm.ok()) << shm.status();
    return shm.ok() ? *std::move(shm) : nullptr;
  }

  // Of a chain of blocks of 2 MiB, on this machine as it is now. The door tells
  // pins' time in milliseconds.
  static absl::Duration HalfCopyTime() {
    const std::vector<std::byte> from(kBlocks * 2 * kMiB, std::byte{1});
    std::vector<std::byte> to(from.size());
    const auto begin = std::chrono::steady_clock::now();
    CopyPiece(0, 0, from, to.data());
    const auto took =
        absl::FromChrono(std::chrono::steady_clock::now() - begin);
    return std::max(absl::Milliseconds(1), took / 2);
  }

  transport::Blocks BlocksOf(const std::string& keys) const {
    return {.namespace_id = ns_,
            .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}};
  }
  bool IsRight(const std::string& keys, size_t i,
               std::span<const std::byte> bytes) const {
    return testing::CheckPayload(kSpace, keys, i, bytes).ok();
  }
  static transport::Call Soon() {
    return {.deadline =
                std::chrono::steady_clock::now() + std::chrono::seconds(20)};
  }

  static constexpr size_t kDoorChains = 16;
  uint64_t bytes_ = 0;
  std::unique_ptr<testing::BareNode> node_;
  std::string ns_;
  transfer::DoorTickets tickets_{{}, Clock::Monotonic()};
  std::unique_ptr<transfer::ShmCalls> calls_;
  std::unique_ptr<transfer::ShmDoor> door_;
  std::vector<std::string> chains_;
  std::jthread writer_;

 private:
  // What of the chain is missing and finds room.
  void Write(const std::string& session, const std::string& keys) {
    engine::BlockStore& store = node_->store();
    const transport::Blocks blocks = BlocksOf(keys);
    const auto reserved = store.Reserve(
        session, 0, {.namespace_id = ns_, .run = blocks.run}, {bytes_}, 0);
    if (!reserved.ok() || reserved->write_id.empty()) return;
    const auto write = store.FindWrite(session, reserved->write_id);
    const auto seeds = transport::ChecksumSeeds(blocks);
    std::vector<engine::OpenWrite::Claim> claims;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      if (reserved->verdicts[i] != engine::WriteVerdict::kWrite) continue;
      const auto payload = testing::PayloadOf(kSpace, keys, i, bytes_);
      (*write)->Write(i, 0, payload).IgnoreError();
      claims.push_back(
          {.ordinal = i, .checksums = {PieceChecksum(seeds[i], 0, payload)}});
    }
    store.Commit(session, reserved->write_id, claims).IgnoreError();
  }
};

TEST_F(OwnDoorRaceTest, PinsThatEndUnderACopyLetNoWrongByteThrough) {
  // Copying a chain takes longer than its pins last, copying a block does not.
  Open(2 * kMiB, HalfCopyTime());
  const auto shm = Connect(*node_->store().OpenSession("reader"));
  ASSERT_NE(shm, nullptr);
  std::vector<std::vector<std::byte>> memory(kBlocks,
                                             std::vector<std::byte>(bytes_));
  const std::vector<std::span<std::byte>> buffers(memory.begin(), memory.end());
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  uint64_t hits = 0;
  uint64_t wrong = 0;
  uint64_t too_late = 0;
  for (size_t round = 0; hits < 300 || too_late < 30; ++round) {
    ASSERT_LT(std::chrono::steady_clock::now(), end)
        << hits << " hits, too late " << too_late;
    const std::string& keys = chains_[round * 7 % kDoorChains];
    transport::GetResult result;
    const absl::Status status = shm->Get(
        {.blocks = BlocksOf(keys), .buffers = buffers}, Soon(), result);
    ASSERT_TRUE(status.ok() || ErrorReason(status) == "LEASE") << status;
    if (!status.ok()) ++too_late;
    for (size_t i = 0; i < kBlocks; ++i) {
      if (result.blocks[i].result != ReadResult::kHit) continue;
      ++hits;
      if (!IsRight(keys, i, memory[i])) ++wrong;
    }
  }
  EXPECT_EQ(wrong, 0u) << "of " << hits << " hits";
}

TEST_F(OwnDoorRaceTest, AViewWhoseSessionEndsIsRightWhileItIsAlive) {
  Open(kBytes, absl::Seconds(10));
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  int views = 0;
  uint64_t wrong = 0;
  for (size_t round = 0; views < 20; ++round) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << views << " views";
    const std::string session =
        *node_->store().OpenSession(absl::StrCat("reader", round));
    const auto shm = Connect(session);
    ASSERT_NE(shm, nullptr);
    const std::string& keys = chains_[round * 7 % kDoorChains];
    ClientStats found;
    const auto leased =
        shm->Lease(BlocksOf(keys), std::chrono::milliseconds(60000),
                   transport::ViewCheck::kAtCommit, Soon(), found);
    ASSERT_TRUE(leased.ok()) << leased.status();
    node_->store().EndSession(session);
    if (leased->blocks.empty()) continue;
    ++views;
    while (true) {
      uint64_t seen_wrong = 0;
      for (size_t i = 0; i < leased->blocks.size(); ++i) {
        if (!IsRight(keys, i, leased->blocks[i])) ++seen_wrong;
      }
      if (!shm->is_alive()) break;
      wrong += seen_wrong;
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "alive for ever";
    }
  }
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace banyan
