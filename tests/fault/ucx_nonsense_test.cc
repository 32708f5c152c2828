// Goal: whatever a client says at the UCX door, the node lives, cuts who says what is
// no message, counts it, and serves others as if nothing had been.
// Method: a crowd of clients, each of which comes in, says right things, some with
// bytes changed, or random ones, of all lengths, and at last one that is no message
// for sure. What a client says after its first bad message nobody looks at: so each
// is one malformed message, whose number BANYAN_TEST_UCX_NONSENSE sets; the acceptance
// run is 1000000. What the node took before is known by its answers. The crowd is this
// program started again, since UCX does not bear two workers in one process at this
// rate (ADR 11): it gets tickets through a pipe, until there are no more.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "client/transport/ucx_worker.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/ucx_raw.h"

extern char** environ;

namespace banyan {
namespace {

using testing::PollUntil;
using testing::RawUcx;
using transport::UcxHead;
using transport::UcxToNodeKind;

uint64_t MessagesWanted() {
  const char* const text = std::getenv("BANYAN_TEST_UCX_NONSENSE");
  uint64_t messages = 0;
  return text != nullptr && absl::SimpleAtoi(text, &messages)
             ? messages
             : testing::Repetitions(uint64_t{3000});
}

struct Message {
  std::string head;
  std::string body;
};

UcxHead HeadOf(const std::string& text) {
  UcxHead head(text.size());
  std::copy_n(AsBytes(text).data(), text.size(), head.data());
  return head;
}

// Clients that come in one after the other, some at a time, and go when they are
// cut.
class Crowd final : private transport::UcxOwner {
 public:
  // `next`: what the next one says, until it is cut; nothing: no more come. Called
  // on the crowd's thread.
  Crowd(uint16_t port, std::function<std::vector<Message>()> next)
      : address_(*transport::MakeUcxAddress("127.0.0.1", port)),
        next_(std::move(next)),
        worker_(*transport::UcxWorker::Open({.device = "lo"}, *this)) {
    BANYAN_CHECK(worker_->Start().ok());
    worker_->Post([] {});
  }
  ~Crowd() override { worker_ = nullptr; }

  // Who was cut, answers that came before that, and who could not connect.
  uint64_t cut() const { return cut_; }
  uint64_t answers() const { return answers_; }
  uint64_t failed() const { return failed_; }

 private:
  static constexpr size_t kAtATime = 32;

  Next OnUcxStep() override {
    while (links_.size() < kAtATime && ComeIn()) {
    }
    return Next::kNothing;
  }
  bool ComeIn() {
    const std::vector<Message> says = next_();
    if (says.empty()) return false;
    const auto link = worker_->Connect(address_);
    if (!link.ok()) {
      ++failed_;
      return false;
    }
    links_.insert(link->get());
    for (const Message& message : says) {
      (*link)->SendOwn(HeadOf(message.head), message.body);
    }
    return true;
  }
  void OnUcxMessage(ucp_ep_h, absl::Span<const std::byte> head,
                    const absl::Span<const std::byte>* body) override {
    if (body == nullptr) return;
    const auto answer = transport::ParseUcxAnswer(head, *body);
    if (answer.ok() && answer->call_id != 0) ++answers_;
  }
  void OnUcxRequest(ucp_conn_request_h) override {}
  void OnUcxLost(transport::UcxLink&) override { ++cut_; }
  void OnUcxClosed(transport::UcxLink& link) override { links_.erase(&link); }

  const transport::UcxAddress address_;
  const std::function<std::vector<Message>()> next_;
  std::atomic<uint64_t> cut_{0};
  std::atomic<uint64_t> answers_{0};
  std::atomic<uint64_t> failed_{0};
  std::set<transport::UcxLink*> links_;  // Of the worker's thread.
  std::unique_ptr<transport::UcxWorker> worker_;
};

// ------------------------------------------------------------------ the crowd ---

// What the messages of the crowd are about.
struct Subject {
  std::string ns;
  std::string write_id;
  std::string keys;
};

// One of each kind, all of which the node would take.
std::vector<Message> RightMessages(const Subject& subject) {
  transport::UcxQuestion question{
      .kind = UcxToNodeKind::kMatch,
      .call_id = 1,
      .namespace_id = subject.ns,
      .run = {.keys = subject.keys, .key_bytes = 32},
      .timeout_ms = 1000};
  std::vector<Message> messages;
  const auto add = [&](const UcxHead& head, std::string body) {
    messages.push_back({std::string(AsText(head.bytes())), std::move(body)});
  };
  add(EncodeUcx(question), UcxBodyOf(question));
  question.kind = UcxToNodeKind::kGet;
  add(EncodeUcx(question), UcxBodyOf(question));
  question.kind = UcxToNodeKind::kCheck;
  question.run.keys = question.run.keys.substr(0, 32);
  add(EncodeUcx(question), UcxBodyOf(question));
  add(EncodeUcx(transport::UcxPut{.call_id = 2, .write_id = subject.write_id}),
      std::string(100, 'x'));
  add(EncodeUcx(transport::UcxCancel{.call_id = 1}), "");
  return messages;
}

// What clients say.
class Speaker {
 public:
  explicit Speaker(const Subject& subject) : right_(RightMessages(subject)) {}

