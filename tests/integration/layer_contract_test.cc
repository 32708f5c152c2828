// Goal: what client/transport/layers.h promises, for every transport that moves
// layers: their order, what is told and when, blocks that are still being
// written, and the ends that those may come to.
// Method: as tests/integration/transport_contract_test.cc. What is told of is
// compared with the self-describing payload at the moment it is told.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "tests/integration/layers.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/host_tier_peer.h"

namespace banyan {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using testing::ChainKeys;
using testing::InTime;
using testing::kLayerBytes;
using testing::kLayeredBytes;
using testing::kLayers;
using testing::kLayerSpace;
using testing::LayerPeer;
using testing::LayerReading;
using testing::PollUntil;
using testing::Within;
using Told = LayerReading::Told;

std::vector<Told> LayersTold(uint32_t first, uint32_t end, uint32_t blocks) {
  std::vector<Told> told;
  for (uint32_t layer = first; layer < end; ++layer) {
    told.push_back({.layer = layer, .blocks = blocks});
  }
  return told;
}

std::vector<uint32_t> Range(uint32_t first, uint32_t end) {
  std::vector<uint32_t> layers;
  for (uint32_t layer = first; layer < end; ++layer) layers.push_back(layer);
  return layers;
}

class LayerContractTest
    : public ::testing::TestWithParam<testing::TransportCase> {
 protected:
  void SetUp() override {
    node_ = std::make_unique<testing::BareNode>();
    writer_ = Join("writer");
    reader_ = Join("reader");
    LayerReading probe(*reader_, ChainKeys("probe", 1));
    if (ErrorReason(probe.Get()) == "LAYERS") {
      // The only one that may.
      ASSERT_EQ(GetParam().name, "Ucx");
      GTEST_SKIP() << "moves no layers, and says so";
    }
  }

  // Nothing that is held outlives the sessions.
  void TearDown() override {
    writer_ = nullptr;
    reader_ = nullptr;
    EXPECT_TRUE(PollUntil([&] {
      const tiers::TierUsage usage = node_->host().usage();
      return usage.pinned_bytes == 0 && usage.staged_bytes == 0;
    }));
  }

  std::unique_ptr<LayerPeer> Join(const std::string& name) {
    return std::make_unique<LayerPeer>(node_->endpoint(), GetParam(), name);
  }

  BlockId IdOf(const std::string& keys, size_t i) {
    const auto ns = node_->store().namespaces().FindById(reader_->ns());
    const auto key = testing::KeyNo(keys, i);
    return node_->store().namespaces().HasherFor(**ns,
                                                 "")({key.data(), key.size()});
  }

  // A read on a thread of its own.
  struct Following {
    Following(LayerPeer& peer, const std::string& keys,
              const transport::Call& call = InTime())
        : reading(peer, keys) {
      reading.is_following = true;
      thread = std::thread([this, call] {
        status = reading.Get(call);
        is_over = true;
      });
    }
    ~Following() {
      if (thread.joinable()) thread.join();
    }
    void Join() { thread.join(); }
    bool IsTold(size_t layers) const {
      return PollUntil([&] { return reading.layers_told() >= layers; });
    }

    LayerReading reading;
    absl::Status status;  // Once it is over.
    std::atomic<bool> is_over{false};
    std::thread thread;
  };

  std::unique_ptr<testing::BareNode> node_;
  std::unique_ptr<LayerPeer> writer_;
  std::unique_ptr<LayerPeer> reader_;
};

// ----------------------------------------------------------- stored blocks ---

TEST_P(LayerContractTest, LayersOfAllBlocksLandInOrder) {
  const std::string keys = ChainKeys("order", 20);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  LayerReading reading(*reader_, keys);

  const absl::Status status = reading.Get();

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(reading.told(), LayersTold(0, kLayers, 20));
  EXPECT_EQ(reading.wrong(), 0u);
  for (size_t i = 0; i < 20; ++i) EXPECT_TRUE(reading.IsRight(i)) << i;
  EXPECT_EQ(reading.result.found.hit_blocks, 20u);
  EXPECT_EQ(reading.result.found.found_wrong(), 0u);
}

TEST_P(LayerContractTest, ManyBlocksTakeSeveralAnswers) {
  const std::string keys = ChainKeys("many", 400);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  LayerReading reading(*reader_, keys);

  ASSERT_TRUE(reading.Get().ok());

  EXPECT_EQ(reading.told(), LayersTold(0, kLayers, 400));
  EXPECT_EQ(reading.wrong(), 0u);
  for (size_t i = 0; i < 400; ++i) ASSERT_TRUE(reading.IsRight(i)) << i;
}

TEST_P(LayerContractTest, ARangeOfLayersLandsWhereItBelongs) {
  const std::string keys = ChainKeys("range", 3);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  const auto check = [&](uint32_t first, uint32_t count, uint32_t end) {
    LayerReading reading(*reader_, keys);
    reading.layers = {.first = first, .count = count};
    ASSERT_TRUE(reading.Get().ok());
    EXPECT_EQ(reading.told(), LayersTold(first, end, 3));
    EXPECT_EQ(reading.wrong(), 0u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(reading.ResultOf(i), ReadResult::kHit);
      for (size_t at = 0; at < kLayeredBytes; ++at) {
        const bool is_inside =
            at >= first * kLayerBytes && at < end * kLayerBytes;
        ASSERT_TRUE(is_inside || reading.bytes(i)[at] == std::byte{0xEE}) << at;
      }
    }
  };

  check(0, 1, 1);
  check(3, 2, 5);
  check(5, 0, kLayers);
  check(kLayers - 1, 1, kLayers);
}

TEST_P(LayerContractTest, LayersThatAreNotThereAreRefused) {
  const std::string keys = ChainKeys("beyond", 1);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  LayerReading reading(*reader_, keys);
  for (const transport::Layers layers :
       {transport::Layers{kLayers, 0}, transport::Layers{kLayers - 1, 2},
        transport::Layers{0, kLayers + 1},
        transport::Layers{UINT32_MAX, UINT32_MAX},
        transport::Layers{1, UINT32_MAX}}) {
    reading.layers = layers;
    const absl::Status status = reading.Get();
    EXPECT_TRUE(absl::IsOutOfRange(status)) << layers.first << " " << status;
  }
  EXPECT_TRUE(reading.told().empty());
}

TEST_P(LayerContractTest, AnOpaqueNamespaceHasNoLayers) {
  const std::string opaque =
      testing::OpenOpaque(reader_->session().stub(), "opaque");
  const std::string keys = ChainKeys("opaque", 1);
  std::vector<std::byte> memory(100);
  const std::vector<std::span<std::byte>> buffers = {memory};
  transport::GetResult result;

  const absl::Status status =
      reader_->transport().GetLayers({.namespace_id = opaque,
                                      .run = testing::WholeRun(keys),
                                      .buffers = buffers},
                                     InTime(), result);

  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("opaque"), std::string::npos) << status;
}

