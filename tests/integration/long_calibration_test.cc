// Goal: calibrations of large models, which are longer than a message may be, get
// into a node, out of it and over a restart; one that is too long, or too many of
// them, are refused with a word, and cost no memory.
// Method: made-up calibrations of the size of real ones, a node in this process
// with a disk, and messages by hand.
#include "tests/testing/long_calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "cache_server/engine/namespace_codec.h"
#include "client/cpp/client.h"
#include "client/transport/calibration_parts.h"
#include "client/transport/grpc_status.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using ::testing::HasSubstr;

constexpr char kSpec[] = "cold2:weighted";
constexpr testing::CalibratedShape kShort{.layers = 8};  // Still 4 MiB.
constexpr testing::CalibratedShape kReal =
    testing::kIsSanitized ? kShort : testing::CalibratedShape{};

using Block = std::vector<std::byte>;

Block SomeBlock(const Fingerprint& fingerprint) {
  Block block;
  for (uint32_t layer = 0; layer < fingerprint.layers; ++layer) {
    const Block part = testing::SomeLayer(*KvLayout::Of(fingerprint),
                                          codec::ElementType::kFp16, layer);
    block.insert(block.end(), part.begin(), part.end());
  }
  return block;
}

class LongCalibrationTest : public ::testing::Test {
 protected:
  void Start(uint64_t calibration_bytes_max = 512 * kMiB) {
    client_ = nullptr;
    server_ = nullptr;
    server::Config config = testing::SmallConfig();
    config.ssd_dirs = {directory_.path()};
    config.ssd_bytes = 128 * kMiB;
    config.ssd_segment_bytes = 8 * kMiB;
    config.calibration_bytes_max = calibration_bytes_max;
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = Connect();
  }

  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect({.endpoint = testing::EndpointOf(*server_),
                                   .lookup_timeout_ms = 10000,
                                   .load_timeout_ms = 60000,
                                   .transport = TransportKind::kGrpc});
    EXPECT_TRUE((*client)->WaitReady(5000).ok());
    return *std::move(client);
  }

  absl::Status Open(std::string_view name, const Fingerprint& fingerprint,
                    const NamespaceOptions& options) {
    return client_->OpenNamespace(name, fingerprint, options).status();
  }

  engine::NamespacePtr Find(absl::string_view name) {
    const auto found = server_->store().namespaces().FindByName(name);
    return found.ok() ? *found : nullptr;
  }

  // Returns after the namespace is on the disk.
  void AwaitNote(absl::string_view name) {
    const std::string id = Find(name)->id;
    EXPECT_TRUE(testing::PollUntil([&] {
      bool is_there = false;
      const absl::Status status = server_->store().cold()->tier().ForEachNote(
          [&](absl::string_view key, absl::string_view text) {
            is_there |= key == id && !text.empty();
            return absl::OkStatus();
          });
      return status.ok() && is_there;
    }));
  }

  testing::TempDirectory directory_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(LongCalibrationTest, OfARealModelIsBroughtHadAndKept) {
  const std::string calibration = testing::LongCalibration(kReal);
  ASSERT_GT(calibration.size(), transport::kWholeCalibrationBytesMax);
  Fingerprint fingerprint = testing::FingerprintOf(kReal, kSpec);
  const Block block = SomeBlock(fingerprint);
  const std::string keys = testing::ChainKeys("chain", 1);
  Start();
  const auto opened =
      client_->OpenNamespace("real", fingerprint, {.calibration = calibration});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(opened->is_created);
  EXPECT_EQ(Find("real")->calibration_bytes(), calibration);
  const std::vector<std::span<const std::byte>> payloads{block};
  ASSERT_TRUE(client_
                  ->Put(opened->id, {.keys = keys}, 0, payloads,
                        {.durability = Durability::kDurable})
                  .status.ok());

  // Who comes later names it, before a restart and after.
  fingerprint = Find("real")->fingerprint;
  std::vector<Block> reads;
  for (const bool is_again : {false, true}) {
    if (is_again) Start();
    const auto reader = Connect();
    const auto found = reader->OpenNamespace("real", fingerprint);
    ASSERT_TRUE(found.ok()) << found.status() << ", again " << is_again;
    EXPECT_FALSE(found->is_created);
    Block read(block.size());
    const Completion got = reader->Get(found->id, {.keys = keys}, 0,
                                       std::vector<std::span<std::byte>>{read});
    ASSERT_EQ(got.hit_blocks, 1u) << got.status;
    reads.push_back(std::move(read));
  }
  EXPECT_EQ(reads[0], reads[1]);
  const auto was = testing::Values(codec::ElementType::kFp16, block);
  const auto is = testing::Values(codec::ElementType::kFp16, reads[0]);
  double error = 0;
  double squares = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    error += (was[i] - is[i]) * (was[i] - is[i]);
    squares += was[i] * was[i];
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(error, squares * 0.2);
}

