// Goal: the UCX door lets in who may come, cuts who does what it must not, and
// whatever a client leaves untaken costs the node no more than it allows.
// Method: clients by hand, at a node in this process with a clock of the test's.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "base/block_header.h"
#include "base/bytes.h"
#include "base/error.h"
#include "client/transport/ucx.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/host_tier_peer.h"
#include "tests/testing/ucx_raw.h"

namespace banyan {
namespace {

using testing::PollUntil;
using testing::RawUcx;
using transport::UcxCancel;
using transport::UcxPut;
using transport::UcxQuestion;
using transport::UcxToNodeKind;

constexpr uint64_t kBlockBytes = 2 * kMiB;
constexpr uint32_t kHour = 3600 * 1000;

class UcxDoorTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(const transfer::UcxDoorOptions& options) {
    node_ = nullptr;
    testing::BareNode::Options node_options;
    node_options.ucx = options;
    node_ = std::make_unique<testing::BareNode>(node_options);
    session_ = *node_->store().OpenSession("client");
    ns_ = node_->store()
              .OpenNamespace("door", testing::OpaqueFingerprint())
              ->ns->id;
  }

  std::string Token(const char* door = "ucx") {
    return node_->tickets().Issue(door, session_)->token;
  }
  std::unique_ptr<RawUcx> ComeIn() {
    auto raw = std::make_unique<RawUcx>(node_->ucx_port());
    raw->SendHello(Token());
    EXPECT_TRUE(raw->IsWelcome());
    return raw;
  }

  uint64_t Counter(std::string_view name) {
    for (const auto& reading : node_->store().Stats()) {
      if (reading.name == name) return reading.value;
    }
    return UINT64_MAX;
  }
  uint64_t Event(const char* event) {
    return Counter(
        absl::StrCat("banyan_ucx_connections_total{event=\"", event, "\"}"));
  }
  uint64_t Malformed() { return Counter("banyan_ucx_malformed_total"); }
  uint64_t pinned() { return node_->host().usage().pinned_bytes; }
  bool IsUnpinned() {
    return PollUntil([&] { return pinned() == 0; });
  }

  std::string Reserve(const std::string& keys, uint64_t bytes,
                      const std::string& session) {
    return node_->store()
        .Reserve(session, 0, {.namespace_id = ns_, .run = RunOf(keys)}, {bytes},
                 0)
        ->write_id;
  }
  // Stores a chain of blocks of `bytes`.
  void Store(const std::string& keys, uint64_t bytes) {
    const std::string write_id = Reserve(keys, bytes, session_);
    const auto write = node_->store().FindWrite(session_, write_id);
    const auto seeds =
        transport::ChecksumSeeds({.namespace_id = ns_, .run = RunOf(keys)});
    std::vector<engine::OpenWrite::Claim> claims;
    for (uint32_t i = 0; i < seeds.size(); ++i) {
      const auto payload = testing::PayloadOf("door", keys, i, bytes);
      ASSERT_TRUE((*write)->Write(i, 0, payload).ok());
      claims.push_back(
          {.ordinal = i, .checksums = {PieceChecksum(seeds[i], 0, payload)}});
    }
    ASSERT_TRUE(node_->store().Commit(session_, write_id, claims).ok());
  }
  // The stored block i of the chain, to be damaged.
  BlockId IdOf(const std::string& keys, size_t i) {
    const auto ns = node_->store().namespaces().FindById(ns_);
    const auto key = testing::KeyNo(keys, i);
    return node_->store().namespaces().HasherFor(**ns,
                                                 "")({key.data(), key.size()});
  }
  static KeyRun RunOf(const std::string& keys) {
    return {.keys = {keys.data(), keys.size()}, .key_bytes = 32};
  }

  UcxQuestion Question(UcxToNodeKind kind, uint64_t call_id,
                       const std::string& keys) const {
    return {.kind = kind,
            .call_id = call_id,
            .namespace_id = ns_,
            .run = RunOf(keys),
            .timeout_ms = kHour};
  }
  static void Ask(RawUcx& raw, const UcxQuestion& question) {
    raw.Send(EncodeUcx(question), UcxBodyOf(question));
  }
  // The answer to this call; its status is kUnknown if none comes.
  static transport::UcxAnswer AnswerTo(RawUcx& raw, uint64_t call_id) {
    transport::UcxAnswer found{.status = absl::UnknownError("no answer")};
    PollUntil([&] {
      for (const auto& answer : raw.answers()) {
        if (answer.call_id != call_id) continue;
        found = answer;
        return true;
      }
      return false;
    });
    return found;
  }