TEST_P(LayerContractTest, BlocksWithOtherPiecesAreRefused) {
  const std::string keys = ChainKeys("pieces", 1);
  const auto request = testing::ReserveOf(writer_->session().id(),
                                          writer_->ns(), keys, kLayeredBytes);
  grpc::ClientContext context;
  banyan::v1::ReserveResponse response;
  writer_->session().stub().Reserve(&context, request, &response);
  const auto payload = testing::PayloadOf(kLayerSpace, keys, 0, kLayeredBytes);
  const auto seeds = transport::ChecksumSeeds(writer_->BlocksOf(keys));
  const std::vector<transport::OutgoingBlock> blocks = {
      {.ordinal = 0, .checksum_seed = seeds[0], .payload = payload}};
  transport::SentChecksums sent;
  ASSERT_TRUE(writer_->transport()
                  .Put({.session_id = writer_->session().id(),
                        .write_id = response.write_id(),
                        .blocks = blocks},
                       InTime(), sent)
                  .ok());
  grpc::ClientContext commit_context;
  banyan::v1::CommitRequest commit;
  commit.set_session_id(writer_->session().id());
  commit.set_write_id(response.write_id());
  commit.add_blocks()->set_checksums(sent[0]);
  banyan::v1::CommitResponse committed;
  ASSERT_TRUE(writer_->session()
                  .stub()
                  .Commit(&commit_context, commit, &committed)
                  .ok());
  LayerReading reading(*reader_, keys);

  const absl::Status status = reading.Get();

  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("pieces"), std::string::npos) << status;
}

