// Goal: whatever a client may send, the answer is the documented code, reason
// and one-line message, with ErrorInfo of domain "banyan"; nothing is stored
// and the node goes on.
// Method: a table of calls over the raw stubs, one row for each kind of bad
// input of the design's table that this door can receive. Rows 28, 31, 32, 37,
// 39 and 48 to 50 are in refusal_test.cc, random input in
// random_requests_test.cc. What nothing here can receive yet:
//
//   row                      because
//   5  parent not chained    keys are opaque; the client chains them
//   9-11, 18, 47             no certificates, roles, signatures, cluster id
//   26, 27  grants           a lease is known by a random id: row 25
//   29, 30  map, owner       one node
//   33  quota of a tenant    no tenants
//   35, 51, 52  disk         no tier on disk, no data directory
//   54  key file             no TLS
//   55  etcd                 none
//   56  UCX                  gRPC is the only door
#include <gmock/gmock.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include "client/transport/transport.h"
#include "google/rpc/error_details.pb.h"
#include "tests/integration/node.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using testing::ChainKeys;
using ::testing::HasSubstr;

constexpr size_t kMessageBytesMax = 300;

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::ErrorInfo info;
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info)) break;
  }
  return info;
}

template <typename Detail>
bool HasDetail(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return true;
  }
  return false;
}

// The detail that goes with the code.
bool HasDetailOfCode(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return HasDetail<google::rpc::BadRequest>(status);
    case grpc::StatusCode::FAILED_PRECONDITION:
      return HasDetail<google::rpc::PreconditionFailure>(status);
    case grpc::StatusCode::NOT_FOUND:
      return HasDetail<google::rpc::ResourceInfo>(status);
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return HasDetail<google::rpc::QuotaFailure>(status);
    default:
      return HasDetail<google::rpc::ErrorInfo>(status);
  }
}