  // All that one of them says.
  std::vector<Message> Speech(const std::string& token) {
    const UcxHead hello = EncodeUcx(transport::UcxHello{.token = token});
    std::vector<Message> says = {{std::string(AsText(hello.bytes())), ""}};
    for (uint64_t i = random_() % 4; i > 0; --i) {
      says.push_back(right_[random_() % right_.size()]);
    }
    for (uint64_t i = random_() % 4; i > 0; --i) says.push_back(Wrong());
    says.push_back(Nonsense());
    return says;
  }

  // What is no message, whatever was said before.
  Message Nonsense() {
    Message message = right_[random_() % right_.size()];
    switch (random_() % 3) {
      case 0:
        message.head.push_back(static_cast<char>(random_()));
        break;
      case 1:
        message.head.resize(random_() % message.head.size());
        break;
      default:  // No such kind.
        message.head[0] = static_cast<char>(8 + random_() % 248);
    }
    return message;
  }

  // One of so many.
  bool IsOneOf(uint64_t count) { return random_() % count == 0; }

 private:
  // A right message with a few bytes changed, or cut, or random bytes.
  Message Wrong() {
    Message message = right_[random_() % right_.size()];
    if (random_() % 4 == 0) {
      message.head.resize(random_() % (UcxHead::kBytesMax + 1));
      for (char& byte : message.head) byte = static_cast<char>(random_());
    }
    if (!message.head.empty()) {
      for (uint64_t i = random_() % 3; i > 0; --i) {
        message.head[random_() % message.head.size()] =
            static_cast<char>(random_());
      }
    }
    if (random_() % 4 == 0) message.body.resize(random_() % 300);
    if (random_() % 16 == 0) {
      message.body.resize(16 * kKiB + random_() % (244 * kKiB + 1));
    }
    return message;
  }

