// Goal: a client that takes a calibration from its node gets the one that the
// fingerprint names, or an error that says what the node did; a node that sends
// without end is not read without end.
// Method: a server that answers two calls with what a test tells it.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "client/cpp/client.h"
#include "client/transport/calibration_parts.h"
#include "tests/testing/long_calibration.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using ::testing::HasSubstr;

constexpr char kSpec[] = "cold2:weighted";
constexpr testing::CalibratedShape kShape{.layers = 1, .heads = 2, .dim = 16};

class TellingNode final : public pb::Cache::Service {
 public:
  // What it says that a calibration has, and what it sends of it; the last part as
  // often as that.
  void Tell(uint64_t said_bytes, std::vector<std::string> parts,
            size_t times = 1) {
    MutexLock lock(mutex_);
    said_bytes_ = said_bytes;
    parts_ = std::move(parts);
    times_ = times;
    sent_parts_ = 0;
  }
  size_t sent_parts() const {
    MutexLock lock(mutex_);
    return sent_parts_;
  }

  grpc::Status OpenNamespace(grpc::ServerContext*,
                             const pb::OpenNamespaceRequest*,
                             pb::OpenNamespaceResponse* response) override {
    response->set_namespace_id(std::string(16, 'n'));
    MutexLock lock(mutex_);
    response->set_calibration_bytes(said_bytes_);
    return grpc::Status::OK;
  }
  grpc::Status GetCalibration(
      grpc::ServerContext*, const pb::GetCalibrationRequest*,
      grpc::ServerWriter<pb::GetCalibrationResponse>* writer) override {
    for (size_t i = 0;; ++i) {
      pb::GetCalibrationResponse response;
      {
        MutexLock lock(mutex_);
        if (parts_.empty() || i == parts_.size() - 1 + times_) break;
        response.set_calibration(parts_[std::min(i, parts_.size() - 1)]);
      }
      if (!writer->Write(response)) break;
      MutexLock lock(mutex_);
      ++sent_parts_;
    }
    return grpc::Status::OK;
  }

 private:
  mutable Mutex mutex_;
  uint64_t said_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> parts_ ABSL_GUARDED_BY(mutex_);
  size_t times_ ABSL_GUARDED_BY(mutex_) = 1;  // Of the last part.
  size_t sent_parts_ ABSL_GUARDED_BY(mutex_) = 0;
};

class CalibrationFromNodeTest : public ::testing::Test {
 protected:
  CalibrationFromNodeTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&node_);
    server_ = builder.BuildAndStart();
    client_ = *Client::Connect({.endpoint = absl::StrCat("127.0.0.1:", port),
                                .transport = TransportKind::kGrpc});
  }

  absl::Status Open() {
    Fingerprint fingerprint = testing::FingerprintOf(kShape, kSpec);
    fingerprint.calibration_digest =
        std::string(AsText(Sha256({calibration_})));
    return client_->OpenNamespace("taken", fingerprint).status();
  }

  void ExpectBroken(absl::string_view what) {
    const absl::Status status = Open();
    EXPECT_TRUE(absl::IsInternal(status)) << status;
    EXPECT_EQ(ErrorReason(status), "PROTOCOL");
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(what)));
  }

  const std::string calibration_ = testing::LongCalibration(kShape);
  const size_t half_ = calibration_.size() / 2;
  TellingNode node_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(CalibrationFromNodeTest, PartsMakeAWhole) {
  node_.Tell(calibration_.size(),
             {calibration_.substr(0, half_), calibration_.substr(half_)});
  EXPECT_EQ(Open(), absl::OkStatus());
}

TEST_F(CalibrationFromNodeTest, AnotherOneIsRefused) {
  std::string other = calibration_;
  other[half_] ^= 1;
  node_.Tell(other.size(), {other});
  const absl::Status status = Open();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(ErrorReason(status), "CALIBRATION");
}

TEST_F(CalibrationFromNodeTest, AnotherLengthThanItSaysIsRefused) {
  const std::vector<std::vector<std::string>> lengths = {
      {calibration_.substr(0, half_)}, {calibration_, "more"}, {}};
  for (const auto& parts : lengths) {
    node_.Tell(calibration_.size(), parts);
    ExpectBroken("a calibration of another length");
  }
}

TEST_F(CalibrationFromNodeTest, ALengthOfNoneIsNotAskedFor) {
  node_.Tell(transport::kCalibrationBytesMax + 1, {calibration_});
  ExpectBroken("the length of no calibration");
  EXPECT_EQ(node_.sent_parts(), 0u);
}

TEST_F(CalibrationFromNodeTest, OneWithoutEndIsNotRead) {
  // More than the connection holds on its way.
  constexpr size_t kParts = 1000;
  node_.Tell(calibration_.size(),
             {std::string(transport::kCalibrationPartBytes, 'x')}, kParts);
  ExpectBroken("a calibration of another length");
  server_->Shutdown();  // The call has ended there, too.
  EXPECT_LT(node_.sent_parts(), kParts);
}

}  // namespace
}  // namespace banyan