void ExpectError(const grpc::Status& status, grpc::StatusCode code,
                 std::string_view reason, const std::string& message) {
  EXPECT_EQ(status.error_code(), code) << status.error_message();
  EXPECT_EQ(status.error_message(), message);
  EXPECT_LE(status.error_message().size(), kMessageBytesMax);
  EXPECT_EQ(InfoOf(status).reason(), reason);
  EXPECT_EQ(InfoOf(status).domain(), "banyan");
  EXPECT_TRUE(HasDetailOfCode(status)) << status.error_message();
  EXPECT_EQ(status.error_message().find('\n'), std::string::npos);
}

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server::Config config = testing::SmallConfig(8 * kMiB);
    config.keys_max = 64;
    config.block_bytes_max = 4 * kMiB;
    config.lease_ttl_max = absl::Seconds(60);
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = testing::ChannelTo(*server_);
    session_ = std::make_unique<testing::RawSession>(channel_, "bad-input");
    admin_ = pb::Admin::NewStub(channel_);
    ns_ = testing::OpenOpaque(stub(), "demo");
    ASSERT_FALSE(ns_.empty());
  }

  // The node still works, and holds nothing that a bad call left.
  void TearDown() override {
    grpc::ClientContext context;
    pb::VersionResponse response;
    EXPECT_TRUE(admin_->Version(&context, {}, &response).ok());
    session_.reset();
    EXPECT_TRUE(
        testing::PollUntil([this] { return testing::IsIdle(*server_); }));
  }

  pb::Cache::Stub& stub() { return session_->stub(); }

  pb::MatchPrefixRequest MatchOf(const std::string& keys) const {
    pb::MatchPrefixRequest request;
    request.set_namespace_id(ns_);
    request.mutable_run()->set_keys(keys);
    request.mutable_run()->set_key_bytes(32);
    return request;
  }

  pb::ReserveRequest ReserveOf(const std::string& keys, uint64_t bytes) const {
    return testing::ReserveOf(session_->id(), ns_, keys, bytes);
  }

  pb::AcquireRequest AcquireOf(const std::string& keys) const {
    pb::AcquireRequest request;
    request.set_session_id(session_->id());
    request.set_namespace_id(ns_);
    request.mutable_run()->set_keys(keys);
    request.mutable_run()->set_key_bytes(32);
    request.set_mode(pb::ACQUIRE_MODE_LONGEST_PREFIX);
    return request;
  }

  grpc::Status Match(const pb::MatchPrefixRequest& request) {
    grpc::ClientContext context;
    pb::MatchPrefixResponse response;
    return stub().MatchPrefix(&context, request, &response);
  }

  grpc::Status Open(const std::string& name, const Fingerprint& fingerprint) {
    pb::OpenNamespaceRequest request;
    request.set_name(name);
    client::SetFingerprint(fingerprint, request.mutable_fingerprint());
    return Open(request);
  }

  grpc::Status Open(const pb::OpenNamespaceRequest& request) {
    grpc::ClientContext context;
    pb::OpenNamespaceResponse response;
    return stub().OpenNamespace(&context, request, &response);
  }

  grpc::Status Reserve(const pb::ReserveRequest& request,
                       pb::ReserveResponse* response) {
    grpc::ClientContext context;
    response->Clear();
    return stub().Reserve(&context, request, response);
  }

  grpc::Status Reserve(const pb::ReserveRequest& request) {
    pb::ReserveResponse response;
    return Reserve(request, &response);
  }

  grpc::Status Acquire(const pb::AcquireRequest& request,
                       pb::AcquireResponse* response) {
    grpc::ClientContext context;
    return stub().Acquire(&context, request, response);
  }

  std::string ReserveId(const std::string& keys, uint64_t bytes) {
    pb::ReserveResponse response;
    EXPECT_TRUE(Reserve(ReserveOf(keys, bytes), &response).ok());
    return response.write_id();
  }

  grpc::Status Send(const std::string& write_id, uint32_t ordinal,
                    uint64_t offset, std::span<const std::byte> bytes) {
    grpc::ClientContext context;
    pb::PutBlocksResponse response;
    const auto writer = stub().PutBlocks(&context, &response);
    pb::PutBlocksRequest frame;
    frame.set_session_id(session_->id());
    frame.set_write_id(write_id);
    auto* const chunk = frame.add_chunks();
    chunk->set_ordinal(ordinal);
    chunk->set_offset(offset);
    chunk->set_data(bytes.data(), bytes.size());
    writer->Write(frame);
    writer->WritesDone();
    return writer->Finish();
  }

  // A commit of block 0 of the chain with the checksums of these bytes.
  pb::CommitRequest CommitOf(const std::string& write_id,
                             const std::string& keys,
                             std::span<const std::byte> bytes) const {
    pb::CommitRequest request;
    request.set_session_id(session_->id());
    request.set_write_id(write_id);
    const auto seeds = transport::ChecksumSeeds(
        {.namespace_id = ns_,
         .salt = "",
         .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}});
    request.add_blocks()->set_checksums(
        transport::PackedChecksums(seeds[0], bytes, bytes.size()));
    return request;
  }

  grpc::Status Commit(const pb::CommitRequest& request,
                      pb::CommitResponse* response) {
    grpc::ClientContext context;
    response->Clear();
    return stub().Commit(&context, request, response);
  }

  // Stores a one-block chain; its write id.
  std::string Store(const std::string& keys, size_t bytes) {
    const auto payload = testing::PayloadOf("demo", keys, 0, bytes);
    const std::string write_id = ReserveId(keys, bytes);
    EXPECT_TRUE(Send(write_id, 0, 0, payload).ok());
    pb::CommitResponse response;
    EXPECT_TRUE(Commit(CommitOf(write_id, keys, payload), &response).ok());
    return write_id;
  }

  grpc::Status Get(const pb::GetBlocksRequest& request) {
    grpc::ClientContext context;
    const auto reader = stub().GetBlocks(&context, request);
    pb::GetBlocksResponse frame;
    while (reader->Read(&frame)) {
    }
    return reader->Finish();
  }

  std::unique_ptr<server::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<testing::RawSession> session_;
  std::unique_ptr<pb::Admin::Stub> admin_;
  std::string ns_;
};

