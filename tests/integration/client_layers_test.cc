// Goal: the client's side of layers: writing and reading them over whichever
// transport, tells by callback and by eventfd, in order and before the
// completion; what opaque namespaces and misuse are answered.
// Method: a node in this process; two clients, one that writes and one that
// follows; payloads name their block.
#include <gtest/gtest.h>
#include <poll.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "tests/integration/layers.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using testing::ChainKeys;
using testing::kLayerBytes;
using testing::kLayeredBytes;
using testing::kLayers;
using testing::kLayerSpace;

using Tells = std::vector<std::pair<uint32_t, uint32_t>>;  // Layer, blocks.

class ClientLayersTest : public ::testing::TestWithParam<TransportKind> {
 protected:
  void SetUp() override {
    server::Config config = testing::SmallConfig();
    config.eviction = "lru";  // Lets all in.
    server_ = *server::Server::Start(config);
    writer_ = Connect("writer");
    reader_ = Connect("reader");
    ns_ =
        writer_->OpenNamespace(kLayerSpace, testing::LayeredFingerprint())->id;
  }
  void TearDown() override {
    writer_ = nullptr;
    reader_ = nullptr;
    if (server_ == nullptr) return;
    EXPECT_TRUE(
        testing::PollUntil([this] { return testing::IsIdle(*server_); }));
  }

  std::unique_ptr<Client> Connect(std::string id) {
    auto client = *Client::Connect({.endpoint = testing::EndpointOf(*server_),
                                    .client_id = std::move(id),
                                    .transport = GetParam()});
    EXPECT_TRUE(client->WaitReady(10000).ok());
    return client;
  }

  // One layer of all blocks of the chain.
  static absl::Status PutLayer(LayerWrite& write, const std::string& keys,
                               uint32_t layer) {
    std::vector<std::vector<std::byte>> payloads;
    std::vector<std::span<const std::byte>> slices;
    for (size_t i = 0; i < keys.size() / 32; ++i) {
      payloads.push_back(
          testing::PayloadOf(kLayerSpace, keys, i, kLayeredBytes));
    }
    for (const auto& payload : payloads) {
      slices.push_back(std::span<const std::byte>(payload).subspan(
          layer * kLayerBytes, kLayerBytes));
    }
    return write.Put(layer, slices);
  }

  void PutAll(const std::string& keys) {
    const auto write = writer_->PutLayers(
        ns_, {.keys = keys}, 0, static_cast<uint32_t>(keys.size() / 32), {});
    ASSERT_TRUE(write.ok()) << write.status();
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
    }
    const Completion done = (*write)->Commit();
    ASSERT_TRUE(done.status.ok()) << done.status;
    for (const WriteResult result : done.writes) {
      ASSERT_EQ(result, WriteResult::kCommitted);
    }
  }

  // Memory for the blocks of a chain.
  struct Memory {
    explicit Memory(size_t blocks)
        : bytes(blocks, std::vector<std::byte>(kLayeredBytes)),
          spans(bytes.begin(), bytes.end()) {}
    std::vector<std::vector<std::byte>> bytes;
    std::vector<std::span<std::byte>> spans;
  };

  static bool IsRight(const std::string& keys, const Memory& memory) {
    for (size_t i = 0; i < memory.bytes.size(); ++i) {
      if (!testing::CheckPayload(kLayerSpace, keys, i, memory.bytes[i]).ok()) {
        return false;
      }
    }
    return true;
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> writer_;
  std::unique_ptr<Client> reader_;
  std::string ns_;
};

Tells AllLayers(uint32_t blocks) {
  Tells tells;
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    tells.emplace_back(layer, blocks);
  }
  return tells;
}

TEST_P(ClientLayersTest, ACallbackIsToldOfEachLayer) {
  const std::string keys = ChainKeys("callback", 40);
  PutAll(keys);
  Memory memory(40);
  Tells tells;

  const Completion done =
      reader_->GetLayers(ns_, {.keys = keys}, 0, memory.spans,
                         {.on_tell = [&](const LayerTell& tell) {
                           EXPECT_EQ(tell.what, LayerTell::What::kLanded);
                           tells.emplace_back(tell.layer, tell.blocks);
                         }});

  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.hit_blocks, 40u);
  EXPECT_EQ(tells, AllLayers(40));
  EXPECT_TRUE(IsRight(keys, memory));
  EXPECT_EQ(reader_->stats().hit_blocks, 40u);
}