  std::unique_ptr<testing::BareNode> node_;
  std::string session_;
  std::string ns_;
};

// Stops a client from taking anything, for as long as the object lives.
class Hanging {
 public:
  explicit Hanging(RawUcx& raw) {
    raw.Do(
        [is_over = is_over_] { PollUntil([&] { return is_over->load(); }); });
  }
  ~Hanging() { *is_over_ = true; }

 private:
  const std::shared_ptr<std::atomic<bool>> is_over_ =
      std::make_shared<std::atomic<bool>>(false);
};

// -------------------------------------------------------------- who comes in ---

TEST_F(UcxDoorTest, ATicketLetsInOnce) {
  const std::string token = Token();
  RawUcx first(node_->ucx_port());
  first.SendHello(token);
  EXPECT_TRUE(first.IsWelcome());
  EXPECT_EQ(Event("opened"), 1u);

  RawUcx second(node_->ucx_port());
  second.SendHello(token);

  EXPECT_EQ(ErrorReason(AnswerTo(second, 0).status), "TICKET");
  EXPECT_TRUE(second.IsCut());
  EXPECT_EQ(Event("refused"), 1u);
  EXPECT_FALSE(first.is_cut());
}

TEST_F(UcxDoorTest, OtherTokensAreNoTickets) {
  for (const std::string& token : {std::string(16, 'x'), Token("shm")}) {
    RawUcx raw(node_->ucx_port());
    raw.SendHello(token);
    EXPECT_TRUE(raw.IsCut());
  }
  EXPECT_EQ(Event("refused"), 2u);
  EXPECT_EQ(Event("opened"), 0u);
}

TEST_F(UcxDoorTest, AnOldTicketIsNone) {
  const std::string token = Token();
  node_->clock().Advance(absl::Seconds(6));
  RawUcx raw(node_->ucx_port());
  raw.SendHello(token);

  EXPECT_TRUE(raw.IsCut());
}

TEST_F(UcxDoorTest, WhoSaysNothingIsCut) {
  RawUcx silent(node_->ucx_port());
  const auto welcome = ComeIn();

  EXPECT_TRUE(PollUntil([&] {
    node_->clock().Advance(absl::Milliseconds(100));
    return silent.is_cut();
  }));

  EXPECT_EQ(Event("refused"), 1u);
  EXPECT_FALSE(welcome->is_cut());
}

TEST_F(UcxDoorTest, AHelloComesFirstAndOnce) {
  RawUcx hasty(node_->ucx_port());
  Ask(hasty, Question(UcxToNodeKind::kMatch, 1, testing::ChainKeys("x", 1)));
  EXPECT_TRUE(hasty.IsCut());
  EXPECT_EQ(Malformed(), 1u);

  const auto twice = ComeIn();
  twice->SendHello(Token());
  EXPECT_TRUE(twice->IsCut());
  EXPECT_EQ(Malformed(), 2u);
}

// A client of another version is told so, and how to go on; the node has no part
// in what it would say next.
TEST_F(UcxDoorTest, AnotherVersionIsRefusedByName) {
  const std::string token = Token();
  for (const uint32_t version : {3u, 5u}) {
    transport::UcxHead hello = EncodeUcx(transport::UcxHello{.token = token});
    StoreLe32(version, hello.data() + 4);
    RawUcx raw(node_->ucx_port());
    raw.Send(hello);

    const absl::Status status = AnswerTo(raw, 0).status;
    EXPECT_EQ(ErrorReason(status), "VERSION") << status;
    EXPECT_THAT(std::string(status.message()),
                ::testing::HasSubstr(absl::StrCat("version ", version)));
    EXPECT_TRUE(raw.IsCut());
  }
  EXPECT_EQ(Event("refused"), 2u);
  EXPECT_EQ(Malformed(), 0u);
  // Its ticket is as good as it was.
  RawUcx right(node_->ucx_port());
  right.SendHello(token);
  EXPECT_TRUE(right.IsWelcome());
}

TEST_F(UcxDoorTest, OnlySoManyClients) {
  Start({.clients_max = 1});
  auto first = ComeIn();
  RawUcx second(node_->ucx_port());
  EXPECT_TRUE(second.IsCut());
  EXPECT_EQ(Event("refused"), 1u);

  first = nullptr;

  EXPECT_TRUE(PollUntil([&] { return Event("closed") == 1; }));
  EXPECT_NE(ComeIn(), nullptr);
}

TEST_F(UcxDoorTest, TheEndOfTheSessionIsTheEndOfTheConnection) {
  const auto raw = ComeIn();

  node_->store().EndSession(session_);

  EXPECT_TRUE(raw->IsCut());
  EXPECT_EQ(ErrorReason(AnswerTo(*raw, 0).status), "SESSION");
  EXPECT_TRUE(PollUntil([&] { return Event("closed") == 1; }));
}

TEST_F(UcxDoorTest, WhoListensInTheNodesPlaceIsNotTakenForIt) {
  const auto ticket = node_->tickets().Issue("ucx", session_);
  const auto ucx =
      transport::ConnectUcx({.ticket = {.host = "127.0.0.1",
                                        .port = node_->ucx_port(),
                                        .token = ticket->token,
                                        .proof = std::string(16, 'x')},
                             .timeout = std::chrono::seconds(10)});

  EXPECT_EQ(ErrorReason(ucx.status()), "UCX_PEER");
}

TEST_F(UcxDoorTest, NobodyThereIsUnavailable) {
  const uint16_t port = node_->ucx_port();
  node_ = nullptr;
  const auto ucx =
      transport::ConnectUcx({.ticket = {.host = "127.0.0.1",
                                        .port = port,
                                        .token = std::string(16, 'x'),
                                        .proof = std::string(16, 'x')},
                             .timeout = std::chrono::seconds(10)});

  EXPECT_TRUE(absl::IsUnavailable(ucx.status())) << ucx.status();
}

// Addresses, in hex, of all TCP sockets at which this process listens.
std::set<std::string> ListeningAddresses() {
  std::set<std::string> own;
  DIR* const folder = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(folder)) {
    char target[64] = {};
    const std::string path = absl::StrCat("/proc/self/fd/", entry->d_name);
    if (readlink(path.c_str(), target, sizeof(target) - 1) > 0) {
      own.insert(target);
    }
  }
  closedir(folder);
  std::set<std::string> addresses;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string number, local, remote, state, field, inode;
      fields >> number >> local >> remote >> state;
      for (int i = 0; i < 5; ++i) fields >> field;
      fields >> inode;
      if (state == "0A" && own.contains(absl::StrCat("socket:[", inode, "]"))) {
        addresses.insert(local.substr(0, local.find(':')));
      }
    }
  }
  return addresses;
}

