// Goal: a node that is overloaded, draining, damaged or badly configured says
// so as documented, and a peer that stands still does not hold its pins.
// Method: the service on a BareNode with a fake clock, raw stubs; the program
// for what is decided before it serves. Rows of the design's table of bad input
// are named at the tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "google/rpc/error_details.pb.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/host_tier_peer.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using testing::BareNode;
using testing::ChainKeys;
using ::testing::HasSubstr;

constexpr size_t kBlocks = 4;
constexpr size_t kBlockBytes = 3 * kMiB;  // More than flow control lets pass.
constexpr char kSpace[] = "refusals";

template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  ADD_FAILURE() << "no " << Detail::descriptor()->name();
  return detail;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(),
                                   arguments);
}

pb::MatchPrefixRequest MatchOf(const std::string& ns, const std::string& keys) {
  pb::MatchPrefixRequest request;
  request.set_namespace_id(ns);
  request.mutable_run()->set_keys(keys);
  request.mutable_run()->set_key_bytes(32);
  return request;
}

class RefusalTest : public ::testing::Test {
 protected:
  void Start(const BareNode::Options& options) {
    node_ = std::make_unique<BareNode>(options);
    stub_ = pb::Cache::NewStub(ChannelTo(node_->endpoint()));
  }

  uint64_t Reading(std::string_view name) {
    for (const auto& reading : node_->store().Stats()) {
      if (reading.name == name) return reading.value;
    }
    return UINT64_MAX;
  }

  void StoreChain() {
    const auto client = Client::Connect({.endpoint = node_->endpoint()});
    ASSERT_TRUE(client.ok());
    const auto ns =
        (*client)->OpenNamespace(kSpace, testing::OpaqueFingerprint());
    ASSERT_TRUE(ns.ok()) << ns.status();
    ns_ = ns->id;
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < kBlocks; ++i) {
      payloads.push_back(testing::PayloadOf(kSpace, keys_, i, kBlockBytes));
    }
    const Completion put = (*client)->Put(
        ns_, {.keys = keys_}, 0, {payloads.begin(), payloads.end()}, {});
    ASSERT_TRUE(put.status.ok()) << put.status;
  }

  pb::GetBlocksRequest GetOf() const {
    pb::GetBlocksRequest request;
    auto* const by_keys = request.mutable_by_keys();
    by_keys->set_namespace_id(ns_);
    *by_keys->mutable_run() = MatchOf(ns_, keys_).run();
    by_keys->set_mode(pb::ACQUIRE_MODE_EACH);
    return request;
  }

  bool IsUnpinned() { return node_->host().usage().pinned_bytes == 0; }

  std::unique_ptr<BareNode> node_;
  std::unique_ptr<pb::Cache::Stub> stub_;
  const std::string keys_ = ChainKeys("chain", kBlocks);
  std::string ns_;
};

TEST_F(RefusalTest, ADrainingNodeSendsItsClientsOn) {  // Row 31.
  Start({});
  const std::string ns = testing::OpenOpaque(*stub_, "demo");
  node_->cache_service().Drain();

  grpc::ClientContext context;
  pb::MatchPrefixResponse response;
  const grpc::Status status =
      stub_->MatchPrefix(&context, MatchOf(ns, keys_), &response);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "node is draining; retry on another.");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "DRAINING");
  const auto delay = DetailOf<google::rpc::RetryInfo>(status).retry_delay();
  EXPECT_EQ(delay.seconds(), 0);
  EXPECT_LE(delay.nanos(), 1000000);
}

TEST_F(RefusalTest, AnOverloadedNodeSaysWhenToComeBack) {  // Row 32.
  Start({.service = {.calls_max = 1}});
  grpc::ClientContext open;
  pb::PutBlocksResponse unused;
  const auto writer = stub_->PutBlocks(&open, &unused);  // Stays open.

  grpc::Status status;
  ASSERT_TRUE(testing::PollUntil([&] {
    grpc::ClientContext context;
    pb::MatchPrefixResponse response;
    status = stub_->MatchPrefix(&context, MatchOf(std::string(16, 'n'), keys_),
                                &response);
    return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  }));

  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "overloaded; retry after 20 ms.");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "OVERLOADED");
  EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(status).retry_delay().nanos(),
            20000000);
  EXPECT_GE(Reading("banyan_admission_rejected_total{reason=\"overload\"}"),
            1u);
  open.TryCancel();
  EXPECT_FALSE(writer->Finish().ok());
}

TEST_F(RefusalTest, ACallWithoutDeadlineIsToldTheOneThatApplies) {  // Row 37.
  Start({});
  const std::string ns = testing::OpenOpaque(*stub_, "demo");
  const auto applied = [&](grpc::ClientContext& context) {
    pb::MatchPrefixResponse response;
    EXPECT_TRUE(
        stub_->MatchPrefix(&context, MatchOf(ns, keys_), &response).ok());
    const auto& metadata = context.GetServerInitialMetadata();
    const auto found = metadata.find("banyan-deadline-applied");
    return found == metadata.end()
               ? std::string()
               : std::string(found->second.data(), found->second.size());
  };
  grpc::ClientContext without;
  grpc::ClientContext with;
  with.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));

  EXPECT_EQ(applied(without), "30s");
  EXPECT_EQ(applied(with), "");
}