TEST_P(ClientLayersTest, PartOfAChainAndOfItsLayers) {
  const std::string keys = ChainKeys("part", 40);
  PutAll(keys);
  Memory memory(5);
  Tells tells;

  const Completion done = reader_->GetLayers(
      ns_, {.keys = keys}, 33, memory.spans,
      {.layers = {.first = 2, .count = 3}, .on_tell = [&](const auto& tell) {
         tells.emplace_back(tell.layer, tell.blocks);
       }});

  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.hit_blocks, 5u);
  EXPECT_EQ(tells, (Tells{{2, 5}, {3, 5}, {4, 5}}));
  for (size_t i = 0; i < 5; ++i) {
    const auto whole =
        testing::PayloadOf(kLayerSpace, keys, 33 + i, kLayeredBytes);
    for (size_t at = 0; at < kLayeredBytes; ++at) {
      const bool is_inside = at >= 2 * kLayerBytes && at < 5 * kLayerBytes;
      ASSERT_EQ(memory.bytes[i][at], is_inside ? whole[at] : std::byte{0});
    }
  }
}

TEST_P(ClientLayersTest, AnEventTellsAFollowerBeforeItsCompletion) {
  const std::string keys = ChainKeys("event", 3);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 3, {});
  ASSERT_TRUE(write.ok()) << write.status();
  EXPECT_EQ((*write)->layers(), kLayers);
  EXPECT_EQ((*write)->layer_bytes(), kLayerBytes);
  EXPECT_EQ((*write)->is_wanted(), std::vector<bool>(3, true));
  Memory memory(3);
  const uint64_t id = reader_->SubmitGetLayers(ns_, {.keys = keys}, 0,
                                               memory.spans, {.follow = true});
  Tells tells;
  const auto drain = [&](size_t count) {
    while (tells.size() < count) {
      pollfd ready{.fd = reader_->layer_event_fd(), .events = POLLIN};
      if (poll(&ready, 1, 10000) != 1) return false;
      for (const LayerTell& tell : reader_->DrainLayers()) {
        EXPECT_EQ(tell.id, id);
        EXPECT_EQ(tell.what, LayerTell::What::kLanded);
        tells.emplace_back(tell.layer, tell.blocks);
      }
    }
    return true;
  };
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
    ASSERT_TRUE(drain(layer + 1)) << layer;
    const auto whole = testing::PayloadOf(kLayerSpace, keys, 2, kLayeredBytes);
    EXPECT_TRUE(std::equal(whole.begin(),
                           whole.begin() + (layer + 1) * kLayerBytes,
                           memory.bytes[2].begin()));
    EXPECT_TRUE(reader_->Drain().empty());
  }
  EXPECT_EQ(tells, AllLayers(3));

  EXPECT_TRUE((*write)->Commit().status.ok());
  pollfd ready{.fd = reader_->event_fd(), .events = POLLIN};
  ASSERT_EQ(poll(&ready, 1, 10000), 1);
  const auto done = reader_->Drain();

  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].id, id);
  ASSERT_TRUE(done[0].status.ok()) << done[0].status;
  EXPECT_EQ(done[0].hit_blocks, 3u);
  EXPECT_TRUE(IsRight(keys, memory));
  EXPECT_TRUE(reader_->DrainLayers().empty());
}