TEST_F(LongCalibrationTest, OfAPolicyIsKeptToo) {
  const std::string calibration = testing::LongCalibration(kShort);
  const Fingerprint fingerprint = testing::FingerprintOf(kShort);
  Start();
  const NamespaceOptions policy{.calibration = calibration, .ssd_codec = kSpec};
  ASSERT_EQ(Open("policy", fingerprint, policy), absl::OkStatus());
  AwaitNote("policy");

  Start();

  ASSERT_NE(Find("policy"), nullptr);
  EXPECT_EQ(Find("policy")->calibration_bytes(), calibration);
  EXPECT_NE(Find("policy")->ssd_coding, nullptr);
  EXPECT_EQ(Open("policy", fingerprint, policy), absl::OkStatus());
  EXPECT_EQ(
      ErrorReason(Open("policy", fingerprint,
                       {.calibration = testing::LongCalibration(kShort, 2),
                        .ssd_codec = kSpec})),
      "POLICY");
}

TEST_F(LongCalibrationTest, OneThatIsTooLongIsRefusedAtOnce) {
  Start();

  const absl::Status status =
      Open("long", testing::FingerprintOf(kShort),
           {.calibration = std::string(engine::kCalibrationBytesMax + 1, 'x'),
            .ssd_codec = kSpec});

  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(ErrorReason(status), "CALIBRATION");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("67108865 bytes, limit 67108864"));
  EXPECT_EQ(Find("long"), nullptr);
}

TEST_F(LongCalibrationTest, AllTogetherHaveALimit) {
  const std::string first = testing::LongCalibration(kShort, 1);
  const std::string second = testing::LongCalibration(kShort, 2);
  Fingerprint fingerprint = testing::FingerprintOf(kShort, kSpec);
  Start(6 * kMiB);
  ASSERT_EQ(Open("first", fingerprint, {.calibration = first}),
            absl::OkStatus());
  // Equal ones are there once.
  EXPECT_EQ(Open("again", fingerprint, {.calibration = first}),
            absl::OkStatus());

  const absl::Status status =
      Open("second", fingerprint, {.calibration = second});

  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(ErrorReason(status), "CALIBRATIONS");
  EXPECT_THAT(std::string(status.message()), HasSubstr("of 6 MiB are taken"));
  ASSERT_TRUE(server_->store().DropNamespace("first").ok());
  EXPECT_FALSE(Open("second", fingerprint, {.calibration = second}).ok());
  ASSERT_TRUE(server_->store().DropNamespace("again").ok());
  EXPECT_EQ(Open("second", fingerprint, {.calibration = second}),
            absl::OkStatus());

  // Nothing is left of what was dropped.
  AwaitNote("second");
  Start(6 * kMiB);
  EXPECT_EQ(Find("first"), nullptr);
  EXPECT_EQ(Find("second")->calibration_bytes(), second);
}

// The messages of a stream, and how it ends.
class RawOpening {
 public:
  explicit RawOpening(pb::Cache::Stub& stub)
      : writer_(stub.OpenCalibratedNamespace(&context_, &response_)) {}

  RawOpening& Begin(uint64_t calibration_bytes) {
    pb::OpenCalibratedNamespaceRequest request;
    client::SetFingerprint(testing::FingerprintOf(kShort),
                           request.mutable_open()->mutable_fingerprint());
    request.mutable_open()->mutable_ssd()->set_codec(kSpec);
    request.set_calibration_bytes(calibration_bytes);
    writer_->Write(request);
    return *this;
  }
  RawOpening& Send(size_t bytes) {
    pb::OpenCalibratedNamespaceRequest request;
    request.set_calibration(std::string(bytes, 'x'));
    writer_->Write(request);
    return *this;
  }
  absl::Status End() {
    writer_->WritesDone();
    return transport::FromGrpc(writer_->Finish());
  }