TEST_F(BadInputTest, KeysAreChecked) {  // Rows 1, 2, 3, 23.
  ExpectError(Match(MatchOf("")), grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "keys: empty. Send 1 to 64 keys.");
  ExpectError(Match(MatchOf(ChainKeys("many", 65))),
              grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "keys: 65 given, limit 64. Split the batch.");
  ExpectError(Match(MatchOf(std::string(31, 'k'))),
              grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "keys: 31 bytes are no multiple of key_bytes 32.");
  for (const uint32_t key_bytes : {0u, 65u}) {
    auto request = MatchOf(std::string(65, 'k'));
    request.mutable_run()->set_key_bytes(key_bytes);
    ExpectError(Match(request), grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
                absl::StrCat("key_bytes: ", key_bytes, ", need 1 to 64."));
  }
  auto request = MatchOf(ChainKeys("far", 2));
  request.mutable_run()->set_first_block(UINT32_MAX);
  ExpectError(Match(request), grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "first_block: first_block + keys overflows.");
  request.mutable_run()->set_first_block(34);
  ExpectError(Match(request), grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "lead: 0 bytes, need 2 keys before block 34 (groups have 32 "
              "blocks).");
}

TEST_F(BadInputTest, AKeyMayStandOnceInAPublish) {  // Row 4.
  const std::string keys = ChainKeys("twice", 3);
  ExpectError(Reserve(ReserveOf(keys + keys.substr(32, 32), 64)),
              grpc::StatusCode::INVALID_ARGUMENT, "KEYS",
              "blocks[3]: same key as blocks[1].");
}