TEST_P(LayerContractTest, AMissingBlockEndsTheRun) {
  const std::string keys = ChainKeys("gap", 6);
  ASSERT_TRUE(writer_->PutAll(keys.substr(0, 32 * 4)).ok());
  LayerReading reading(*reader_, keys);

  ASSERT_TRUE(reading.Get().ok());

  EXPECT_EQ(reading.told(), LayersTold(0, kLayers, 4));
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(reading.IsRight(i));
  for (size_t i = 4; i < 6; ++i) {
    EXPECT_EQ(reading.ResultOf(i), ReadResult::kMiss);
    EXPECT_EQ(reading.bytes(i), std::vector(kLayeredBytes, std::byte{0xEE}));
  }
  EXPECT_EQ(reading.result.found.found_wrong(), 0u);

  LayerReading nothing(*reader_, ChainKeys("nothing", 2));
  ASSERT_TRUE(nothing.Get().ok());
  EXPECT_TRUE(nothing.told().empty());
}

TEST_P(LayerContractTest, ASmallBufferIsTheCallersError) {
  const std::string keys = ChainKeys("small", 2);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  LayerReading reading(*reader_, keys);
  reading.spans()[1] = reading.spans()[1].first(kLayeredBytes - 1);

  EXPECT_TRUE(absl::IsInvalidArgument(reading.Get()));
}

TEST_P(LayerContractTest, ADamagedLayerIsNeverTold) {
  const std::string keys = ChainKeys("damaged", 4);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  tiers::HostTierPeer tier(node_->host());
  tier.Payload(IdOf(keys, 1))[3 * kLayerBytes + 77] ^= std::byte{4};
  LayerReading reading(*reader_, keys);

  ASSERT_TRUE(reading.Get().ok());

  std::vector<Told> want = LayersTold(0, 3, 4);
  want.push_back({.is_cut = true, .blocks = 1});
  for (const Told& told : LayersTold(3, kLayers, 1)) want.push_back(told);
  EXPECT_EQ(reading.told(), want);
  EXPECT_EQ(reading.wrong(), 0u);
  EXPECT_TRUE(reading.IsRight(0));
  EXPECT_EQ(reading.ResultOf(1), ReadResult::kCorrupt);
  EXPECT_EQ(reading.result.blocks[1].landed_pieces, 3u);
  EXPECT_EQ(reading.result.found.found_wrong(), 1u);
  // And it is gone, by whoever found it.
  EXPECT_TRUE(PollUntil([&] { return reader_->Match(keys) == 1; }));
}

TEST_P(LayerContractTest, LayersOfAnotherBlockAreNoHit) {
  const std::string keys = ChainKeys("swapped", 2);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  tiers::HostTierPeer tier(node_->host());
  const auto zero = tier.Payload(IdOf(keys, 0));
  const auto one = tier.Payload(IdOf(keys, 1));
  std::swap_ranges(zero.begin(), zero.begin() + kLayerBytes, one.begin());
  LayerReading reading(*reader_, keys);

  ASSERT_TRUE(reading.Get().ok());

  EXPECT_TRUE(reading.told().empty());
  EXPECT_EQ(reading.ResultOf(0), ReadResult::kCorrupt);
  EXPECT_EQ(reading.ResultOf(1), ReadResult::kCorrupt);
}

// -------------------------------------------- blocks that are being written ---

TEST_P(LayerContractTest, LayersOfAWriteComeBeforeItsCommit) {
  const std::string keys = ChainKeys("follow", 5);
  const std::string write = writer_->Reserve(keys);
  ASSERT_FALSE(write.empty());
  Following following(*reader_, keys);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(writer_->Send(keys, write, {layer}).ok());
    ASSERT_TRUE(following.IsTold(layer + 1)) << layer;
    // To those who do not follow there is nothing.
    EXPECT_EQ(reader_->Match(keys), 0u);
  }
  LayerReading other(*reader_, keys);
  ASSERT_TRUE(other.Get().ok());
  EXPECT_EQ(other.ResultOf(0), ReadResult::kMiss);
  EXPECT_FALSE(following.is_over) << "not before the commit";

  ASSERT_TRUE(writer_->Commit(keys, write).ok());
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  EXPECT_EQ(following.reading.told(), LayersTold(0, kLayers, 5));
  EXPECT_EQ(following.reading.wrong(), 0u);
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(following.reading.IsRight(i));
  EXPECT_EQ(reader_->Match(keys), 5u);
}