TEST_F(UcxDoorTest, ListensAtItsAddressOnly) {
  const auto raw = ComeIn();

  const std::string loopback = "0100007F";
  const std::set<std::string> found = ListeningAddresses();
  EXPECT_TRUE(found.contains(loopback));
  for (const std::string& address : found) {
    // gRPC's sockets have the same address in the other form.
    EXPECT_TRUE(address == loopback ||
                address == "0000000000000000FFFF0000" + loopback)
        << address;
  }
}

// ------------------------------------------------------------ what they say ---

TEST_F(UcxDoorTest, WhatIsNoMessageCutsItsSenderOnly) {
  const std::string keys = testing::ChainKeys("others", 2);
  Store(keys, 3000);
  const auto other = ComeIn();
  const std::vector<std::pair<transport::UcxHead, std::string>> wrongs = {
      {transport::UcxHead(0), ""},
      {transport::UcxHead(1), "no kind"},
      {transport::UcxHead(transport::UcxHead::kBytesMax), "long"},
      {EncodeUcx(Question(UcxToNodeKind::kGet, 1, keys)), "no keys"},
      {EncodeUcx(Question(UcxToNodeKind::kCheck, 1, keys)), keys},  // Of two.
      {EncodeUcx(UcxPut{.call_id = 1}),
       std::string(transport::kUcxBodyBytesMax + 1, 'x')},
      // Of several segments, which UCX puts together.
      {EncodeUcx(UcxPut{.call_id = 1}), std::string(kMiB, 'x')}};
  uint64_t cut = 0;
  for (const auto& [head, body] : wrongs) {
    const auto raw = ComeIn();
    raw->Send(head, body);

    EXPECT_TRUE(raw->IsCut()) << cut;
    EXPECT_EQ(Malformed(), ++cut);
  }

  Ask(*other, Question(UcxToNodeKind::kMatch, 7, keys));
  EXPECT_EQ(AnswerTo(*other, 7).blocks, 2u);
}

