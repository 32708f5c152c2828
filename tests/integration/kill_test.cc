// Goal: a client process that dies, at any step, leaves nothing behind: its
// session, leases, open writes, staged and pinned bytes end with it.
// Method: this program starts itself with a step as argument; the child talks
// to the node of the parent, says on a pipe that it stands at the step, and is
// killed with SIGKILL there, or stopped with SIGSTOP, as if it hung.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/integration/node.h"

extern char** environ;

namespace banyan {
namespace {

namespace pb = banyan::v1;
using testing::ChainKeys;

constexpr size_t kBlocks = 4;
constexpr size_t kBlockBytes = 3 * kMiB;  // More than flow control lets pass.
constexpr char kSpace[] = "killed";

// --------------------------------------------------------------- the child ---

// Says that the step is reached, then waits to be killed.
[[noreturn]] void StandAndWait() {
  const char byte = 'x';
  if (write(STDOUT_FILENO, &byte, 1) != 1) _exit(3);
  while (true) pause();
}

[[noreturn]] void Fail(std::string_view what) {
  [[maybe_unused]] const ssize_t put =
      write(STDERR_FILENO, what.data(), what.size());
  _exit(4);
}

std::string ReserveAll(testing::RawSession& session, const std::string& ns,
                       const std::string& keys) {
  grpc::ClientContext context;
  pb::ReserveResponse reserved;
  const grpc::Status status = session.stub().Reserve(
      &context, testing::ReserveOf(session.id(), ns, keys, kBlockBytes),
      &reserved);
  if (!status.ok() || reserved.write_id().empty()) Fail("reserve\n");
  return reserved.write_id();
}

// Sends blocks [0, count); the stream ends, or stays open until the kill.
enum class StreamEnd { kKeptOpen, kDone };
void SendBlocks(testing::RawSession& session, const std::string& write_id,
                const std::string& keys, size_t count, StreamEnd end) {
  grpc::ClientContext context;
  pb::PutBlocksResponse response;
  const auto writer = session.stub().PutBlocks(&context, &response);
  pb::PutBlocksRequest frame;
  frame.set_session_id(session.id());
  frame.set_write_id(write_id);
  for (size_t i = 0; i < count; ++i) {
    const auto payload = testing::PayloadOf(kSpace, keys, i, kBlockBytes);
    auto* const chunk = frame.add_chunks();
    chunk->set_ordinal(static_cast<uint32_t>(i));
    chunk->set_data(payload.data(), payload.size());
    if (!writer->Write(frame)) Fail("write\n");
    frame.Clear();
  }
  if (end == StreamEnd::kKeptOpen) StandAndWait();
  writer->WritesDone();
  if (!writer->Finish().ok()) Fail("finish\n");
}

std::string AcquireAll(testing::RawSession& session, const std::string& ns,
                       const std::string& keys) {
  grpc::ClientContext context;
  pb::AcquireRequest request;
  request.set_session_id(session.id());
  request.set_namespace_id(ns);
  request.mutable_run()->set_keys(keys);
  request.mutable_run()->set_key_bytes(32);
  request.set_mode(pb::ACQUIRE_MODE_ALL_OR_NONE);
  request.mutable_ttl()->set_seconds(600);
  pb::AcquireResponse response;
  const grpc::Status status =
      session.stub().Acquire(&context, request, &response);
  if (!status.ok() || response.lease_id().empty()) Fail("acquire\n");
  return response.lease_id();
}

// Reads the first frame only: flow control holds the rest back.
void ReadOneFrame(testing::RawSession& session,
                  const pb::GetBlocksRequest& request) {
  grpc::ClientContext context;
  const auto reader = session.stub().GetBlocks(&context, request);
  pb::GetBlocksResponse frame;
  if (!reader->Read(&frame)) Fail("read\n");
  StandAndWait();
}

void ReadOneFrame(testing::RawSession& session, const std::string& lease_id) {
  pb::GetBlocksRequest request;
  request.mutable_by_lease()->set_session_id(session.id());
  request.mutable_by_lease()->set_lease_id(lease_id);
  ReadOneFrame(session, request);
}

void ReadOneFrame(testing::RawSession& session, const std::string& ns,
                  const std::string& keys) {
  pb::GetBlocksRequest request;
  request.mutable_by_keys()->set_namespace_id(ns);
  request.mutable_by_keys()->mutable_run()->set_keys(keys);
  request.mutable_by_keys()->mutable_run()->set_key_bytes(32);
  request.mutable_by_keys()->set_mode(pb::ACQUIRE_MODE_ALL_OR_NONE);
  ReadOneFrame(session, request);
}

int RunChild(const std::string& step, const std::string& endpoint) {
  testing::RawSession session(
      grpc::CreateChannel(endpoint, grpc::InsecureChannelCredentials()),
      "child");
  if (session.id().empty()) Fail("session\n");
  if (step == "hello") StandAndWait();
  const std::string ns = testing::OpenOpaque(session.stub(), kSpace);
  if (ns.empty()) Fail("namespace\n");
  const std::string fresh = ChainKeys("fresh", kBlocks);
  const std::string stored = ChainKeys("stored", kBlocks);
  if (step == "session") StandAndWait();
  if (step == "lease") {
    AcquireAll(session, ns, stored);
    StandAndWait();
  }
  if (step == "get") ReadOneFrame(session, AcquireAll(session, ns, stored));
  if (step == "get_keys") ReadOneFrame(session, ns, stored);
  const std::string write_id = ReserveAll(session, ns, fresh);
  if (step == "reserve") StandAndWait();
  if (step == "open_put") {
    SendBlocks(session, write_id, fresh, 0, StreamEnd::kKeptOpen);
  }
  if (step == "put") {
    SendBlocks(session, write_id, fresh, kBlocks / 2, StreamEnd::kKeptOpen);
  }
  SendBlocks(session, write_id, fresh, kBlocks, StreamEnd::kDone);
  if (step == "commit") StandAndWait();
  Fail("unknown step\n");
}

// -------------------------------------------------------------- the parent ---

class KillTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    server::Config config = testing::SmallConfig();
    config.session_timeout = absl::Seconds(2);
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // Stores the chain that the child reads; the session ends with the client.
  void StoreChain() {
    const auto client =
        Client::Connect({.endpoint = testing::EndpointOf(*server_)});
    ASSERT_TRUE(client.ok());
    const auto ns =
        (*client)->OpenNamespace(kSpace, testing::OpaqueFingerprint());
    ASSERT_TRUE(ns.ok()) << ns.status();
    const std::string keys = ChainKeys("stored", kBlocks);
    std::vector<std::vector<std::byte>> payloads;
    for (size_t i = 0; i < kBlocks; ++i) {
      payloads.push_back(testing::PayloadOf(kSpace, keys, i, kBlockBytes));
    }
    const Completion put = (*client)->Put(
        ns->id, {.keys = keys}, 0, {payloads.begin(), payloads.end()}, {});
    ASSERT_TRUE(put.status.ok()) << put.status;
  }