  std::mt19937_64 random_{20261129};
  const std::vector<Message> right_;
};

// False at the end of what comes through the pipe.
bool ReadIds(std::string& id) {
  id.resize(transport::kUcxIdBytes);
  return read(STDIN_FILENO, id.data(), id.size()) ==
         static_cast<ssize_t>(id.size());
}

// What the crowd tells at its end.
struct Told {
  uint64_t spoke = 0;    // Clients.
  uint64_t said = 0;     // Messages.
  uint64_t answers = 0;  // To those.
};

int RunChild(const std::string& port_text) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  uint32_t port = 0;
  Subject subject{.keys = testing::ChainKeys("nonsense", 3)};
  if (!absl::SimpleAtoi(port_text, &port) || !ReadIds(subject.ns) ||
      !ReadIds(subject.write_id)) {
    return 2;
  }
  Speaker speaker(subject);
  Told told;
  std::string token;
  std::atomic<bool> is_over{false};
  Crowd crowd(static_cast<uint16_t>(port), [&] {
    // Some say nonsense at once, and keep their ticket for the next one.
    std::vector<Message> says;
    if (is_over) return says;
    if (speaker.IsOneOf(8)) {
      says.push_back(speaker.Nonsense());
    } else if (ReadIds(token)) {
      says = speaker.Speech(token);
    } else {
      is_over = true;
      return says;
    }
    ++told.spoke;
    told.said += says.size();
    return says;
  });
  // The crowd's own thread does the talking; this one only lives until it is over.
  while (!is_over) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  if (!PollUntil([&] { return crowd.cut() == told.spoke; })) return 3;
  told.answers = crowd.answers();
  return write(STDOUT_FILENO, &told, sizeof(told)) == sizeof(told) &&
                 crowd.failed() == 0
             ? 0
             : 4;
}

// ------------------------------------------------------------------- the node ---

class UcxNonsenseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session_ = *node_.store().OpenSession("client");
    subject_.ns = node_.store()
                      .OpenNamespace("nonsense", testing::OpaqueFingerprint())
                      ->ns->id;
    subject_.keys = testing::ChainKeys("nonsense", 3);
    subject_.write_id =
        node_.store()
            .Reserve(session_, 0,
                     {.namespace_id = subject_.ns,
                      .run = {.keys = subject_.keys, .key_bytes = 32}},
                     {uint64_t{1000}}, 0)
            ->write_id;
    StartChild();
  }

  void StartChild() {
    int in[2];
    int out[2];
    ASSERT_EQ(pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    // As many tickets as there may be at a time, and more.
    ASSERT_GT(fcntl(in[1], F_SETPIPE_SZ, 4096), 0);
    ASSERT_EQ(fcntl(in[1], F_SETFL, O_NONBLOCK), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string program = "/proc/self/exe";
    std::string flag = "--child";
    std::string port = absl::StrCat(node_.ucx_port());
    char* const arguments[] = {program.data(), flag.data(), port.data(),
                               nullptr};
    ASSERT_EQ(posix_spawn(&child_, program.c_str(), &actions, nullptr,
                          arguments, environ),
              0);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    to_child_ = in[1];
    from_child_ = out[0];
  }
  void TearDown() override {
    close(to_child_);
    close(from_child_);
    if (child_ > 0) kill(child_, SIGKILL);
    if (child_ > 0) waitpid(child_, nullptr, 0);
  }

  // False: nobody took it for long, and the node counted nothing either.
  bool Give(const std::string& id, uint64_t wanted) {
    return PollUntil([&] {
      return Malformed() >= wanted || write(to_child_, id.data(), id.size()) ==
                                          static_cast<ssize_t>(id.size());
    });
  }

  uint64_t Malformed() {
    for (const auto& reading : node_.store().Stats()) {
      if (reading.name == "banyan_ucx_malformed_total") return reading.value;
    }
    return UINT64_MAX;
  }

  testing::BareNode node_{
      testing::BareNode::Options{.ucx = {.clients_max = 1024}}};
  std::string session_;
  Subject subject_;
  pid_t child_ = -1;
  int to_child_ = -1;
  int from_child_ = -1;
};

TEST_F(UcxNonsenseTest, TheNodeLivesAndCounts) {
  const uint64_t wanted = MessagesWanted();
  ASSERT_TRUE(Give(subject_.ns, wanted));
  ASSERT_TRUE(Give(subject_.write_id, wanted));
  while (Malformed() < wanted) {
    const auto ticket = node_.tickets().Issue("ucx", session_);
    ASSERT_TRUE(ticket.ok()) << ticket.status();
    ASSERT_TRUE(Give(ticket->token, wanted)) << "after " << Malformed();
  }
  close(std::exchange(to_child_, -1));
  Told told;
  ASSERT_EQ(read(from_child_, &told, sizeof(told)),
            static_cast<ssize_t>(sizeof(told)));
  int status = -1;
  waitpid(std::exchange(child_, -1), &status, 0);
  EXPECT_EQ(status, 0);

  // All of them were cut, for that; but who happens to say goodbye is not.
  EXPECT_GE(Malformed(), told.spoke - told.spoke / 500);
  EXPECT_LE(Malformed(), told.spoke);
  // And most were heard before: reads end with their client, but not all is reads.
  EXPECT_GT(told.answers, told.spoke / 2);
  RecordProperty("said", static_cast<int>(told.said));
  RecordProperty("answered", static_cast<int>(told.answers));
  RecordProperty("malformed", static_cast<int>(Malformed()));
  // Others are served.
  RawUcx good(node_.ucx_port());
  good.SendHello(node_.tickets().Issue("ucx", session_)->token);
  ASSERT_TRUE(good.IsWelcome());
  const Message match = RightMessages(subject_)[0];
  good.Send(HeadOf(match.head), match.body);
  EXPECT_TRUE(PollUntil([&] { return good.answers().size() == 1; }));
  EXPECT_TRUE(
      PollUntil([&] { return node_.host().usage().pinned_bytes == 0; }));
}

}  // namespace
}  // namespace banyan

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--child") {
    return banyan::RunChild(argv[2]);
  }
  signal(SIGPIPE, SIG_IGN);  // A child that died is a failure, not the end.
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