TEST_F(UcxDoorTest, WhatWouldHaveToBeFetchedCutsItsSender) {
  const std::string keys = testing::ChainKeys("fetched", 1);
  const std::string write_id = Reserve(keys, 3 * kMiB, session_);
  const transport::UcxHead put =
      EncodeUcx(UcxPut{.call_id = 1, .write_id = write_id});
  uint64_t cut = 0;
  // Would fit a message; and would not.
  for (const size_t bytes : {size_t{1000}, size_t{2 * kMiB}}) {
    const auto raw = ComeIn();
    raw->SendToBeFetched(put, std::string(bytes, 'x'));

    EXPECT_TRUE(raw->IsCut()) << bytes;
    EXPECT_EQ(ErrorReason(AnswerTo(*raw, 0).status), "FRAME");
    EXPECT_EQ(Malformed(), ++cut);
  }

  const auto other = ComeIn();
  other->Send(put, std::string(1000, 'x'));
  EXPECT_TRUE(AnswerTo(*other, 1).status.ok()) << "nothing was written before";
}

TEST_F(UcxDoorTest, WhatTheEngineRefusesIsAnAnswer) {
  const auto raw = ComeIn();
  const std::string keys = testing::ChainKeys("refused", 1);
  auto question = Question(UcxToNodeKind::kMatch, 1, keys);
  question.namespace_id = "no such space...";
  Ask(*raw, question);
  question.kind = UcxToNodeKind::kGet;
  question.call_id = 2;
  Ask(*raw, question);

  EXPECT_TRUE(absl::IsNotFound(AnswerTo(*raw, 1).status));
  EXPECT_TRUE(absl::IsNotFound(AnswerTo(*raw, 2).status));
  EXPECT_FALSE(raw->is_cut());
}

TEST_F(UcxDoorTest, ACheckSendsNothingAndDropsOnlyWhatIsDamaged) {
  const std::string keys = testing::ChainKeys("checked", 2);
  const std::string first = keys.substr(0, 32);
  Store(keys, 3 * kMiB);
  const auto raw = ComeIn();
  const auto check = [&](uint64_t call_id) {
    Ask(*raw, Question(UcxToNodeKind::kCheck, call_id, first));
    return AnswerTo(*raw, call_id);
  };

  EXPECT_TRUE(check(1).damaged.empty());
  tiers::HostTierPeer(node_->host()).Payload(IdOf(keys, 0))[2 * kMiB] ^=
      std::byte{1};
  const auto damaged = check(2);
  EXPECT_EQ(damaged.damaged, std::vector<uint32_t>{0});
  EXPECT_EQ(damaged.blocks, 1u);
  EXPECT_EQ(check(3).blocks, 0u) << "it is not stored any more";

  EXPECT_EQ(Counter("banyan_corruption_detected_total{where=\"checksum\"}"),
            1u);
  EXPECT_EQ(raw->messages().size(), 4u) << "a welcome and three answers";
  EXPECT_TRUE(IsUnpinned());
}

TEST_F(UcxDoorTest, BytesOfAWriteComeInOrder) {
  const std::string keys = testing::ChainKeys("written", 1);
  const std::string write_id = Reserve(keys, 3000, session_);
  const auto raw = ComeIn();
  const auto put = [&](uint64_t call_id, uint64_t offset, size_t bytes) {
    raw->Send(EncodeUcx(UcxPut{
                  .call_id = call_id, .write_id = write_id, .offset = offset}),
              std::string(bytes, 'x'));
    return AnswerTo(*raw, call_id).status;
  };

  EXPECT_TRUE(put(1, 0, 1000).ok());
  EXPECT_EQ(ErrorReason(put(2, 1001, 10)), "OFFSET");  // A gap.
  EXPECT_EQ(ErrorReason(put(3, 999, 10)), "OFFSET");   // An overlap.
  EXPECT_FALSE(put(4, 1000, 2001).ok());               // Too much.
  EXPECT_TRUE(put(5, 1000, 2000).ok());
  EXPECT_FALSE(raw->is_cut());
}

