// Goal: time that passes between the layers of a write is held against nobody
// who takes part: not against who waits for the next one, nor against a writer
// whose bytes keep coming. Who stops taking part is cut.
// Method: a node with a clock of the test's; streams by hand.
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "tests/integration/layers.h"
#include "tests/testing/bare_node.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using testing::ChainKeys;
using testing::InTime;
using testing::kLayerBytes;
using testing::kLayeredBytes;
using testing::kLayers;
using testing::kLayerSpace;
using testing::LayerPeer;
using testing::LayerReading;
using testing::PollUntil;

// More than a session, a write or a stream may be silent, of the defaults.
constexpr absl::Duration kStall = absl::Seconds(31);

class LayerWaitTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(const testing::BareNode::Options& options) {
    node_ = std::make_unique<testing::BareNode>(options);
    writer_ = Join("writer");
    reader_ = Join("reader");
  }
  void TearDown() override {
    writer_ = nullptr;
    reader_ = nullptr;
    EXPECT_TRUE(PollUntil([&] {
      const tiers::TierUsage usage = node_->host().usage();
      return usage.pinned_bytes == 0 && usage.staged_bytes == 0;
    }));
  }

  std::unique_ptr<LayerPeer> Join(const std::string& name) {
    return std::make_unique<LayerPeer>(node_->endpoint(),
                                       testing::AllTransports()[0], name);
  }

  // Time goes by for all but the sessions.
  void Pass(absl::Duration time) {
    node_->clock().Advance(time);
    EXPECT_TRUE(writer_->session().Beat() && reader_->session().Beat());
    node_->Tick();
  }

  bool IsWaiting() {
    return PollUntil(
        [&] { return node_->cache_service().watch().waiting() == 1; });
  }

  uint64_t Cut(const char* reason) {
    const std::string name =
        absl::StrCat("banyan_streams_cut_total{reason=\"", reason, "\"}");
    for (const auto& reading : node_->store().Stats()) {
      if (reading.name == name) return reading.value;
    }
    return UINT64_MAX;
  }

  // A read that follows, on a thread of its own.
  struct Following {
    Following(LayerPeer& peer, const std::string& keys) : reading(peer, keys) {
      reading.is_following = true;
      thread = std::thread([this] { status = reading.Get(InTime()); });
    }
    ~Following() {
      if (thread.joinable()) thread.join();
    }
    bool IsTold(size_t layers) const {
      return PollUntil([&] { return reading.layers_told() >= layers; });
    }

    LayerReading reading;
    absl::Status status;
    std::thread thread;
  };

  std::unique_ptr<testing::BareNode> node_;
  std::unique_ptr<LayerPeer> writer_;
  std::unique_ptr<LayerPeer> reader_;
};

TEST_F(LayerWaitTest, WaitingForAWriterIsNoStall) {
  testing::BareNode::Options options;
  options.store.writes.idle_timeout = absl::Hours(1);
  Start(options);
  const std::string keys = ChainKeys("thinking", 2);
  const std::string write = writer_->Reserve(keys);
  Following following(*reader_, keys);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const absl::Status sent = writer_->Send(keys, write, {layer});
    ASSERT_TRUE(sent.ok()) << layer << sent;
    ASSERT_TRUE(following.IsTold(layer + 1)) << layer;
    ASSERT_TRUE(IsWaiting()) << layer;
    Pass(kStall);
  }
  ASSERT_TRUE(writer_->Commit(keys, write).ok());
  following.thread.join();

  EXPECT_TRUE(following.status.ok()) << following.status;
  EXPECT_TRUE(following.reading.IsRight(0) && following.reading.IsRight(1));
}

TEST_F(LayerWaitTest, WhoTakesNothingOfWhatHasComeIsCut) {
  testing::BareNode::Options options;
  options.store.writes.idle_timeout = absl::Hours(1);
  Start(options);
  const std::string keys = ChainKeys("deaf", 200);  // More than gRPC keeps.
  const std::string write = writer_->Reserve(keys);
  pb::GetLayersRequest request;
  request.set_namespace_id(reader_->ns());
  request.mutable_run()->set_keys(keys);
  request.mutable_run()->set_key_bytes(32);
  request.set_follow(true);
  request.set_session_id(reader_->session().id());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(60));
  const auto stream = reader_->session().stub().GetLayers(&context, request);
  pb::GetLayersResponse frame;
  ASSERT_TRUE(stream->Read(&frame));
  ASSERT_TRUE(IsWaiting());
  std::vector<uint32_t> layers(kLayers);
  for (uint32_t i = 0; i < kLayers; ++i) layers[i] = i;
  ASSERT_TRUE(writer_->Send(keys, write, layers).ok());

  EXPECT_TRUE(PollUntil([&] {
    Pass(kStall);
    return node_->cache_service().watch().Sessions().empty();
  }));
  EXPECT_GE(Cut("stalled"), 1u);

  while (stream->Read(&frame)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  writer_->Abort(write);
}

TEST_F(LayerWaitTest, AWriteWhoseBytesKeepComingIsNotIdle) {
  const std::string keys = ChainKeys("long", 1);
  const std::string write = writer_->Reserve(keys);
  const auto payload = testing::PayloadOf(kLayerSpace, keys, 0, kLayeredBytes);
  const auto seeds = transport::ChecksumSeeds(writer_->BlocksOf(keys));
  Following following(*reader_, keys);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(60));
  pb::PutLayersResponse response;
  const auto stream = writer_->session().stub().PutLayers(&context, &response);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    pb::PutLayersRequest frame;
    if (layer == 0) {
      frame.set_session_id(writer_->session().id());
      frame.set_write_id(write);
    }
    const auto bytes =
        absl::MakeConstSpan(payload).subspan(layer * kLayerBytes, kLayerBytes);
    auto* const chunk = frame.add_chunks();
    chunk->set_offset(layer * kLayerBytes);
    chunk->set_data(bytes.data(), bytes.size());
    std::byte sum[kChecksumBytes];
    StoreChecksum(PieceChecksum(seeds[0], layer, bytes), sum);
    auto* const sums = frame.add_sums();
    sums->set_first_piece(layer);
    sums->set_checksums(sum, sizeof(sum));
    ASSERT_TRUE(stream->Write(frame)) << layer;
    ASSERT_TRUE(following.IsTold(layer + 1)) << layer;
    // Less than a write may be idle; in all, far more.
    Pass(absl::Seconds(20));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());

  EXPECT_TRUE(writer_->Commit(keys, write).ok());
  following.thread.join();
  EXPECT_TRUE(following.status.ok()) << following.status;
  EXPECT_TRUE(following.reading.IsRight(0));
}

}  // namespace
}  // namespace banyan