  // Starts the child and waits until it stands at its step.
  void StartChild(const std::string& step) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::string program = "/proc/self/exe";
    std::string flag = "--child";
    std::string name = step;
    std::string endpoint = testing::EndpointOf(*server_);
    char* const arguments[] = {program.data(), flag.data(), name.data(),
                               endpoint.data(), nullptr};
    const int error = posix_spawn(&child_, program.c_str(), &actions, nullptr,
                                  arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char byte = 0;
    const ssize_t got = error == 0 ? read(ends[0], &byte, 1) : -1;
    close(ends[0]);
    ASSERT_EQ(error, 0);
    ASSERT_EQ(got, 1) << "the child ended before step " << step;
  }

  void StandAtStep();
  void ExpectNothingLeft();

  void Kill() {
    ASSERT_EQ(kill(child_, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child_, &status, 0), child_);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  std::unique_ptr<server::Server> server_;
  pid_t child_ = 0;
};

// Starts the child at the step, and sees what it holds there.
void KillTest::StandAtStep() {
  const std::string step = GetParam();
  StoreChain();
  ASSERT_TRUE(testing::PollUntil([this] { return testing::IsIdle(*server_); }));
  StartChild(step);
  ASSERT_EQ(testing::Reading(*server_, "banyan_sessions"), 1u);
  const bool is_write = step == "reserve" || step == "open_put" ||
                        step == "put" || step == "commit";
  const bool is_leased = step == "lease" || step == "get";
  const bool is_read = is_leased || step == "get_keys";
  EXPECT_EQ(testing::Reading(*server_, "banyan_open_writes"),
            is_write ? 1u : 0);
  EXPECT_EQ(testing::Reading(*server_, "banyan_leases"), is_leased ? 1u : 0);
  EXPECT_EQ(server_->store().HostUsage().pinned_bytes > 0, is_read);
}

void KillTest::ExpectNothingLeft() {
  EXPECT_TRUE(testing::PollUntil([this] { return testing::IsIdle(*server_); }))
      << "sessions " << testing::Reading(*server_, "banyan_sessions")
      << ", writes " << testing::Reading(*server_, "banyan_open_writes")
      << ", leases " << testing::Reading(*server_, "banyan_leases")
      << ", staged " << server_->store().HostUsage().staged_bytes << ", pinned "
      << server_->store().HostUsage().pinned_bytes;
  EXPECT_EQ(server_->store().HostUsage().blocks, kBlocks);
}

TEST_P(KillTest, AClientKilledAtThisStepLeavesNothing) {
  StandAtStep();
  Kill();
  ExpectNothingLeft();
}

// Its connection lives, and it says nothing: only time tells.
TEST_P(KillTest, AClientThatHangsAtThisStepIsCutAfterTheSessionTimeout) {
  StandAtStep();
  ASSERT_EQ(kill(child_, SIGSTOP), 0);
  ExpectNothingLeft();
  Kill();
}

INSTANTIATE_TEST_SUITE_P(Steps, KillTest,
                         ::testing::Values("hello", "session", "reserve",
                                           "open_put", "put", "commit", "lease",
                                           "get", "get_keys"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

}  // namespace
}  // namespace banyan

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--child") {
    return banyan::RunChild(argv[2], argv[3]);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