TEST_F(UcxDoorTest, NobodyWritesForAnotherSession) {
  const std::string other = *node_->store().OpenSession("other");
  const std::string keys = testing::ChainKeys("foreign", 1);
  const std::string write_id = Reserve(keys, 3000, other);
  const auto raw = ComeIn();
  raw->Send(EncodeUcx(UcxPut{.call_id = 1, .write_id = write_id}),
            std::string(3000, 'x'));

  EXPECT_EQ(ErrorReason(AnswerTo(*raw, 1).status), "WRITE");
}

// ---------------------------------------------------- what they do not take ---

class UcxDoorLimitTest : public UcxDoorTest {
 protected:
  // More than all buffers between a node and a client hold.
  void StoreMuch() { Store(keys_, kBlockBytes); }
  // All buffers on the way are full: nothing has left for a while. The most that was
  // pinned until then is `pinned_max`.
  bool IsStuck(uint64_t pinned_at_least, uint64_t& pinned_max) {
    uint64_t last = 0;
    int same = 0;
    return PollUntil([&] {
      pinned_max = std::max(pinned_max, pinned());
      const uint64_t now = Counter("banyan_fetch_blocks_total{tier=\"host\"}");
      same = now == last ? same + 1 : 0;
      last = now;
      return same > 50 && pinned() >= pinned_at_least;
    });
  }
  bool IsStuck() {
    uint64_t pinned_max = 0;
    return IsStuck(2 * kBlockBytes + 1, pinned_max);
  }
  // UCX holds parts of two blocks at most.
  bool HoldsLittle() { return pinned() <= 2 * kBlockBytes; }

  const std::string keys_ = testing::ChainKeys("much", 12);
};

TEST_F(UcxDoorLimitTest, OnlySoManyReadsAtATime) {
  Start({.reads_max = 2});
  StoreMuch();
  const auto raw = ComeIn();
  {
    for (uint64_t id = 1; id <= 3; ++id) {
      Ask(*raw, Question(UcxToNodeKind::kGet, id, keys_));
    }
    const Hanging hanging(*raw);
    EXPECT_TRUE(PollUntil([&] { return pinned() > 2 * kBlockBytes; }));
  }

  EXPECT_EQ(ErrorReason(AnswerTo(*raw, 3).status), "READS");
  EXPECT_EQ(AnswerTo(*raw, 1).blocks, 12u);
  EXPECT_EQ(AnswerTo(*raw, 2).blocks, 12u);
  EXPECT_TRUE(IsUnpinned());
}

// Reads beyond the limit wait, and are answered all the same.
TEST_F(UcxDoorLimitTest, ReadsPinOnlySoMuch) {
  constexpr uint64_t kReads = 6;
  Start({.pinned_bytes_max = kBlockBytes});
  StoreMuch();
  const auto raw = ComeIn();
  uint64_t pinned_max = 0;
  {
    raw->Do([&] {  // Of two blocks each.
      for (uint64_t id = 1; id <= kReads; ++id) {
        auto get = Question(UcxToNodeKind::kGet, id, keys_);
        std::string lead = keys_.substr(0, (id - 1) * 64);
        get.run.keys = get.run.keys.substr(lead.size(), 64);
        get.run.first_block = static_cast<uint32_t>(2 * (id - 1));
        get.run.lead = lead;
        raw->SendNow(EncodeUcx(get), UcxBodyOf(get));
      }
    });
    const Hanging hanging(*raw);
    EXPECT_TRUE(IsStuck(1, pinned_max));
  }

  // One that is under way, one more, and what UCX still reads of those before.
  EXPECT_LE(pinned_max, 5 * kBlockBytes);
  for (uint64_t id = 1; id <= kReads; ++id) {
    EXPECT_EQ(AnswerTo(*raw, id).blocks, 2u) << id;
  }
  EXPECT_TRUE(IsUnpinned());
}

TEST_F(UcxDoorLimitTest, AReadHasOnlySoManyBlocks) {
  Start({.read_blocks_max = 11});
  StoreMuch();
  const auto raw = ComeIn();
  Ask(*raw, Question(UcxToNodeKind::kGet, 1, keys_));
  Ask(*raw, Question(UcxToNodeKind::kMatch, 2, keys_));

  EXPECT_EQ(ErrorReason(AnswerTo(*raw, 1).status), "BLOCKS");
  EXPECT_EQ(AnswerTo(*raw, 2).blocks, 12u);
}