TEST_P(LayerContractTest, LayersThatComeOutOfOrderAreToldInOrder) {
  const std::string keys = ChainKeys("disorder", 3);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  for (uint32_t layer = kLayers; layer-- > 1;) {
    ASSERT_TRUE(writer_->Send(keys, write, {layer}).ok());
  }
  // Of layer 0, the last block first.
  for (uint32_t i = 3; i-- > 1;) {
    ASSERT_TRUE(writer_->Send(keys, write, {0}, i, i + 1).ok());
  }
  EXPECT_TRUE(following.reading.told().empty());

  ASSERT_TRUE(writer_->Send(keys, write, {0}, 0, 1).ok());
  ASSERT_TRUE(following.IsTold(kLayers));
  ASSERT_TRUE(writer_->Commit(keys, write).ok());
  following.Join();

  EXPECT_EQ(following.reading.told(), LayersTold(0, kLayers, 3));
  EXPECT_EQ(following.reading.wrong(), 0u);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(following.reading.IsRight(i));
}

TEST_P(LayerContractTest, StoredBlocksComeWithThoseThatAreWritten) {
  const std::string keys = ChainKeys("mixed", 6);
  ASSERT_TRUE(writer_->PutAll(keys.substr(0, 32 * 2)).ok());
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, {0}, 2, 6).ok());
  ASSERT_TRUE(following.IsTold(1));
  ASSERT_TRUE(writer_->Send(keys, write, Range(1, kLayers), 2, 6).ok());
  ASSERT_TRUE(writer_->Commit(keys, write, 2).ok());
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  EXPECT_EQ(following.reading.told(), LayersTold(0, kLayers, 6));
  for (size_t i = 0; i < 6; ++i) EXPECT_TRUE(following.reading.IsRight(i));
}

TEST_P(LayerContractTest, AWriteThatIsNotByLayersIsFollowedToItsCommit) {
  const std::string keys = ChainKeys("plain", 2);
  auto request = testing::ReserveOf(writer_->session().id(), writer_->ns(),
                                    keys, kLayeredBytes);
  request.set_piece_bytes(kLayerBytes);
  grpc::ClientContext context;
  banyan::v1::ReserveResponse response;
  writer_->session().stub().Reserve(&context, request, &response);
  Following following(*reader_, keys);
  const auto seeds = transport::ChecksumSeeds(writer_->BlocksOf(keys));
  std::vector<std::vector<std::byte>> payloads;
  std::vector<transport::OutgoingBlock> blocks;
  for (uint32_t i = 0; i < 2; ++i) {
    payloads.push_back(testing::PayloadOf(kLayerSpace, keys, i, kLayeredBytes));
  }
  for (uint32_t i = 0; i < 2; ++i) {
    blocks.push_back({.ordinal = i,
                      .checksum_seed = seeds[i],
                      .payload = payloads[i],
                      .piece_bytes = kLayerBytes});
  }
  transport::SentChecksums sent;
  ASSERT_TRUE(writer_->transport()
                  .Put({.session_id = writer_->session().id(),
                        .write_id = response.write_id(),
                        .blocks = blocks},
                       InTime(), sent)
                  .ok());
  // Nobody but the node has said what these bytes are.
  EXPECT_TRUE(following.reading.told().empty());

  ASSERT_TRUE(writer_->Commit(keys, response.write_id()).ok());
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  EXPECT_EQ(following.reading.told(), LayersTold(0, kLayers, 2));
  EXPECT_TRUE(following.reading.IsRight(0));
  EXPECT_TRUE(following.reading.IsRight(1));
}

TEST_P(LayerContractTest, StoredBlocksStayHitsWhenTheOthersAreWithdrawn) {
  const std::string keys = ChainKeys("half", 6);
  ASSERT_TRUE(writer_->PutAll(keys.substr(0, 32 * 2)).ok());
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, Range(0, kLayers), 2, 6).ok());
  ASSERT_TRUE(following.IsTold(kLayers));
  writer_->Abort(write);
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  EXPECT_TRUE(following.reading.IsRight(0));
  EXPECT_TRUE(following.reading.IsRight(1));
  for (size_t i = 2; i < 6; ++i) {
    EXPECT_EQ(following.reading.ResultOf(i), ReadResult::kWithdrawn);
  }
  const auto told = following.reading.told();
  ASSERT_EQ(told.size(), kLayers + 1);
  EXPECT_EQ(told.back(), (Told{.is_cut = true, .blocks = 2}));
}

TEST_P(LayerContractTest, AnAbortedWriteIsWithdrawn) {
  const std::string keys = ChainKeys("abort", 4);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, Range(0, 3)).ok());
  ASSERT_TRUE(following.IsTold(3));

  writer_->Abort(write);
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  std::vector<Told> want = LayersTold(0, 3, 4);
  want.push_back({.is_cut = true, .blocks = 0});
  EXPECT_EQ(following.reading.told(), want);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(following.reading.ResultOf(i), ReadResult::kWithdrawn);
  }
  EXPECT_EQ(following.reading.result.found.hit_blocks, 0u);
}