TEST_P(ClientLayersTest, AWriteThatIsDroppedIsTakenBack) {
  const std::string keys = ChainKeys("dropped", 2);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 2, {});
  ASSERT_TRUE(write.ok());
  Memory memory(2);
  std::vector<LayerTell> tells;
  Mutex mutex;
  Completion done;
  std::thread follower([&] {
    done = reader_->GetLayers(
        ns_, {.keys = keys}, 0, memory.spans,
        {.follow = true, .on_tell = [&](const LayerTell& tell) {
           MutexLock lock(mutex);
           tells.push_back(tell);
         }});
  });
  ASSERT_TRUE(PutLayer(**write, keys, 0).ok());
  ASSERT_TRUE(testing::PollUntil([&] {
    MutexLock lock(mutex);
    return tells.size() == 1;
  }));

  *write = nullptr;  // Not committed.
  follower.join();

  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.hit_blocks, 0u);
  EXPECT_EQ(done.reads, (std::vector<ReadResult>(2, ReadResult::kWithdrawn)));
  ASSERT_EQ(tells.size(), 2u);
  EXPECT_EQ(tells[1].what, LayerTell::What::kCut);
  EXPECT_EQ(tells[1].blocks, 0u);
  EXPECT_TRUE(testing::PollUntil([&] {
    return testing::Reading(*server_,
                            "banyan_followed_blocks_total{result="
                            "\"withdrawn\"}") == 2u;
  }));
}

TEST_P(ClientLayersTest, OnlyWhatIsWantedIsSent) {
  const std::string keys = ChainKeys("wanted", 4);
  PutAll(keys.substr(0, 64));
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 4, {});
  ASSERT_TRUE(write.ok());
  EXPECT_EQ((*write)->is_wanted(),
            (std::vector<bool>{false, false, true, true}));
  for (uint32_t layer = kLayers; layer-- > 0;) {
    ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
  }
  const Completion done = (*write)->Commit();
  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.writes,
            (std::vector{WriteResult::kExists, WriteResult::kExists,
                         WriteResult::kCommitted, WriteResult::kCommitted}));
  EXPECT_EQ(reader_->Match(ns_, {.keys = keys}).value_or(99), 4u);

  // And of a write of nothing, nothing.
  auto none = writer_->PutLayers(ns_, {.keys = keys}, 0, 4, {});
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(PutLayer(**none, keys, 0).ok());
  EXPECT_TRUE((*none)->Commit().status.ok());
}

TEST_P(ClientLayersTest, MisuseIsToldAndLosesNothingElse) {
  const std::string keys = ChainKeys("misuse", 2);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 2, {});
  ASSERT_TRUE(write.ok());
  EXPECT_EQ(ErrorReason(PutLayer(**write, keys, kLayers)), "LAYERS");
  EXPECT_EQ(ErrorReason((*write)->Put(0, {})), "LAYERS");
  const std::vector<std::byte> small(kLayerBytes - 1);
  EXPECT_EQ(ErrorReason((*write)->Put(0, {small, small})), "LAYERS");
  // None of that was sent.
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
  }
  EXPECT_TRUE((*write)->Commit().status.ok());

  const std::string other = ChainKeys("incomplete", 2);
  auto incomplete = writer_->PutLayers(ns_, {.keys = other}, 0, 2, {});
  ASSERT_TRUE(PutLayer(**incomplete, other, 0).ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*incomplete)->Commit().status));
  EXPECT_EQ(ErrorReason(PutLayer(**incomplete, other, 1)), "WRITE");

  EXPECT_EQ(
      ErrorReason(writer_->PutLayers(ns_, {.keys = keys}, 1, 2, {}).status()),
      "KEYS");
  EXPECT_EQ(
      ErrorReason(
          writer_->PutLayers(ns_, {.keys = other}, 0, 2, {.piece_bytes = 1000})
              .status()),
      "LAYERS");
}

TEST_P(ClientLayersTest, AnOpaqueNamespaceIsRefused) {
  const std::string opaque =
      writer_->OpenNamespace("opaque", testing::OpaqueFingerprint())->id;
  const std::string keys = ChainKeys("opaque", 1);
  Memory memory(1);

  EXPECT_EQ(ErrorReason(
                writer_->PutLayers(opaque, {.keys = keys}, 0, 1, {}).status()),
            "LAYOUT");
  const Completion done =
      reader_->GetLayers(opaque, {.keys = keys}, 0, memory.spans, {});
  EXPECT_EQ(ErrorReason(done.status), "LAYOUT") << done.status;
  EXPECT_EQ(done.reads, std::vector{ReadResult::kMiss});
}

