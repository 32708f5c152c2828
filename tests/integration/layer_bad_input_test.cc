// Goal: whatever a client may send of layers, the answer is the documented
// code, reason and one-line message, with ErrorInfo of domain "banyan"; nothing
// is stored and the node goes on.
// Method: as tests/integration/bad_input_test.cc, whose kind of table this is.
#include <gtest/gtest.h>

#include "client/transport/transport.h"
#include "google/rpc/error_details.pb.h"
#include "tests/integration/layers.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using grpc::StatusCode;
using testing::ChainKeys;
using testing::kLayerBytes;
using testing::kLayeredBytes;
using testing::kLayers;
using testing::kLayerSpace;

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (detail.UnpackTo(&info) && info.domain() == "banyan") {
      return info.reason();
    }
  }
  return "";
}

void ExpectError(const grpc::Status& status, StatusCode code,
                 std::string_view reason, const std::string& message) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_EQ(status.error_message(), message);
  EXPECT_EQ(ReasonOf(status), reason);
}

class LayerBadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server::Config config = testing::SmallConfig(8 * kMiB);
    config.keys_max = 64;
    server_ = *server::Server::Start(config);
    session_ = std::make_unique<testing::RawSession>(
        testing::ChannelTo(*server_), "bad-layers");
    ns_ = testing::OpenLayered(stub());
    opaque_ = testing::OpenOpaque(stub(), "opaque");
    ASSERT_FALSE(ns_.empty() || opaque_.empty());
  }

  // The node still works, and holds nothing that a bad call left.
  void TearDown() override {
    EXPECT_EQ(server_->store().HostUsage().blocks, 0u);
    session_.reset();
    EXPECT_TRUE(
        testing::PollUntil([this] { return testing::IsIdle(*server_); }));
  }

  pb::Cache::Stub& stub() { return session_->stub(); }

  pb::ReserveRequest ReserveOf(const std::string& keys) const {
    auto request = testing::ReserveOf(session_->id(), ns_, keys, kLayeredBytes);
    request.set_by_layers(true);
    return request;
  }
  grpc::Status Reserve(const pb::ReserveRequest& request,
                       pb::ReserveResponse* response) {
    grpc::ClientContext context;
    return stub().Reserve(&context, request, response);
  }
  grpc::Status Reserve(const pb::ReserveRequest& request) {
    pb::ReserveResponse response;
    return Reserve(request, &response);
  }
  std::string ReserveId(const std::string& keys) {
    pb::ReserveResponse response;
    EXPECT_TRUE(Reserve(ReserveOf(keys), &response).ok());
    return response.write_id();
  }

  pb::GetLayersRequest GetOf(const std::string& keys) const {
    pb::GetLayersRequest request;
    request.set_namespace_id(ns_);
    request.mutable_run()->set_keys(keys);
    request.mutable_run()->set_key_bytes(32);
    return request;
  }
  grpc::Status Get(const pb::GetLayersRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(10));
    const auto reader = stub().GetLayers(&context, request);
    pb::GetLayersResponse frame;
    while (reader->Read(&frame)) {
    }
    return reader->Finish();
  }

  grpc::Status Put(const pb::PutLayersRequest& frame) {
    grpc::ClientContext context;
    pb::PutLayersResponse response;
    const auto writer = stub().PutLayers(&context, &response);
    writer->Write(frame);
    writer->WritesDone();
    return writer->Finish();
  }
  pb::PutLayersRequest FrameOf(const std::string& write_id) const {
    pb::PutLayersRequest frame;
    frame.set_session_id(session_->id());
    frame.set_write_id(write_id);
    return frame;
  }
  static void AddChunk(uint32_t ordinal, uint64_t offset, size_t bytes,
                       pb::PutLayersRequest& frame) {
    auto* const chunk = frame.add_chunks();
    chunk->set_ordinal(ordinal);
    chunk->set_offset(offset);
    chunk->set_data(std::string(bytes, 'x'));
  }
  static void AddSums(uint32_t ordinal, uint32_t piece, size_t bytes,
                      pb::PutLayersRequest& frame) {
    auto* const sums = frame.add_sums();
    sums->set_ordinal(ordinal);
    sums->set_first_piece(piece);
    sums->set_checksums(std::string(bytes, 's'));
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<testing::RawSession> session_;
  std::string ns_;
  std::string opaque_;
};