TEST_P(LayerContractTest, AWriterThatDiesIsWithdrawn) {
  const std::string keys = ChainKeys("death", 2);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, Range(0, kLayers)).ok());
  ASSERT_TRUE(following.IsTold(kLayers));

  writer_->session().Cancel();
  following.Join();

  ASSERT_TRUE(following.status.ok()) << following.status;
  EXPECT_EQ(following.reading.told().back(), (Told{.is_cut = true}));
  EXPECT_EQ(following.reading.ResultOf(0), ReadResult::kWithdrawn);
  EXPECT_EQ(following.reading.ResultOf(1), ReadResult::kWithdrawn);
}

TEST_P(LayerContractTest, ACommitThatFailsIsWithdrawn) {
  const std::string keys = ChainKeys("lie", 2);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, Range(0, kLayers)).ok());
  ASSERT_TRUE(following.IsTold(kLayers));

  EXPECT_TRUE(absl::IsDataLoss(writer_->Commit(keys, write, 0, true)));
  following.Join();

  EXPECT_EQ(following.reading.told().back(), (Told{.is_cut = true}));
  EXPECT_EQ(following.reading.ResultOf(0), ReadResult::kWithdrawn);
  EXPECT_EQ(reader_->Match(keys), 0u);
}

TEST_P(LayerContractTest, APieceThatDoesNotCheckOutIsNeverToldAndEndsTheWrite) {
  const std::string keys = ChainKeys("flip", 2);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, {0}).ok());
  ASSERT_TRUE(following.IsTold(1));
  auto payload = testing::PayloadOf(kLayerSpace, keys, 0, kLayeredBytes);
  const auto seeds = transport::ChecksumSeeds(writer_->BlocksOf(keys));
  const auto piece =
      std::span<const std::byte>(payload).subspan(kLayerBytes, kLayerBytes);
  const Checksum128 right = PieceChecksum(
      seeds[0], 1, absl::MakeConstSpan(piece.data(), piece.size()));
  payload[kLayerBytes + 5] ^= std::byte{1};  // On its way.
  const auto open = *node_->store().FindWrite(writer_->session().id(), write);
  ASSERT_TRUE(open->Write(0, kLayerBytes,
                          absl::MakeConstSpan(piece.data(), piece.size()))
                  .ok());

  EXPECT_TRUE(absl::IsDataLoss(open->Vouch(0, 1, right)));
  following.Join();

  EXPECT_EQ(following.reading.layers_told(), 1u);
  EXPECT_EQ(following.reading.ResultOf(0), ReadResult::kWithdrawn);
  EXPECT_TRUE(absl::IsFailedPrecondition(writer_->Send(keys, write, {2})));
}

TEST_P(LayerContractTest, ASlowWriterCostsTheDeadline) {
  const std::string keys = ChainKeys("slow", 2);
  const std::string write = writer_->Reserve(keys);
  ASSERT_TRUE(writer_->Send(keys, write, {0}).ok());
  LayerReading reading(*reader_, keys);
  reading.is_following = true;
  const auto start = SteadyClock::now();

  const absl::Status status = reading.Get(Within(milliseconds(150)));
  const auto took = SteadyClock::now() - start;

  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(ErrorReason(status), "WRITER") << "the node is well";
  EXPECT_GE(took, milliseconds(140));
  EXPECT_LT(took, milliseconds(1150));
  EXPECT_EQ(reading.told(), LayersTold(0, 1, 2));
  EXPECT_EQ(reading.ResultOf(0), ReadResult::kMiss);
  // The writer is none the worse.
  ASSERT_TRUE(writer_->Send(keys, write, Range(1, kLayers)).ok());
  EXPECT_TRUE(writer_->Commit(keys, write).ok());
  // And what comes later does not reach the buffers.
  EXPECT_EQ(reading.bytes(0)[kLayerBytes], std::byte{0xEE});
}

TEST_P(LayerContractTest, WhoFollowsCanLeave) {
  const std::string keys = ChainKeys("leave", 2);
  writer_->Reserve(keys);
  std::stop_source cancel;
  Following following(
      *reader_, keys,
      {.deadline = InTime().deadline, .cancel = cancel.get_token()});
  std::this_thread::sleep_for(milliseconds(50));  // It waits by then.
  const auto start = SteadyClock::now();

  cancel.request_stop();
  following.Join();

  EXPECT_TRUE(absl::IsCancelled(following.status)) << following.status;
  EXPECT_LT(SteadyClock::now() - start, milliseconds(1000));
}