 private:
  grpc::ClientContext context_;
  pb::OpenCalibratedNamespaceResponse response_;
  std::unique_ptr<grpc::ClientWriter<pb::OpenCalibratedNamespaceRequest>>
      writer_;
};

TEST_F(LongCalibrationTest, WhatIsNoneIsToldSo) {
  Start();
  const auto stub = pb::Cache::NewStub(testing::ChannelTo(*server_));
  const auto expect = [](const absl::Status& status, absl::string_view reason,
                         absl::string_view what) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorReason(status), reason);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(what)));
  };
  expect(RawOpening(*stub).End(), "CALIBRATION", "0 of 0 bytes came");
  expect(RawOpening(*stub).Send(10).End(), "OPEN", "missing");
  expect(RawOpening(*stub).Begin(0).End(), "CALIBRATION", "how long it is");
  expect(RawOpening(*stub).Begin(20).Begin(20).End(), "OPEN", "twice");
  expect(RawOpening(*stub).Begin(20).Send(0).End(), "CALIBRATION", "empty");
  expect(RawOpening(*stub).Begin(20).Send(10).End(), "CALIBRATION",
         "10 of 20 bytes came");
  expect(RawOpening(*stub).Begin(20).Send(10).Send(11).End(), "CALIBRATION",
         "more than the 20 bytes");
  expect(RawOpening(*stub).Begin(20).Send(20).End(), "CALIBRATION",
         "20 bytes, none that are one");
}

TEST_F(LongCalibrationTest, WhatArrivesAtATimeHasALimit) {
  Start();
  const auto stub = pb::Cache::NewStub(testing::ChannelTo(*server_));
  // There is room for two; once a third comes before another has gone.
  absl::Status refused;
  ASSERT_TRUE(testing::PollUntil([&] {
    RawOpening openings[] = {RawOpening(*stub), RawOpening(*stub),
                             RawOpening(*stub)};
    for (RawOpening& opening : openings) {
      opening.Begin(engine::kCalibrationBytesMax);
    }
    for (RawOpening& opening : openings) {
      const absl::Status status = opening.End();
      if (absl::IsResourceExhausted(status)) refused = status;
    }
    return !refused.ok();
  }));
  EXPECT_EQ(ErrorReason(refused), "OVERLOADED");
  EXPECT_TRUE(testing::PollUntil([&] {
    return absl::IsInvalidArgument(RawOpening(*stub).Begin(1).End());
  }));
}

TEST(SlowCalibrationTest, ARestThatComesTooLateGivesItsRoomBack) {
  testing::BareNode node;
  const auto stub = pb::Cache::NewStub(
      grpc::CreateChannel(node.endpoint(), grpc::InsecureChannelCredentials()));
  const auto has_room = [&](uint64_t bytes) {
    return node.cache_service().arriving_calibrations().Take(bytes) != nullptr;
  };
  const uint64_t room =
      node.cache_service().options().arriving_calibration_bytes_max;
  RawOpening slow(*stub);
  slow.Begin(20).Send(10);
  ASSERT_TRUE(testing::PollUntil([&] { return !has_room(room); }));
  node.clock().Advance(absl::Seconds(61));
  const absl::Status status = slow.Send(9).End();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("in 60 s, the limit"));
  EXPECT_TRUE(testing::PollUntil([&] { return has_room(room); }));
}

TEST_F(LongCalibrationTest, ANamespaceWithoutHasNone) {
  Start();
  const auto opened =
      client_->OpenNamespace("plain", testing::FingerprintOf(kShort));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto stub = pb::Cache::NewStub(testing::ChannelTo(*server_));
  const auto reason_of = [&](const std::string& id) {
    grpc::ClientContext context;
    pb::GetCalibrationRequest request;
    request.set_namespace_id(id);
    pb::GetCalibrationResponse part;
    const auto reader = stub->GetCalibration(&context, request);
    EXPECT_FALSE(reader->Read(&part));
    const absl::Status status = transport::FromGrpc(reader->Finish());
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    return ErrorReason(status);
  };
  EXPECT_EQ(reason_of(opened->id), "CALIBRATION");
  EXPECT_EQ(reason_of(std::string(16, 'n')), "NAMESPACE");
}

}  // namespace
}  // namespace banyan
