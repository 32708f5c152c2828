// Goal: whatever a client says at the UCX door, the node lives, cuts who says what is
// no message, counts it, and serves others as if nothing had been.
// Method: clients by hand that come in, say right things with bytes changed, and
// random ones, until they are cut. BANYAN_TEST_UCX_NONSENSE sets how many messages;
// the acceptance run is 1000000.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "absl/strings/numbers.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/ucx_raw.h"

namespace banyan {
namespace {

using testing::PollUntil;
using testing::RawUcx;
using transport::UcxHead;
using transport::UcxToNodeKind;

uint64_t MessagesWanted() {
  const char* const text = std::getenv("BANYAN_TEST_UCX_NONSENSE");
  uint64_t messages = 0;
  return text != nullptr && absl::SimpleAtoi(text, &messages) ? messages
                                                              : 20000;
}

struct Message {
  std::string head;
  std::string body;
};

class UcxNonsenseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session_ = *node_.store().OpenSession("client");
    ns_ = node_.store()
              .OpenNamespace("nonsense", testing::OpaqueFingerprint())
              ->ns->id;
    const auto reserved = node_.store().Reserve(
        session_, 0,
        {.namespace_id = ns_,
         .run = {.keys = {keys_.data(), keys_.size()}, .key_bytes = 32}},
        {uint64_t{1000}}, 0);
    write_id_ = reserved->write_id;
    right_ = RightMessages();
  }

  // One of each kind, all of which the node would take.
  std::vector<Message> RightMessages() const {
    transport::UcxQuestion question{
        .kind = UcxToNodeKind::kMatch,
        .call_id = 1,
        .namespace_id = ns_,
        .run = {.keys = {keys_.data(), keys_.size()}, .key_bytes = 32},
        .timeout_ms = 1000};
    std::vector<Message> messages;
    const auto add = [&](const UcxHead& head, std::string body) {
      messages.push_back({std::string(AsText(head.bytes())), std::move(body)});
    };
    add(EncodeUcx(question), UcxBodyOf(question));
    question.kind = UcxToNodeKind::kGet;
    add(EncodeUcx(question), UcxBodyOf(question));
    question.kind = UcxToNodeKind::kCheck;
    question.run.keys = {keys_.data(), 32};
    add(EncodeUcx(question), UcxBodyOf(question));
    add(EncodeUcx(transport::UcxPut{.call_id = 2, .write_id = write_id_}),
        std::string(100, 'x'));
    add(EncodeUcx(transport::UcxCancel{.call_id = 1}), "");
    return messages;
  }

  // A right message with a few bytes changed, or cut, or random bytes.
  Message Wrong(std::mt19937_64& random) const {
    Message message = right_[random() % right_.size()];
    if (random() % 4 == 0) {
      message.head.resize(random() % (UcxHead::kBytesMax + 1));
      for (char& byte : message.head) byte = static_cast<char>(random());
    }
    if (!message.head.empty()) {
      for (uint64_t i = random() % 3; i > 0; --i) {
        message.head[random() % message.head.size()] =
            static_cast<char>(random());
      }
    }
    if (random() % 4 == 0) message.body.resize(random() % 300);
    return message;
  }

  uint64_t Counter(std::string_view name) {
    for (const auto& reading : node_.store().Stats()) {
      if (reading.name == name) return reading.value;
    }
    return UINT64_MAX;
  }
  uint64_t Malformed() { return Counter("banyan_ucx_malformed_total"); }

  const std::string keys_ = testing::ChainKeys("nonsense", 3);
  testing::BareNode node_;
  std::string session_;
  std::string ns_;
  std::string write_id_;
  std::vector<Message> right_;
};

UcxHead HeadOf(const std::string& text) {
  UcxHead head(text.size());
  std::copy_n(AsBytes(text).data(), text.size(), head.data());
  return head;
}

TEST_F(UcxNonsenseTest, TheNodeLivesAndCounts) {
  const uint64_t wanted = MessagesWanted();
  std::mt19937_64 random(20261129);
  uint64_t sent = 0;
  uint64_t cut = 0;
  while (sent < wanted) {
    RawUcx raw(node_.ucx_port());
    // Some say nonsense at once.
    if (random() % 8 != 0) {
      raw.SendHello(node_.tickets().Issue("ucx", session_)->token);
      ASSERT_TRUE(raw.IsWelcome()) << "after " << sent;
    }
    // Many at a time: what comes after the first bad one is dropped.
    while (!raw.is_cut() && sent < wanted) {
      for (int i = 0; i < 50; ++i, ++sent) {
        const Message message = Wrong(random);
        raw.Send(HeadOf(message.head), message.body);
      }
      // Until it has been read, or its sender is cut.
      const transport::UcxQuestion last{
          .kind = UcxToNodeKind::kMatch,
          .call_id = 1000 + sent,
          .namespace_id = ns_,
          .run = {.keys = {keys_.data(), keys_.size()}, .key_bytes = 32}};
      raw.Send(EncodeUcx(last), UcxBodyOf(last));
      ASSERT_TRUE(PollUntil([&] {
        if (raw.is_cut()) return true;
        for (const auto& answer : raw.answers()) {
          if (answer.call_id == last.call_id) return true;
        }
        return false;
      })) << "after "
          << sent;
    }
    if (raw.is_cut()) ++cut;
  }

  EXPECT_GT(cut, sent / 500);
  EXPECT_GE(Malformed(), cut / 2);
  RecordProperty("messages", static_cast<int>(sent));
  RecordProperty("cut", static_cast<int>(cut));
  // Others are served.
  RawUcx good(node_.ucx_port());
  good.SendHello(node_.tickets().Issue("ucx", session_)->token);
  ASSERT_TRUE(good.IsWelcome());
  const Message& match = right_[0];
  good.Send(HeadOf(match.head), match.body);
  EXPECT_TRUE(PollUntil([&] { return good.answers().size() == 1; }));
  EXPECT_TRUE(
      PollUntil([&] { return node_.host().usage().pinned_bytes == 0; }));
}

}  // namespace
}  // namespace banyan