TEST_P(LayerContractTest, TheEndOfItsSessionEndsAFollower) {
  const std::string keys = ChainKeys("session", 2);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  ASSERT_TRUE(writer_->Send(keys, write, {0}).ok());
  ASSERT_TRUE(following.IsTold(1));

  node_->store().EndSession(reader_->session().id());
  EXPECT_TRUE(PollUntil([&] {
    node_->Tick();
    return following.is_over.load();
  }));
  following.Join();

  EXPECT_FALSE(following.status.ok());
  EXPECT_EQ(following.reading.ResultOf(0), ReadResult::kMiss);
  writer_->Abort(write);
}

TEST_P(LayerContractTest, FollowingNeedsAnOpenSession) {
  const std::string keys = ChainKeys("stranger", 1);
  const std::string write = writer_->Reserve(keys);
  node_->store().EndSession(reader_->session().id());
  LayerReading reading(*reader_, keys);
  reading.is_following = true;

  EXPECT_FALSE(reading.Get(Within(milliseconds(2000))).ok());

  EXPECT_TRUE(reading.told().empty());
}

TEST_P(LayerContractTest, ManyFollowersSeeTheSame) {
  const std::string keys = ChainKeys("crowd", 3);
  const std::string write = writer_->Reserve(keys);
  std::vector<std::unique_ptr<LayerPeer>> peers;
  std::vector<std::unique_ptr<Following>> crowd;
  for (int i = 0; i < 4; ++i) {
    peers.push_back(Join(absl::StrCat("follower", i)));
    for (int k = 0; k < 3; ++k) {
      crowd.push_back(std::make_unique<Following>(*peers.back(), keys));
    }
  }
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    ASSERT_TRUE(writer_->Send(keys, write, {layer}).ok());
  }
  for (const auto& one : crowd) ASSERT_TRUE(one->IsTold(kLayers));
  ASSERT_TRUE(writer_->Commit(keys, write).ok());

  for (const auto& one : crowd) {
    one->Join();
    ASSERT_TRUE(one->status.ok()) << one->status;
    EXPECT_EQ(one->reading.told(), LayersTold(0, kLayers, 3));
    EXPECT_EQ(one->reading.wrong(), 0u);
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(one->reading.IsRight(i));
  }
}

TEST_P(LayerContractTest, WhatWasCommittedCanBeEvictedOnceAllHaveLetGo) {
  const std::string keys = ChainKeys("evict", 3);
  ASSERT_TRUE(writer_->PutAll(keys).ok());
  EXPECT_EQ(node_->host().usage().pinned_bytes, 0u);
  EXPECT_EQ(node_->host().usage().staged_bytes, 0u);
}

TEST_P(LayerContractTest, PiecesThatDoNotFitAreRefused) {
  const std::string keys = ChainKeys("misfit", 1);
  const std::string write = writer_->Reserve(keys);
  ASSERT_TRUE(writer_->Send(keys, write, {1}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(writer_->Send(keys, write, {1})))
      << "twice";
  const std::vector<std::byte> bytes(kLayerBytes);
  std::vector<Checksum128> sums;
  const auto send = [&](uint32_t ordinal, uint32_t piece, size_t size) {
    const std::vector<transport::OutgoingPiece> pieces = {
        {.ordinal = ordinal,
         .piece = piece,
         .checksum_seed = 1,
         .bytes = std::span<const std::byte>(bytes).first(size)}};
    return writer_->transport().PutPieces(
        {.session_id = writer_->session().id(),
         .write_id = write,
         .piece_bytes = kLayerBytes,
         .pieces = pieces},
        InTime(), sums);
  };
  EXPECT_TRUE(absl::IsInvalidArgument(send(1, 2, kLayerBytes))) << "block";
  EXPECT_TRUE(absl::IsInvalidArgument(send(0, kLayers, kLayerBytes)));
  EXPECT_TRUE(absl::IsInvalidArgument(send(0, UINT32_MAX, kLayerBytes)));
  EXPECT_TRUE(absl::IsInvalidArgument(send(0, 3, kLayerBytes - 1))) << "short";
  EXPECT_TRUE(absl::IsInvalidArgument(writer_->Commit(keys, write)))
      << "incomplete";
}

INSTANTIATE_TEST_SUITE_P(
    All, LayerContractTest, ::testing::ValuesIn(testing::AllTransports()),
    [](const ::testing::TestParamInfo<testing::TransportCase>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace banyan
