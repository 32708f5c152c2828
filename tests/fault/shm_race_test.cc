// Goal: a reader in shared memory never accepts a byte that is not the block's,
// whatever happens to the memory meanwhile: eviction, other blocks in the same
// slots, the same block written anew, deletion.
// Method: readers get blocks from a node whose memory holds a fraction of what is
// written to it all the time; payloads name their block, and each hit is checked
// against that. Some readers look in place. BANYAN_RACE_READS sets how many
// blocks are to be accepted; the acceptance run is 10000000.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "tests/integration/node.h"

namespace banyan {
namespace {

constexpr char kSpace[] = "race";
constexpr uint64_t kBytes = 16 * kKiB;
constexpr size_t kChains = 64;
constexpr size_t kBlocks = 8;

uint64_t ReadsWanted() {
  const char* const text = std::getenv("BANYAN_RACE_READS");
  uint64_t reads = 0;
  return text != nullptr && absl::SimpleAtoi(text, &reads) ? reads : 20000;
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
  void Read(uint64_t seed, uint64_t wanted) {
    const auto client = Connect();
    const std::string ns =
        client->OpenNamespace(kSpace, testing::OpaqueFingerprint())->id;
    std::mt19937_64 random(seed);
    std::vector<std::vector<std::byte>> buffers(kBlocks,
                                                std::vector<std::byte>(kBytes));
    while (hits_ < wanted) {
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
  std::vector<std::thread> writers;
  for (uint64_t seed : {11, 12}) {
    writers.emplace_back([this, seed] { Write(seed); });
  }
  std::vector<std::thread> readers;
  for (uint64_t seed : {21, 22, 23}) {
    readers.emplace_back([this, seed, reads] { Read(seed, reads); });
  }
  for (std::thread& reader : readers) reader.join();
  is_over_ = true;
  for (std::thread& writer : writers) writer.join();

  EXPECT_EQ(wrong_, 0u) << "of " << hits_ << " hits";
  EXPECT_GT(testing::Reading(*server_,
                             "banyan_evictions_total{tier=\"host\","
                             "reason=\"capacity\"}"),
            100u);
  RecordProperty("hits", static_cast<int>(hits_));
  EXPECT_TRUE(testing::PollUntil(
      [&] { return server_->store().HostUsage().pinned_bytes == 0; }));
}

}  // namespace
}  // namespace banyan