TEST_F(LayerBadInputTest, AReserveByLayersHasTheSizesOfTheLayout) {
  const std::string keys = ChainKeys("reserve", 2);
  auto request = ReserveOf(keys);
  request.set_payload_bytes(0, kLayeredBytes - 1);
  ExpectError(Reserve(request), StatusCode::INVALID_ARGUMENT, "LAYERS",
              "payload_bytes: 131071 in a write by layers, but the layout of "
              "the namespace has 131072.");
  request = ReserveOf(keys);
  request.set_piece_bytes(kLayerBytes / 2);
  ExpectError(Reserve(request), StatusCode::INVALID_ARGUMENT, "LAYERS",
              "piece_bytes: 8192 in a write by layers, but the layout of the "
              "namespace has 16384.");
  request = ReserveOf(keys);
  request.set_namespace_id(opaque_);
  ExpectError(Reserve(request), StatusCode::FAILED_PRECONDITION, "LAYOUT",
              "layout: opaque, so nothing is known of its bytes. Use a "
              "namespace with layout nhd or hnd.");
  request = ReserveOf(keys);
  request.set_session_id(std::string(16, 'x'));
  ExpectError(Reserve(request), StatusCode::FAILED_PRECONDITION, "SESSION",
              "session: unknown or ended. Open a new one.");

  // Without sizes it is told what they are.
  request = ReserveOf(keys);
  request.clear_payload_bytes();
  pb::ReserveResponse response;
  ASSERT_TRUE(Reserve(request, &response).ok());
  EXPECT_EQ(response.piece_bytes(), kLayerBytes);
  EXPECT_EQ(response.layers(), kLayers);
}

