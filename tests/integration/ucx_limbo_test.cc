// Goal: what a hung node does not take of a client's puts does not pile up in UCX's
// hands: the connection is given up, at so many bytes or after so long, and counted.
// Method: a node as a process, stopped with SIGSTOP; puts that run out of time, until
// all buffers on the way are full, and more.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/error.h"
#include "client/transport/ucx.h"
#include "client/transport/ucx_messages.h"
#include "tests/integration/node.h"
#include "tests/testing/process.h"

namespace banyan {
namespace {

using std::chrono::milliseconds;

constexpr auto kNever = std::chrono::hours(1);
// More than all buffers between a client and a node hold, at 1 MiB a put.
constexpr int kPuts = 48;

class UcxLimboTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server_.Start({"--dev", "--grpc-port", "0", "--host-bytes",
                               "64MiB", "--prefault", "false"}));
    channel_ = grpc::CreateChannel(server_.endpoint(),
                                   grpc::InsecureChannelCredentials());
    session_ = std::make_unique<testing::RawSession>(channel_, "client");
  }
  void TearDown() override {
    if (server_.pid() > 0) kill(server_.pid(), SIGCONT);
    ucx_ = nullptr;
  }

  // Comes in; then the node stands still.
  void ConnectAndHang(uint64_t untaken_bytes_max, milliseconds untaken_max) {
    grpc::ClientContext context;
    banyan::v1::OpenDoorRequest request;
    request.set_session_id(session_->id());
    request.set_door("ucx");
    banyan::v1::OpenDoorResponse response;
    ASSERT_TRUE(session_->stub().OpenDoor(&context, request, &response).ok());
    const auto ticket = transport::UcxTicketOf(
        context.peer(), response.address(), response.token(), response.proof());
    ASSERT_TRUE(ticket.ok()) << ticket.status();
    auto ucx = transport::ConnectUcx({.ticket = *ticket,
                                      .timeout = std::chrono::seconds(10),
                                      .untaken_bytes_max = untaken_bytes_max,
                                      .untaken_max = untaken_max,
                                      .given_up = given_up_});
    ASSERT_TRUE(ucx.ok()) << ucx.status();
    ucx_ = *std::move(ucx);
    kill(server_.pid(), SIGSTOP);
    siginfo_t stopped{};
    waitid(P_PID, static_cast<id_t>(server_.pid()), &stopped, WSTOPPED);
  }

  // A put: of a node that hangs, one that waits in vain.
  absl::Status Put(milliseconds patience = milliseconds(10)) {
    const std::string write_id(transport::kUcxIdBytes, 'w');
    const std::vector<std::byte> payload(2 * kMiB);
    const std::vector<transport::OutgoingBlock> blocks = {
        {.payload = payload, .piece_bytes = 256 * kKiB}};
    transport::SentChecksums sent;
    return ucx_->Put({.write_id = write_id, .blocks = blocks},
                     {.deadline = std::chrono::steady_clock::now() + patience},
                     sent);
  }

  const std::shared_ptr<std::atomic<uint64_t>> given_up_ =
      std::make_shared<std::atomic<uint64_t>>(0);
  testing::ServerProcess server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<testing::RawSession> session_;
  std::unique_ptr<transport::Transport> ucx_;
};

TEST_F(UcxLimboTest, SoManyBytesEndTheConnection) {
  ConnectAndHang(4 * kMiB, kNever);
  int puts = 0;
  absl::Status status;
  while (puts < kPuts && ucx_->is_alive()) {
    status = Put();
    ++puts;
    EXPECT_TRUE(absl::IsDeadlineExceeded(status) || !ucx_->is_alive())
        << status;
  }

  EXPECT_TRUE(testing::PollUntil([&] { return !ucx_->is_alive(); }))
      << "after " << puts;
  EXPECT_TRUE(absl::IsUnavailable(Put()));
  EXPECT_EQ(*given_up_, 1u);
}

TEST_F(UcxLimboTest, SoLongEndsTheConnection) {
  ConnectAndHang(UINT64_MAX, std::chrono::seconds(1));
  for (int i = 0; i < kPuts; ++i) Put().IgnoreError();

  EXPECT_TRUE(testing::PollUntil([&] { return !ucx_->is_alive(); }));
  EXPECT_TRUE(absl::IsUnavailable(Put()));
  EXPECT_EQ(*given_up_, 1u);
}

TEST_F(UcxLimboTest, LessDoesNot) {
  ConnectAndHang(UINT64_MAX, kNever);
  for (int i = 0; i < kPuts; ++i) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(Put()));
  }

  EXPECT_TRUE(ucx_->is_alive());
  EXPECT_EQ(*given_up_, 0u);
  kill(server_.pid(), SIGCONT);
  // It takes all, and says that there is no such write.
  EXPECT_EQ(ErrorReason(Put(std::chrono::minutes(1))), "WRITE");
}

}  // namespace
}  // namespace banyan