TEST_F(RefusalTest, ACallWithoutDeadlineIsCutAtTheOneThatApplies) {  // Row 37.
  Start({.service = {.streams = {.stall_timeout = absl::Hours(1)}}});
  StoreChain();
  grpc::ClientContext context;
  const auto reader = stub_->GetBlocks(&context, GetOf());
  pb::GetBlocksResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  ASSERT_FALSE(IsUnpinned());
  node_->clock().Advance(absl::Seconds(29));
  node_->Tick();
  ASSERT_FALSE(IsUnpinned());

  node_->clock().Advance(absl::Seconds(2));
  node_->Tick();

  EXPECT_TRUE(testing::PollUntil([this] { return IsUnpinned(); }));
  EXPECT_EQ(Reading("banyan_streams_cut_total{reason=\"deadline\"}"), 1u);
  while (reader->Read(&frame)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RefusalTest, AReaderThatStandsStillIsCut) {
  Start({});
  StoreChain();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::hours(1));
  const auto reader = stub_->GetBlocks(&context, GetOf());
  pb::GetBlocksResponse frame;
  ASSERT_TRUE(reader->Read(&frame));
  ASSERT_FALSE(IsUnpinned());

  node_->clock().Advance(absl::Seconds(31));
  node_->Tick();

  EXPECT_TRUE(testing::PollUntil([this] { return IsUnpinned(); }));
  EXPECT_GE(Reading("banyan_streams_cut_total{reason=\"stalled\"}"), 1u);
  while (reader->Read(&frame)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// The rule that a miss is no error holds: the call is OK, the block is not.
TEST_F(RefusalTest, ABlockThatFailsItsCheckIsNamedAndLeftOut) {  // Row 28.
  Start({});
  StoreChain();
  ASSERT_TRUE(testing::PollUntil([this] { return IsUnpinned(); }));
  const auto ns = node_->store().namespaces().FindById(ns_);
  ASSERT_TRUE(ns.ok());
  tiers::HostTierPeer peer(node_->host());
  peer.Payload((*ns)->unsalted(std::string(testing::KeyNo(keys_, 1))))[77] ^=
      std::byte{1};

  grpc::ClientContext context;
  const auto reader = stub_->GetBlocks(&context, GetOf());
  std::vector<int> statuses;
  pb::GetBlocksResponse frame;
  while (reader->Read(&frame)) {
    for (const auto& done : frame.done()) {
      EXPECT_EQ(done.ordinal(), statuses.size());
      statuses.push_back(done.status());
    }
  }

  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(statuses, ::testing::ElementsAre(
                            pb::BLOCK_STATUS_HIT, pb::BLOCK_STATUS_CHECKSUM,
                            pb::BLOCK_STATUS_HIT, pb::BLOCK_STATUS_HIT));
}

TEST(RefusalOfServerTest, MetadataOverItsLimitIsRefused) {  // Row 39.
  const auto server = server::Server::Start(testing::SmallConfig(8 * kMiB));
  ASSERT_TRUE(server.ok()) << server.status();
  // A connection each: the library may close one after a refusal.
  const auto call = [&](size_t bytes) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = pb::Admin::NewStub(grpc::CreateCustomChannel(
        testing::EndpointOf(**server), grpc::InsecureChannelCredentials(),
        arguments));
    grpc::ClientContext context;
    context.AddMetadata("note", std::string(bytes, 'n'));
    pb::VersionResponse response;
    return stub->Version(&context, {}, &response).error_code();
  };
  EXPECT_EQ(call(12 * kKiB), grpc::StatusCode::OK);
  EXPECT_EQ(call(20 * kKiB), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call(1), grpc::StatusCode::OK);
}

TEST(RefusalOfProgramTest, AnUnknownKeyOfTheFileEndsItWithTwo) {  // Row 48.
  const std::string path = ::testing::TempDir() + "/unknown_key.yaml";
  std::ofstream(path) << "max-keys: 4\nhost-byts: 1GiB\n";
  const testing::Output run =
      testing::RunProgram("banyan-server", {"--config", path});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.err, "banyan-server: " + path +
                         ":2: unknown key \"host-byts\". Did you mean "
                         "\"host-bytes\"?\n");
}

TEST(RefusalOfProgramTest, ABadSizeEndsItWithTwo) {  // Row 49.
  const testing::Output run =
      testing::RunProgram("banyan-server", {"--host-bytes=10 GBB"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.err,
            "banyan-server: --host-bytes: host-bytes: \"10 GBB\": want a size "
            "such as 4096, 64KiB or 10GiB.\n");
}

TEST(RefusalOfProgramTest, MoreMemoryThanThereIsEndsItWithTwo) {  // Row 50.
  const testing::Output run = testing::RunProgram(
      "banyan-server", {"--grpc-port=0", "--host-bytes=4096TiB"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, HasSubstr("banyan-server: host-bytes: "));
  EXPECT_THAT(run.err,
              HasSubstr(" available. Lower it, or pass --allow-overcommit.\n"));
}

}  // namespace
}  // namespace banyan