TEST_F(BadInputTest, NamespacesAreChecked) {  // Rows 6, 7, 12, 13, 42.
  auto request = MatchOf(ChainKeys("a", 1));
  request.set_namespace_id(std::string(16, 'n'));
  const grpc::Status unknown = Match(request);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(InfoOf(unknown).reason(), "NAMESPACE");
  EXPECT_THAT(unknown.error_message(),
              HasSubstr("does not exist. See: banyanctl namespace list."));

  grpc::ClientContext context;
  pb::DescribeNamespaceRequest describe;
  describe.set_name("prod-x");
  pb::DescribeNamespaceResponse described;
  ExpectError(admin_->DescribeNamespace(&context, describe, &described),
              grpc::StatusCode::NOT_FOUND, "NAMESPACE",
              "namespace \"prod-x\" does not exist. See: banyanctl namespace "
              "list.");
  ExpectError(Open("a/b", testing::OpaqueFingerprint()),
              grpc::StatusCode::INVALID_ARGUMENT, "NAMESPACE_NAME",
              "namespace: \"a/b\": only a-z 0-9 - _ ., 1-63 chars.");

  Fingerprint other = testing::OpaqueFingerprint();
  other.revision = "r2";
  const grpc::Status model = Open("demo", other);
  EXPECT_EQ(model.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(InfoOf(model).reason(), "MODEL");
  EXPECT_THAT(model.error_message(),
              HasSubstr("model: revision differs from namespace \"demo\""));
  other = testing::OpaqueFingerprint();
  other.tp_size = 4;
  const grpc::Status layout = Open("demo", other);
  EXPECT_EQ(layout.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(InfoOf(layout).reason(), "LAYOUT");
  EXPECT_THAT(layout.error_message(), HasSubstr("fields: tp_size"));

  pb::OpenNamespaceRequest enums;
  enums.set_name("enums");
  ExpectError(Open(enums), grpc::StatusCode::INVALID_ARGUMENT, "FINGERPRINT",
              "layout: 0 is not a known layout.");
  enums.mutable_fingerprint()->set_data_type(static_cast<pb::DataType>(77));
  ExpectError(Open(enums), grpc::StatusCode::INVALID_ARGUMENT, "FINGERPRINT",
              "data_type: 77 is not a known type.");
}

TEST_F(BadInputTest, SaltsAreChecked) {  // Row 8.
  auto request = MatchOf(ChainKeys("a", 1));
  request.set_salt(std::string(300, 's'));
  ExpectError(Match(request), grpc::StatusCode::INVALID_ARGUMENT, "SALT",
              "cache_salt: 300 bytes, limit 256.");
  for (const char c : {'\0', '\n', '\x7f'}) {
    request.set_salt(std::string("a") + c);
    ExpectError(Match(request), grpc::StatusCode::INVALID_ARGUMENT, "SALT",
                "cache_salt: has a control byte. Use printable bytes.");
  }
}

TEST_F(BadInputTest, SizesAreChecked) {  // Rows 14, 15.
  const std::string keys = ChainKeys("size", 3);
  ExpectError(Reserve(ReserveOf(keys, 0)), grpc::StatusCode::INVALID_ARGUMENT,
              "SIZE", "size: 0. Blocks hold at least 1 byte.");
  ExpectError(Reserve(ReserveOf(keys, 5 * kMiB)),
              grpc::StatusCode::INVALID_ARGUMENT, "SIZE",
              "size: 5 MiB, limit 4 MiB (max-block-bytes).");
  const grpc::Status most = Reserve(ReserveOf(keys, UINT64_MAX));
  EXPECT_EQ(most.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  auto two = ReserveOf(keys, 64);
  two.add_payload_bytes(64);
  ExpectError(Reserve(two), grpc::StatusCode::INVALID_ARGUMENT, "SIZE",
              "payload_bytes: 2 sizes for 3 keys. Send one, or one a key.");
  auto durable = ReserveOf(keys, 64);
  durable.set_durability(static_cast<pb::Durability>(9));
  ExpectError(Reserve(durable), grpc::StatusCode::INVALID_ARGUMENT,
              "DURABILITY",
              "durability: 9 is not a known one. Use MEMORY or DURABLE.");
  durable.set_durability(pb::DURABILITY_DURABLE);
  ExpectError(Reserve(durable), grpc::StatusCode::FAILED_PRECONDITION,
              "DURABILITY",
              "durability: this node has no SSD. Start it with --ssd-dir, or "
              "ask for memory.");
}

TEST_F(BadInputTest, ChunksComeInOrderAndFit) {  // Rows 22, 23.
  const std::string keys = ChainKeys("chunks", 1);
  const auto bytes = testing::PayloadOf("demo", keys, 0, 128);
  const std::string write_id = ReserveId(keys, 100);
  const auto part = std::span(bytes).first(50);
  ExpectError(Send(write_id, 0, 8, part), grpc::StatusCode::INVALID_ARGUMENT,
              "OFFSET", "offset: 8, expected 0.");
  ASSERT_TRUE(Send(write_id, 0, 0, part).ok());
  ExpectError(Send(write_id, 0, 0, part), grpc::StatusCode::INVALID_ARGUMENT,
              "OFFSET", "offset: 0, expected 50.");
  ExpectError(Send(write_id, 0, 50, bytes), grpc::StatusCode::INVALID_ARGUMENT,
              "LENGTH", "data: ends at 178, block 0 has 100 bytes.");
  ExpectError(Send(write_id, 0, UINT64_MAX, part),
              grpc::StatusCode::INVALID_ARGUMENT, "FRAME",
              "frame: not a message of this kind. Check the client.");
  ExpectError(Send(write_id, 7, 0, part), grpc::StatusCode::INVALID_ARGUMENT,
              "ORDINAL",
              "chunks.ordinal: block 7 has no WRITE verdict. Send those only.");
}

TEST_F(BadInputTest, ACommitNeedsAllBytesAndTheirChecksums) {  // Rows 16, 17.
  const std::string keys = ChainKeys("commit", 1);
  const auto bytes = testing::PayloadOf("demo", keys, 0, 128);
  pb::CommitResponse response;
  std::string write_id = ReserveId(keys, 128);
  ASSERT_TRUE(Send(write_id, 0, 0, std::span(bytes).first(100)).ok());
  ExpectError(Commit(CommitOf(write_id, keys, bytes), &response),
              grpc::StatusCode::INVALID_ARGUMENT, "SIZE",
              "size: said 128, received 100. Publish dropped.");
  write_id = ReserveId(keys, 128);
  ASSERT_TRUE(Send(write_id, 0, 0, bytes).ok());
  auto flipped = bytes;
  flipped[77] ^= std::byte{4};
  ExpectError(Commit(CommitOf(write_id, keys, flipped), &response),
              grpc::StatusCode::DATA_LOSS, "CHECKSUM",
              "checksum mismatch on arrival; nothing stored. Send again; check "
              "the network path.");
  write_id = ReserveId(keys, 128);
  auto odd = CommitOf(write_id, keys, bytes);
  odd.mutable_blocks(0)->set_checksums("15 bytes, wrong");
  ExpectError(Commit(odd, &response), grpc::StatusCode::INVALID_ARGUMENT,
              "CHECKSUMS",
              "blocks[0].checksums: 15 bytes, need 16 for each piece.");
  EXPECT_EQ(server_->store().HostUsage().blocks, 0u);
}

TEST_F(BadInputTest, UnknownWritesSessionsAndLeasesAreNamed) {  // Rows 19, 25.
  const std::string keys = ChainKeys("unknown", 1);
  const auto bytes = testing::PayloadOf("demo", keys, 0, 64);
  const std::string id(16, 'x');
  pb::CommitResponse committed;
  ExpectError(Commit(CommitOf(id, keys, bytes), &committed),
              grpc::StatusCode::FAILED_PRECONDITION, "WRITE",
              "write: unknown or ended. Reserve again.");
  ExpectError(Send(id, 0, 0, bytes), grpc::StatusCode::FAILED_PRECONDITION,
              "WRITE", "write: unknown or ended. Reserve again.");
  auto reserve = ReserveOf(keys, 64);
  reserve.set_session_id(id);
  ExpectError(Reserve(reserve), grpc::StatusCode::FAILED_PRECONDITION,
              "SESSION", "session: unknown or ended. Open a new one.");
  pb::GetBlocksRequest get;
  ExpectError(Get(get), grpc::StatusCode::INVALID_ARGUMENT, "SOURCE",
              "source: missing. Send by_keys or by_lease.");
  get.mutable_by_lease()->set_session_id(session_->id());
  get.mutable_by_lease()->set_lease_id(id);
  ExpectError(Get(get), grpc::StatusCode::FAILED_PRECONDITION, "LEASE",
              "lease: unknown or ended. Look the keys up again.");
}

TEST_F(BadInputTest, ACommitMayBeRepeatedButNotChanged) {  // Rows 20, 21.
  const std::string keys = ChainKeys("again", 1);
  const auto bytes = testing::PayloadOf("demo", keys, 0, 64);
  const std::string write_id = Store(keys, 64);
  pb::CommitResponse response;
  ASSERT_TRUE(Commit(CommitOf(write_id, keys, bytes), &response).ok());
  EXPECT_TRUE(response.already_committed());
  auto other = bytes;
  other[0] ^= std::byte{1};
  const grpc::Status status =
      Commit(CommitOf(write_id, keys, other), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(InfoOf(status).reason(), "CONTENT");
  EXPECT_THAT(status.error_message(),
              HasSubstr("write: committed with different content (checksum "));
}

TEST_F(BadInputTest, APieceRangeEndsWithTheBlock) {  // Row 24.
  const std::string keys = ChainKeys("range", 1);
  Store(keys, 64);
  pb::GetBlocksRequest get;
  get.mutable_by_keys()->set_namespace_id(ns_);
  *get.mutable_by_keys()->mutable_run() = MatchOf(keys).run();
  get.mutable_by_keys()->set_mode(pb::ACQUIRE_MODE_EACH);
  EXPECT_TRUE(Get(get).ok());
  get.set_piece_count(3);
  ExpectError(Get(get), grpc::StatusCode::OUT_OF_RANGE, "RANGE",
              "range: ends at piece 3, block has 1.");
  get.set_first_piece(UINT32_MAX);
  get.set_piece_count(UINT32_MAX);
  ExpectError(Get(get), grpc::StatusCode::OUT_OF_RANGE, "RANGE",
              "range: ends at piece 8589934590, block has 1.");
}

TEST_F(BadInputTest, AFullTierIsAVerdict) {  // Row 34.
  const std::string stored = ChainKeys("pinned", 1);
  Store(stored, 3 * kMiB);
  pb::AcquireResponse lease;
  ASSERT_TRUE(Acquire(AcquireOf(stored), &lease).ok());
  ASSERT_FALSE(lease.lease_id().empty());
  pb::ReserveResponse response;
  ASSERT_TRUE(
      Reserve(ReserveOf(ChainKeys("more", 4), 3 * kMiB), &response).ok());
  ASSERT_EQ(response.verdicts_size(), 4);
  EXPECT_EQ(response.verdicts(3), pb::WRITE_VERDICT_NO_CAPACITY);
  EXPECT_EQ(server_->store().HostUsage().blocks, 1u);
}

TEST_F(BadInputTest, APassedDeadlineIsSaid) {  // Row 36.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() -
                       std::chrono::seconds(1));
  pb::MatchPrefixResponse response;
  EXPECT_EQ(stub()
                .MatchPrefix(&context, MatchOf(ChainKeys("a", 1)), &response)
                .error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(BadInputTest, LeaseTimesAreCheckedAndClamped) {  // Rows 42, 43, 44.
  const std::string keys = ChainKeys("ttl", 1);
  Store(keys, 64);
  pb::AcquireResponse response;
  auto request = AcquireOf(keys);
  request.mutable_ttl()->set_seconds(-5);
  ExpectError(Acquire(request, &response), grpc::StatusCode::INVALID_ARGUMENT,
              "TTL", "ttl: -5s; allowed 100ms to 24h.");
  request.mutable_ttl()->set_seconds(INT64_MAX);
  ExpectError(Acquire(request, &response), grpc::StatusCode::INVALID_ARGUMENT,
              "TTL", "ttl: out of range; allowed 100ms to 24h.");
  request.mutable_ttl()->set_seconds(3600);
  ASSERT_TRUE(Acquire(request, &response).ok());
  EXPECT_EQ(response.ttl().seconds(), 60);
  for (const int mode : {0, 9}) {
    request.set_mode(static_cast<pb::AcquireMode>(mode));
    ExpectError(Acquire(request, &response), grpc::StatusCode::INVALID_ARGUMENT,
                "MODE", absl::StrCat("mode: ", mode, " is not a known mode."));
  }
}

// The status that a session ends with after this first message.
grpc::Status SessionEnd(pb::Cache::Stub& stub,
                        const pb::SessionRequest& request) {
  grpc::ClientContext context;
  const auto stream = stub.Session(&context);
  stream->Write(request);
  pb::SessionResponse response;
  while (stream->Read(&response)) {
  }
  return stream->Finish();
}

TEST_F(BadInputTest, SessionsStartWithAFittingHello) {  // Row 45.
  pb::SessionRequest request;
  request.mutable_heartbeat();
  ExpectError(SessionEnd(stub(), request), grpc::StatusCode::INVALID_ARGUMENT,
              "HELLO", "hello: missing. A session starts with it.");
  auto& hello = *request.mutable_hello();
  hello.set_client_id("new");
  hello.set_protocol_min(2);
  hello.set_protocol_max(3);
  ExpectError(SessionEnd(stub(), request),
              grpc::StatusCode::FAILED_PRECONDITION, "PROTOCOL",
              "client protocol 2-3, server speaks 1. Upgrade the older one.");
  hello.set_protocol_min(1);
  hello.set_client_id(std::string(129, 'c'));
  ExpectError(SessionEnd(stub(), request), grpc::StatusCode::INVALID_ARGUMENT,
              "CLIENT_ID", "client_id: 129 bytes, need 1 to 128.");
}

TEST_F(BadInputTest, AnEmptySelectorDeletesNothing) {  // Row 46.
  Store(ChainKeys("kept", 1), 64);
  grpc::ClientContext context;
  pb::DeleteRequest request;
  request.set_namespace_name("demo");
  pb::DeleteResponse response;
  ExpectError(admin_->Delete(&context, request, &response),
              grpc::StatusCode::INVALID_ARGUMENT, "SELECTOR",
              "selector: empty would mean everything. Name the keys.");
  pb::TrimRequest trim;
  trim.set_to_bytes(0);
  grpc::ClientContext trim_context;
  pb::TrimResponse trimmed;
  ExpectError(admin_->Trim(&trim_context, trim, &trimmed),
              grpc::StatusCode::INVALID_ARGUMENT, "SELECTOR",
              "selector: name one namespace, or set all_namespaces. Not both.");
  trim.set_all_namespaces(true);
  trim.mutable_older_than()->set_seconds(-1);
  grpc::ClientContext negative_context;
  ExpectError(admin_->Trim(&negative_context, trim, &trimmed),
              grpc::StatusCode::INVALID_ARGUMENT, "SELECTOR",
              "older_than: negative would mean everything. Send 0s.");
  EXPECT_EQ(server_->store().HostUsage().blocks, 1u);
}

// Input is echoed escaped and cut, in one line.
TEST_F(BadInputTest, WhatIsEchoedIsShortAndPrintable) {
  const grpc::Status status =
      Open("a\nb\x01" + std::string(5000, 'x'), testing::OpaqueFingerprint());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("a\\nb\\x01xxx"));
  EXPECT_THAT(status.error_message(), ::testing::Not(HasSubstr("\n")));
  EXPECT_LE(status.error_message().size(), 150u);
  EXPECT_TRUE(HasDetailOfCode(status));
}

TEST_F(BadInputTest, UnknownMethodsAndGarbageAreRefused) {  // Rows 38, 40, 41.
  const auto call = [this](const char* name, const std::string& text) {
    const grpc::Slice slice(text);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    const grpc::internal::RpcMethod method(
        name, grpc::internal::RpcMethod::NORMAL_RPC);
    return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer,
                                             grpc::ByteBuffer,
                                             grpc::ByteBuffer>(
               channel_.get(), method, &context, request, &response)
        .error_code();
  };
  EXPECT_EQ(call("/banyan.v1.Cache/Nothing", ""),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(call("/banyan.v9.Cache/MatchPrefix", ""),
            grpc::StatusCode::UNIMPLEMENTED);
  // The library's answer to what it cannot parse.
  EXPECT_EQ(call("/banyan.v1.Cache/MatchPrefix", "\xff\xff\xff not protobuf"),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(call("/banyan.v1.Cache/MatchPrefix", std::string(5 * kMiB, 'a')),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST(BadConfigTest, AnAddressThatIsNotLoopbackIsRefused) {
  server::Config config = testing::SmallConfig(8 * kMiB);
  config.bind = "0.0.0.0";
  const absl::Status status = server::Server::Start(config).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(status.message(),
            "bind: 0.0.0.0 is not loopback and there is no TLS. Bind 127.0.0.1,"
            " or pass --insecure-i-understand.");
}

TEST(BadConfigTest, ATakenPortIsAFaultOfTheEnvironment) {  // Row 53.
  const auto first = server::Server::Start(testing::SmallConfig(8 * kMiB));
  ASSERT_TRUE(first.ok()) << first.status();
  server::Config config = testing::SmallConfig(8 * kMiB);
  config.grpc_port = static_cast<uint16_t>((*first)->grpc_port());
  const absl::Status status = server::Server::Start(config).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(": in use, or no"));
}

}  // namespace
}  // namespace banyan