TEST_F(UcxDoorLimitTest, ACancelledReadPinsNothingMore) {
  StoreMuch();
  const auto raw = ComeIn();
  Ask(*raw, Question(UcxToNodeKind::kGet, 1, keys_));
  raw->Send(EncodeUcx(UcxCancel{.call_id = 1}));
  raw->Send(EncodeUcx(UcxCancel{.call_id = 99}));  // Unknown: nothing.
  {
    const Hanging hanging(*raw);
    EXPECT_TRUE(PollUntil([&] { return HoldsLittle(); }));
  }

  Ask(*raw, Question(UcxToNodeKind::kMatch, 2, keys_));
  EXPECT_EQ(AnswerTo(*raw, 2).blocks, 12u);
  EXPECT_TRUE(IsUnpinned());
  for (const auto& answer : raw->answers()) EXPECT_NE(answer.call_id, 1u);
}

TEST_F(UcxDoorLimitTest, AnOverdueReadPinsOnlyWhatUcxHolds) {
  StoreMuch();
  const auto raw = ComeIn();
  auto question = Question(UcxToNodeKind::kGet, 1, keys_);
  question.timeout_ms = 1000;
  {
    Ask(*raw, question);
    const Hanging hanging(*raw);
    ASSERT_TRUE(IsStuck());

    node_->clock().Advance(absl::Seconds(2));

    EXPECT_TRUE(PollUntil([&] { return HoldsLittle(); }));
    EXPECT_GT(pinned(), 0u) << "UCX still reads it";
    EXPECT_EQ(Counter("banyan_ucx_reads_overdue_total"), 1u);
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(AnswerTo(*raw, 1).status));
  EXPECT_TRUE(IsUnpinned());
  EXPECT_FALSE(raw->is_cut());
}

// Whatever time the client gave it.
TEST_F(UcxDoorLimitTest, AReadHasOnlySoMuchTime) {
  Start({.read_time_max = absl::Seconds(2)});
  StoreMuch();
  const auto raw = ComeIn();
  {
    Ask(*raw, Question(UcxToNodeKind::kGet, 1, keys_));
    const Hanging hanging(*raw);
    ASSERT_TRUE(IsStuck());

    node_->clock().Advance(absl::Seconds(3));

    EXPECT_TRUE(PollUntil([&] { return HoldsLittle(); }));
  }
  EXPECT_TRUE(absl::IsDeadlineExceeded(AnswerTo(*raw, 1).status));
  EXPECT_FALSE(raw->is_cut());
}

TEST_F(UcxDoorLimitTest, WhoTakesNothingIsCut) {
  StoreMuch();
  const auto raw = ComeIn();
  {
    Ask(*raw, Question(UcxToNodeKind::kGet, 1, keys_));
    const Hanging hanging(*raw);
    ASSERT_TRUE(IsStuck());

    EXPECT_TRUE(PollUntil([&] {
      node_->clock().Advance(absl::Seconds(5));
      return Event("stalled") == 1;
    }));

    EXPECT_TRUE(IsUnpinned()) << "and so is nothing kept";
    EXPECT_TRUE(PollUntil([&] { return Event("closed") == 1; }));
  }
  EXPECT_TRUE(raw->IsCut());
}

TEST_F(UcxDoorLimitTest, WhoAsksAndDoesNotListenIsCut) {
  Start({.answers_max = 8});
  StoreMuch();
  const auto raw = ComeIn();
  const auto get = Question(UcxToNodeKind::kGet, 1, keys_);
  const auto match = Question(UcxToNodeKind::kMatch, 2, keys_);
  // Bytes of the blocks fill all there is between the two; then answers wait.
  raw->Do([&] {
    raw->SendNow(EncodeUcx(get), UcxBodyOf(get));
    PollUntil([&] {
      raw->SendNow(EncodeUcx(match), UcxBodyOf(match));
      return Event("stalled") == 1;
    });
  });

  EXPECT_TRUE(raw->IsCut());
  EXPECT_EQ(Event("stalled"), 1u);
  EXPECT_TRUE(IsUnpinned());
}

}  // namespace
}  // namespace banyan