TEST_P(ClientLayersTest, ASlowWriterCostsTheTimeout) {
  const std::string keys = ChainKeys("slow", 1);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 1, {});
  ASSERT_TRUE(write.ok());
  Memory memory(1);
  const auto start = std::chrono::steady_clock::now();

  const Completion done =
      reader_->GetLayers(ns_, {.keys = keys}, 0, memory.spans,
                         {.follow = true, .timeout_ms = 200});
  const auto took = std::chrono::steady_clock::now() - start;

  EXPECT_EQ(ErrorReason(done.status), "WRITER") << done.status;
  EXPECT_GE(took, std::chrono::milliseconds(190));
  EXPECT_LT(took, std::chrono::milliseconds(1200));
  // It is no fault of the node: a client that waits in vain, again and again,
  // is not held back.
  for (int i = 0; i < 5; ++i) {
    const Completion again =
        reader_->GetLayers(ns_, {.keys = keys}, 0, memory.spans,
                           {.follow = true, .timeout_ms = 30});
    EXPECT_EQ(ErrorReason(again.status), "WRITER") << again.status;
  }
  EXPECT_EQ(reader_->Match(ns_, {.keys = keys}).value_or(99), 0u);
}

// Completions of the reader until there are so many; fewer after ten seconds.
std::vector<Completion> DrainUntil(Client& client, size_t count) {
  std::vector<Completion> all;
  testing::PollUntil([&] {
    for (Completion& done : client.Drain()) all.push_back(std::move(done));
    return all.size() >= count;
  });
  return all;
}

TEST_P(ClientLayersTest, WhoWaitsForAWriterHoldsUpNobodyElse) {
  const std::string stored = ChainKeys("stored", 2);
  PutAll(stored);
  const std::string keys = ChainKeys("awaited", 1);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 1, {});
  ASSERT_TRUE(write.ok()) << write.status();
  // More than there are workers, and more than follow at a time.
  constexpr size_t kFollowers = 40;
  std::vector<Memory> memories(kFollowers, Memory(1));
  std::set<uint64_t> ids;
  for (Memory& memory : memories) {
    ids.insert(reader_->SubmitGetLayers(ns_, {.keys = keys}, 0,
                                        {memory.bytes[0]},
                                        {.follow = true, .timeout_ms = 60000}));
  }

  const uint64_t match = reader_->SubmitMatch(ns_, {.keys = stored});
  Memory memory(2);
  const uint64_t get =
      reader_->SubmitGet(ns_, {.keys = stored}, 0, memory.spans);
  std::set<uint64_t> done_ids;
  for (const Completion& done : DrainUntil(*reader_, 2)) {
    EXPECT_TRUE(done.status.ok()) << done.status;
    EXPECT_EQ(done.hit_blocks, 2u);
    done_ids.insert(done.id);
  }
  EXPECT_EQ(done_ids, (std::set{match, get})) << "they wait for no writer";

  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
  }
  ASSERT_TRUE((*write)->Commit().status.ok());
  const auto followed = DrainUntil(*reader_, kFollowers);
  EXPECT_EQ(followed.size(), kFollowers);
  for (const Completion& done : followed) {
    EXPECT_EQ(done.hit_blocks, 1u) << done.status;
    EXPECT_EQ(ids.erase(done.id), 1u);
  }
  for (const Memory& one : memories) {
    EXPECT_TRUE(testing::CheckPayload(kLayerSpace, keys, 0, one.bytes[0]).ok());
  }
}