TEST_F(LayerBadInputTest, AReadNamesLayersThatAreThere) {
  auto request = GetOf(ChainKeys("get", 2));
  request.set_first_layer(kLayers);
  ExpectError(Get(request), StatusCode::OUT_OF_RANGE, "RANGE",
              "layers: 0 from 8 on, the namespace has 8.");
  request.set_first_layer(5);
  request.set_layer_count(4);
  ExpectError(Get(request), StatusCode::OUT_OF_RANGE, "RANGE",
              "layers: 4 from 5 on, the namespace has 8.");
  request.set_first_layer(UINT32_MAX);
  request.set_layer_count(UINT32_MAX);
  ExpectError(Get(request), StatusCode::OUT_OF_RANGE, "RANGE",
              "layers: 4294967295 from 4294967295 on, the namespace has 8.");
  request = GetOf("");
  ExpectError(Get(request), StatusCode::INVALID_ARGUMENT, "KEYS",
              "keys: empty. Send 1 to 64 keys.");
  request = GetOf(ChainKeys("get", 65));
  ExpectError(Get(request), StatusCode::INVALID_ARGUMENT, "KEYS",
              "keys: 65 given, limit 64. Split the batch.");
  request = GetOf(ChainKeys("get", 2));
  request.set_namespace_id(opaque_);
  ExpectError(Get(request), StatusCode::FAILED_PRECONDITION, "LAYOUT",
              "layout: opaque, so nothing is known of its bytes. Use a "
              "namespace with layout nhd or hnd.");
  request.set_namespace_id("no such");
  EXPECT_EQ(Get(request).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(LayerBadInputTest, FollowingNeedsASession) {
  auto request = GetOf(ChainKeys("follow", 2));
  request.set_follow(true);
  ExpectError(Get(request), StatusCode::FAILED_PRECONDITION, "SESSION",
              "session_id: missing. Following needs an open session.");
  request.set_session_id(std::string(16, 'x'));
  ExpectError(Get(request), StatusCode::FAILED_PRECONDITION, "SESSION",
              "session: unknown or ended. Open a new one.");
  request.set_session_id(session_->id());
  EXPECT_TRUE(Get(request).ok()) << "and finds nothing";
}

TEST_F(LayerBadInputTest, PiecesComeWholeAndOnce) {
  const std::string write_id = ReserveId(ChainKeys("put", 2));
  auto frame = FrameOf(write_id);
  AddChunk(2, 0, 10, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "ORDINAL",
              "chunks.ordinal: block 2 has no WRITE verdict. Send those only.");
  frame = FrameOf(write_id);
  AddChunk(0, kLayerBytes + 1, 10, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "OFFSET",
              "offset: 16385, expected 16384.");
  frame = FrameOf(write_id);
  AddChunk(0, kLayeredBytes, 10, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "OFFSET",
              "offset: 131072, expected 0.");
  frame = FrameOf(write_id);
  AddChunk(0, 3 * kLayerBytes, 2 * kLayerBytes, frame);
  // Where it is noticed depends on how the network cut the chunk.
  const grpc::Status too_long = Put(frame);
  EXPECT_EQ(too_long.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(too_long), "LENGTH");
  EXPECT_NE(too_long.error_message().find(
                ", piece 3 ends at 65536. Send each by itself."),
            std::string::npos)
      << too_long.error_message();
  // What was sent before stays.
  frame = FrameOf(write_id);
  AddChunk(0, 0, 100, frame);
  EXPECT_TRUE(Put(frame).ok());
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "OFFSET",
              "offset: 0, expected 100.");
}

TEST_F(LayerBadInputTest, ChecksumsAreOfPiecesThatHaveCome) {
  const std::string write_id = ReserveId(ChainKeys("sums", 1));
  auto frame = FrameOf(write_id);
  AddSums(0, 0, 15, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "CHECKSUMS",
              "sums.checksums: 15 bytes, need 16 for each piece.");
  frame = FrameOf(write_id);
  AddSums(0, 0, 0, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "CHECKSUMS",
              "sums.checksums: 0 bytes, need 16 for each piece.");
  frame = FrameOf(write_id);
  AddSums(0, 3, 16, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "PIECE",
              "sums: piece 3 of block 0 has not come, or was told of before.");
  frame = FrameOf(write_id);
  AddSums(0, kLayers, 16, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "PIECE",
              "sums: piece 8 of block 0 is none of this write's, or it is no "
              "write by layers.");
  frame = FrameOf(write_id);
  AddSums(0, UINT32_MAX, 16, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "PIECE",
              "sums.first_piece: 4294967295, limit 4096.");
  frame = FrameOf(write_id);
  AddSums(9, 0, 16, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "ORDINAL",
              "chunks.ordinal: block 9 has no WRITE verdict. Send those only.");

  // One that is wrong ends the write.
  frame = FrameOf(write_id);
  AddChunk(0, 0, kLayerBytes, frame);
  AddSums(0, 0, 16, frame);
  ExpectError(Put(frame), StatusCode::DATA_LOSS, "CHECKSUM",
              "checksum mismatch on arrival; nothing stored. Send again; check "
              "the network path.");
  ExpectError(Put(frame), StatusCode::FAILED_PRECONDITION, "WRITE",
              "write: unknown or ended. Reserve again.");
  EXPECT_EQ(testing::Reading(*server_, "banyan_open_writes"), 0u);
  EXPECT_EQ(testing::Reading(
                *server_,
                "banyan_verify_total{where=\"arrival\",result=\"checksum\"}"),
            1u);
}

TEST_F(LayerBadInputTest, EachWriteHasItsOwnCall) {
  auto frame = FrameOf(std::string(16, 'w'));
  ExpectError(Put(frame), StatusCode::FAILED_PRECONDITION, "WRITE",
              "write: unknown or ended. Reserve again.");
  auto plain = ReserveOf(ChainKeys("plain", 1));
  plain.set_by_layers(false);
  pb::ReserveResponse response;
  ASSERT_TRUE(Reserve(plain, &response).ok());
  frame = FrameOf(response.write_id());
  AddChunk(0, 0, 10, frame);
  ExpectError(Put(frame), StatusCode::INVALID_ARGUMENT, "ORDER",
              "write: not by layers. Use PutBlocks.");

  pb::PutBlocksRequest blocks;
  blocks.set_session_id(session_->id());
  blocks.set_write_id(ReserveId(ChainKeys("by-layers", 1)));
  blocks.add_chunks()->set_data("x");
  grpc::ClientContext context;
  pb::PutBlocksResponse put;
  const auto writer = stub().PutBlocks(&context, &put);
  writer->Write(blocks);
  writer->WritesDone();
  ExpectError(writer->Finish(), StatusCode::INVALID_ARGUMENT, "ORDER",
              "write: by layers. Use PutLayers.");
}

TEST_F(LayerBadInputTest, WhoFollowsKeepsNoWriterOut) {
  session_.reset();
  server::Config config = testing::SmallConfig(8 * kMiB);
  config.calls_max = 2;
  server_ = *server::Server::Start(config);
  session_ = std::make_unique<testing::RawSession>(testing::ChannelTo(*server_),
                                                   "followers");
  ns_ = testing::OpenLayered(stub());
  const std::string keys = ChainKeys("followed", 1);
  const std::string write_id = ReserveId(keys);
  pb::GetLayersRequest follow = GetOf(keys);
  follow.set_follow(true);
  follow.set_session_id(session_->id());

  std::array<grpc::ClientContext, 2> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<pb::GetLayersResponse>>>
      readers;
  pb::GetLayersResponse frame;
  for (grpc::ClientContext& context : contexts) {
    readers.push_back(stub().GetLayers(&context, follow));
    EXPECT_TRUE(readers.back()->Read(&frame)) << "it is being written";
  }
  EXPECT_EQ(ReasonOf(Get(follow)), "OVERLOADED");
  EXPECT_FALSE(ReserveId(ChainKeys("another", 1)).empty());
  pb::AbortRequest abort;
  abort.set_session_id(session_->id());
  abort.set_write_id(write_id);
  pb::AbortResponse aborted;
  grpc::ClientContext context;
  EXPECT_TRUE(stub().Abort(&context, abort, &aborted).ok());

  for (const auto& reader : readers) {
    while (reader->Read(&frame)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
  }
}

}  // namespace
}  // namespace banyan