TEST_P(ClientLayersTest, AClientThatClosesWaitsForNoWriter) {
  const std::string keys = ChainKeys("closing", 1);
  auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 1, {});
  ASSERT_TRUE(write.ok()) << write.status();
  ASSERT_TRUE(PutLayer(**write, keys, 0).ok());
  std::vector<Memory> memories(20, Memory(1));
  for (Memory& memory : memories) {
    reader_->SubmitGetLayers(ns_, {.keys = keys}, 0, {memory.bytes[0]},
                             {.follow = true, .timeout_ms = 60000});
  }
  ASSERT_TRUE(testing::PollUntil([&] {
    return !reader_->DrainLayers().empty();  // One waits by now.
  }));
  const auto start = std::chrono::steady_clock::now();

  reader_ = nullptr;

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// Whoever drains completions first must not see tells of what is over.
TEST_P(ClientLayersTest, NoTellIsDrainedAfterItsCompletion) {
  const std::string keys = ChainKeys("late", 3);
  PutAll(keys);
  Memory memory(3);
  const uint64_t id =
      reader_->SubmitGetLayers(ns_, {.keys = keys}, 0, memory.spans, {});
  pollfd ready{.fd = reader_->event_fd(), .events = POLLIN};
  ASSERT_EQ(poll(&ready, 1, 10000), 1);

  const auto done = reader_->Drain();

  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].id, id);
  EXPECT_EQ(done[0].hit_blocks, 3u);
  Tells tells;
  for (const LayerTell& tell : done[0].tells) {
    EXPECT_EQ(tell.id, id);
    tells.emplace_back(tell.layer, tell.blocks);
  }
  EXPECT_EQ(tells, AllLayers(3));
  EXPECT_TRUE(reader_->DrainLayers().empty());
  ready = {.fd = reader_->layer_event_fd(), .events = POLLIN};
  EXPECT_EQ(poll(&ready, 1, 0), 0);
}

TEST_P(ClientLayersTest, BlocksOnTheSsdComeLayerByLayerToo) {
  writer_ = nullptr;
  reader_ = nullptr;
  server_ = nullptr;
  const testing::TempDirectory directory;
  server::Config config = testing::SmallConfig();
  config.ssd_dirs = {directory.path()};
  config.ssd_bytes = kGiB;
  config.ssd_segment_bytes = 32 * kMiB;
  const auto start = [&] {
    server_ = *server::Server::Start(config);
    writer_ = Connect("writer");
    reader_ = Connect("reader");
    ns_ =
        writer_->OpenNamespace(kLayerSpace, testing::LayeredFingerprint())->id;
  };
  start();
  const std::string keys = ChainKeys("cold", 10);
  {
    auto write = writer_->PutLayers(ns_, {.keys = keys}, 0, 10,
                                    {.durability = Durability::kDurable});
    ASSERT_TRUE(write.ok()) << write.status();
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      ASSERT_TRUE(PutLayer(**write, keys, layer).ok());
    }
    const Completion committed = (*write)->Commit();
    ASSERT_TRUE(committed.status.ok()) << committed.status;
  }
  writer_ = nullptr;
  reader_ = nullptr;
  server_ = nullptr;
  start();  // With what is on the disk, and nothing in memory.
  Memory memory(10);
  Tells tells;

  const Completion done =
      reader_->GetLayers(ns_, {.keys = keys}, 0, memory.spans,
                         {.on_tell = [&](const LayerTell& tell) {
                           tells.emplace_back(tell.layer, tell.blocks);
                         }});

  ASSERT_TRUE(done.status.ok()) << done.status;
  EXPECT_EQ(done.hit_blocks, 10u);
  EXPECT_EQ(done.read_tiers, std::vector<Tier>(10, Tier::kSsd));
  EXPECT_EQ(tells, AllLayers(10));
  EXPECT_TRUE(IsRight(keys, memory));
  EXPECT_EQ(reader_->transport().fallbacks,
            GetParam() == TransportKind::kShm ? 1u : 0u);
  writer_ = nullptr;
  reader_ = nullptr;
  server_ = nullptr;  // Before its directory.
}

INSTANTIATE_TEST_SUITE_P(All, ClientLayersTest,
                         ::testing::Values(TransportKind::kShm,
                                           TransportKind::kGrpc),
                         [](const auto& info) {
                           return info.param == TransportKind::kShm ? "Shm"
                                                                    : "Grpc";
                         });

}  // namespace
}  // namespace banyan
