// Goal: the node's door for its own host lets in who may come, shares no more
// than it must, and survives whatever a client does to the memory they share.
// Method: clients by hand, over the channel's words, at a node in this process;
// one that dies is a process of its own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "base/bytes.h"
#include "base/error.h"
#include "client/transport/shm_channel.h"
#include "client/transport/shm_connect.h"
#include "client/transport/shm_layer_messages.h"
#include "client/transport/shm_peer.h"
#include "client/transport/shm_transport.h"
#include "tests/integration/layers.h"
#include "tests/integration/node.h"
#include "tests/testing/bare_node.h"
#include "tests/testing/host_tier_peer.h"

namespace banyan {
namespace {

using std::chrono::milliseconds;
using transport::ShmChannel;
using transport::ShmDoorway;
using transport::ShmMapping;

constexpr milliseconds kTimeout{5000};

class ShmDoorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session_ = *node_.store().OpenSession("client");
    ns_ = node_.store()
              .OpenNamespace("door", testing::OpaqueFingerprint())
              ->ns->id;
  }

  transport::ShmTicket Ticket() {
    const auto ticket = node_.tickets().Issue("shm", session_);
    return {.socket_path = ticket->address,
            .token = ticket->token,
            .proof = ticket->proof};
  }

  absl::StatusOr<ShmDoorway> ComeIn(const transport::ShmTicket& ticket) {
    return transport::ComeIn(ticket, kTimeout);
  }
  std::unique_ptr<transport::ShmTransport> Connect() {
    auto shm = transport::ShmTransport::Connect({.ticket = Ticket()});
    EXPECT_TRUE(shm.ok()) << shm.status();
    return shm.ok() ? *std::move(shm) : nullptr;
  }

  uint64_t Counter(std::string_view name) {
    for (const auto& reading : node_.store().Stats()) {
      if (reading.name == name) return reading.value;
    }
    return UINT64_MAX;
  }
  uint64_t Refused() {
    return Counter("banyan_shm_connections_total{event=\"refused\"}");
  }
  uint64_t Closed() {
    return Counter("banyan_shm_connections_total{event=\"closed\"}");
  }

  // Stores a chain of blocks of `bytes`, in pieces of `piece_bytes`; 0: in one.
  void Store(const std::string& keys, uint64_t bytes,
             uint64_t piece_bytes = 0) {
    const KeyRun run{.keys = {keys.data(), keys.size()}, .key_bytes = 32};
    const engine::Target target{.namespace_id = ns_, .run = run};
    const auto reserved =
        node_.store().Reserve(session_, 0, target, {bytes}, piece_bytes);
    const auto write = node_.store().FindWrite(session_, reserved->write_id);
    const auto seeds =
        transport::ChecksumSeeds({.namespace_id = ns_, .run = run});
    std::vector<engine::OpenWrite::Claim> claims;
    for (uint32_t i = 0; i < run.size(); ++i) {
      const auto payload = testing::PayloadOf("door", keys, i, bytes);
      ASSERT_TRUE((*write)->Write(i, 0, payload).ok());
      engine::OpenWrite::Claim& claim = claims.emplace_back();
      claim.ordinal = i;
      const uint64_t step = piece_bytes == 0 ? bytes : piece_bytes;
      for (uint64_t at = 0; at < bytes; at += step) {
        claim.checksums.push_back(
            PieceChecksum(seeds[i], static_cast<uint32_t>(at / step),
                          absl::MakeConstSpan(payload).subspan(at, step)));
      }
    }
    ASSERT_TRUE(
        node_.store().Commit(session_, reserved->write_id, claims).ok());
  }

  // The stored block i of the chain, to be damaged.
  BlockId IdOf(const std::string& keys, size_t i) {
    auto& spaces = node_.store().namespaces();
    const auto key = testing::KeyNo(keys, i);
    return spaces.HasherFor(**spaces.FindById(ns_),
                            "")({key.data(), key.size()});
  }

  absl::StatusOr<transport::ShmTransport::Leased> Lease(
      transport::ShmTransport& shm, const std::string& keys,
      transport::ViewCheck check = transport::ViewCheck::kAtCommit,
      milliseconds ttl = milliseconds(60000)) {
    return shm.Lease(
        {.namespace_id = ns_,
         .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}},
        ttl, check, Soon(), found_);
  }
  // One of each kind, about these blocks, a lease on them and a write, all real.
  std::vector<std::string> Questions(const std::string& keys) {
    transport::ShmBlocksQuestion blocks{
        .namespace_id = ns_,
        .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32},
        .ttl_ms = 60000};
    std::vector<std::string> questions;
    for (const auto kind :
         {transport::ShmKind::kMatch, transport::ShmKind::kGet,
          transport::ShmKind::kLease}) {
      blocks.kind = kind;
      std::string& out = questions.emplace_back(QuestionBytes(blocks), '\0');
      EncodeQuestion(
          blocks,
          absl::MakeSpan(reinterpret_cast<std::byte*>(out.data()), out.size()));
    }
    questions.push_back(EncodeQuestion(transport::ShmCheck{.ordinal = 1}));
    const std::string lease_id =
        node_.store()
            .Acquire(session_, 0, {.namespace_id = ns_, .run = blocks.run},
                     engine::AcquireMode::kLongestPrefix, absl::Minutes(1))
            ->lease_id;
    for (const auto kind :
         {transport::ShmKind::kRenew, transport::ShmKind::kRelease}) {
      questions.push_back(EncodeQuestion(transport::ShmLeaseQuestion{
          .kind = kind, .ttl_ms = 1000, .lease_id = lease_id}));
    }
    const std::string other = testing::ChainKeys("written", 1);
    const std::string write_id =
        node_.store()
            .Reserve(session_, 0,
                     {.namespace_id = ns_,
                      .run = {.keys = {other.data(), other.size()},
                              .key_bytes = 32}},
                     {uint64_t{1} << 20}, 0)
            ->write_id;
    questions.push_back(
        EncodeQuestion(transport::ShmPut{.write_id = write_id, .bytes = 1000}));
    return questions;
  }

  static transport::Call Soon() {
    return {.deadline = std::chrono::steady_clock::now() + kTimeout};
  }

  testing::BareNode node_;
  ClientStats found_;
  std::string session_;
  std::string ns_;
};

// The memory of one client, and its words.
class Raw {
 public:
  explicit Raw(ShmDoorway doorway)
      : doorway_(std::move(doorway)),
        memory_(*ShmMapping::Map(doorway_.channel.get(),
                                 transport::kShmChannelBytes,
                                 ShmMapping::Access::kReadWrite)),
        channel(memory_.bytes()) {}

  void Ring() {
    std::atomic_ref(channel.doorbell()).fetch_add(1);
    transport::FutexWake(channel.doorbell());
  }
  // Asks with `bytes` of what stands in the question's area.
  void Ask(uint32_t slot, uint32_t bytes) {
    auto& words = channel.slot(slot);
    transport::StoreWord(words.question_bytes, bytes);
    transport::StoreWord(words.asked, transport::LoadWord(words.asked) + 1);
    Ring();
  }
  void Ask(uint32_t slot, const std::string& question) {
    std::copy_n(AsBytes(question).begin(), question.size(),
                channel.question(slot).begin());
    Ask(slot, static_cast<uint32_t>(question.size()));
  }
  void Ask(uint32_t slot, const transport::ShmBlocksQuestion& question) {
    const size_t size = transport::QuestionBytes(question);
    const auto area = channel.question(slot).first(size);
    transport::EncodeQuestion(question,
                              absl::MakeSpan(area.data(), area.size()));
    Ask(slot, static_cast<uint32_t>(size));
  }
  bool IsAnswered(uint32_t slot) {
    auto& words = channel.slot(slot);
    return testing::PollUntil([&] {
      return transport::LoadWord(words.answered) ==
             transport::LoadWord(words.asked);
    });
  }
  int socket() const { return doorway_.socket.get(); }

 private:
  ShmDoorway doorway_;
  ShmMapping memory_;

 public:
  ShmChannel channel;
};

// True if the node closes its end within ten seconds.
bool IsCut(int socket) {
  const timeval limit{.tv_sec = 10};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  char byte = 0;
  return recv(socket, &byte, 1, 0) == 0;
}

TEST_F(ShmDoorTest, ATicketLetsInOnce) {
  const auto ticket = Ticket();
  auto other = ticket;
  other.token = std::string(16, 'x');

  EXPECT_TRUE(ComeIn(ticket).ok());
  EXPECT_EQ(ErrorReason(ComeIn(ticket).status()), "TICKET");
  EXPECT_EQ(ErrorReason(ComeIn(other).status()), "TICKET");
  EXPECT_TRUE(testing::PollUntil([&] { return Refused() == 2; }));
}

TEST_F(ShmDoorTest, NobodyThereIsUnavailable) {
  auto ticket = Ticket();
  ticket.socket_path += "-no-such";
  const auto status = ComeIn(ticket).status();

  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(ShmDoorTest, UsersTrustThemselvesAndRoot) {
  EXPECT_TRUE(transport::IsTrustedUser(1000, 1000));
  EXPECT_TRUE(transport::IsTrustedUser(0, 1000));
  EXPECT_FALSE(transport::IsTrustedUser(1000, 1001));
  EXPECT_FALSE(transport::IsTrustedUser(1000, 0));
}

// Somebody who took the node's path speaks like a node, but cannot know what the
// node told the client.
TEST_F(ShmDoorTest, AnotherListenerIsNotTakenForTheNode) {
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});
  const std::string path = node_.shm_path() + "6";
  const auto door =
      transfer::ShmDoor::Open({.socket_path = path}, calls, tickets);
  ASSERT_TRUE(door.ok()) << door.status();
  const auto issued = tickets.Issue("shm", session_);
  transport::ShmTicket ticket{.socket_path = path,
                              .token = issued->token,
                              .proof = std::string(16, 'x')};

  EXPECT_EQ(ErrorReason(ComeIn(ticket).status()), "SHM_PEER");
  ticket.proof.clear();
  EXPECT_EQ(ErrorReason(ComeIn(ticket).status()), "TICKET");
}

TEST_F(ShmDoorTest, TheSocketIsForItsUserOnly) {
  struct stat facts{};
  ASSERT_EQ(stat(node_.shm_path().c_str(), &facts), 0);

  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST_F(ShmDoorTest, NoSecondNodeTakesASocketInUse) {
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});

  const auto door = transfer::ShmDoor::Open({.socket_path = node_.shm_path()},
                                            calls, tickets);

  EXPECT_EQ(ErrorReason(door.status()), "SHM_SOCKET");
  EXPECT_TRUE(ComeIn(Ticket()).ok());
}

TEST_F(ShmDoorTest, ASocketOfADeadNodeIsTakenOver) {
  const std::string path = node_.shm_path() + "2";
  const int stale = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  close(stale);  // The file stays.
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});

  EXPECT_TRUE(
      transfer::ShmDoor::Open({.socket_path = path}, calls, tickets).ok());

  EXPECT_NE(access(path.c_str(), F_OK), 0);  // Gone with the door.
}

TEST_F(ShmDoorTest, OtherFilesAreNotRemoved) {
  const std::string path = node_.shm_path() + "3";
  close(open(path.c_str(), O_CREAT | O_WRONLY, 0600));
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});

  EXPECT_FALSE(
      transfer::ShmDoor::Open({.socket_path = path}, calls, tickets).ok());

  EXPECT_EQ(unlink(path.c_str()), 0);
}

TEST_F(ShmDoorTest, TheArenaCannotBeWrittenByClients) {
  const auto doorway = ComeIn(Ticket());
  const int fd = doorway->arena.get();

  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
            MAP_FAILED);
  char byte = 'x';
  EXPECT_LT(pwrite(fd, &byte, 1, 0), 0);
  EXPECT_NE(ftruncate(fd, 0), 0);
  void* const read_only = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(read_only, MAP_FAILED);
  EXPECT_NE(mprotect(read_only, 4096, PROT_READ | PROT_WRITE), 0);
}

TEST_F(ShmDoorTest, NobodyCanShrinkWhatIsShared) {
  const auto doorway = ComeIn(Ticket());

  EXPECT_NE(ftruncate(doorway->channel.get(), 0), 0);
  EXPECT_NE(ftruncate(doorway->window.get(), 0), 0);
}

TEST_F(ShmDoorTest, WhoTalksAfterTheWelcomeIsCut) {
  auto doorway = ComeIn(Ticket());
  const int fd = doorway->socket.get();

  ASSERT_EQ(send(fd, "more", 4, MSG_NOSIGNAL), 4);

  EXPECT_TRUE(IsCut(fd));
  EXPECT_TRUE(testing::PollUntil([&] { return Closed() == 1; }));
}

TEST_F(ShmDoorTest, AHelloThatIsNoneIsRefused) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  node_.shm_path().copy(address.sun_path, node_.shm_path().size());
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  ASSERT_EQ(send(fd, "GET / HTTP/1.1", 14, MSG_NOSIGNAL), 14);

  char answer[512];
  EXPECT_GT(recv(fd, answer, sizeof(answer), 0), 0);
  EXPECT_TRUE(IsCut(fd));
  close(fd);
}

TEST_F(ShmDoorTest, WhoSaysNothingIsCut) {
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});
  const std::string path = node_.shm_path() + "4";
  const auto door = transfer::ShmDoor::Open(
      {.socket_path = path, .hello_timeout = absl::Milliseconds(20)}, calls,
      tickets);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);

  EXPECT_TRUE(IsCut(fd));
  close(fd);
}

TEST_F(ShmDoorTest, OnlySoManyClients) {
  transfer::DoorTickets tickets({}, node_.clock());
  const transfer::ShmCalls calls(node_.store(), node_.host(), node_.clock(),
                                 {});
  const std::string path = node_.shm_path() + "5";
  const auto door = transfer::ShmDoor::Open(
      {.socket_path = path, .clients_max = 1}, calls, tickets);
  const auto come = [&] {
    const auto ticket = tickets.Issue("shm", session_);
    return ComeIn(
        {.socket_path = path, .token = ticket->token, .proof = ticket->proof});
  };

  auto first = come();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(ErrorReason(come().status()), "SHM_CLIENTS");
  first = absl::CancelledError("");  // Closes it.
  EXPECT_TRUE(testing::PollUntil([&] { return come().ok(); }));
}

TEST_F(ShmDoorTest, TheEndOfTheSessionIsTheEndOfTheConnection) {
  const auto shm = Connect();
  ASSERT_TRUE(shm->is_alive());

  node_.store().EndSession(session_);

  EXPECT_TRUE(testing::PollUntil([&] { return !shm->is_alive(); }));
}

// The session's leases go at once, but what a reader may still take for its
// blocks stays until it can know better.
TEST_F(ShmDoorTest, WhatIsReadInPlaceStaysUntilTheReaderCanKnow) {
  const std::string keys = testing::ChainKeys("viewed", 2);
  Store(keys, 3000);
  const auto shm = Connect();
  const auto leased = Lease(*shm, keys);
  ASSERT_TRUE(leased.ok()) << leased.status();
  ASSERT_EQ(leased->blocks.size(), 2u);

  node_.store().EndSession(session_);

  EXPECT_EQ(Counter("banyan_leases"), 0u);
  EXPECT_TRUE(testing::PollUntil([&] {
    const uint64_t pinned = node_.host().usage().pinned_bytes;
    if (!shm->is_alive()) return true;
    EXPECT_GT(pinned, 0u) << "alive, and nothing holds the blocks";
    return pinned == 0;
  }));
  EXPECT_FALSE(shm->is_alive());
  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_.host().usage().pinned_bytes == 0; }));
}

// A view that ends leaves no pin behind, whoever ends it.
TEST_F(ShmDoorTest, PinsOfALeaseEndWithItsReleaseOrItsTime) {
  const std::string keys = testing::ChainKeys("leased", 2);
  Store(keys, 3000);
  const auto shm = Connect();
  const auto is_unpinned = [&] {
    return node_.host().usage().pinned_bytes == 0;
  };

  const auto released = Lease(*shm, keys);
  ASSERT_TRUE(released.ok()) << released.status();
  EXPECT_FALSE(is_unpinned());
  ASSERT_TRUE(shm->Release(released->lease_id, Soon()).ok());
  EXPECT_TRUE(testing::PollUntil(is_unpinned));

  ASSERT_TRUE(Lease(*shm, keys).ok());
  node_.clock().Advance(absl::Seconds(61));
  node_.Tick();
  EXPECT_TRUE(testing::PollUntil(is_unpinned));
}

TEST_F(ShmDoorTest, DamageSeenInPlaceIsReportedAndLeasesNothing) {
  const std::string keys = testing::ChainKeys("damaged", 3);
  Store(keys, 3000);
  const auto shm = Connect();
  tiers::HostTierPeer peer(node_.host());
  const std::string where =
      "banyan_corruption_detected_total{where=\"checksum\"}";

  peer.Payload(IdOf(keys, 1))[7] ^= std::byte{1};
  const auto some = Lease(*shm, keys, transport::ViewCheck::kNow);
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->blocks.size(), 1u);
  EXPECT_EQ(some->lease_id.size(), 16u);
  EXPECT_EQ(Counter(where), 1u);
  ASSERT_TRUE(shm->Release(some->lease_id, Soon()).ok());

  peer.Payload(IdOf(keys, 0))[7] ^= std::byte{1};
  const auto none = Lease(*shm, keys, transport::ViewCheck::kNow);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->blocks.empty());
  EXPECT_EQ(none->lease_id, "");
  EXPECT_EQ(Counter(where), 2u);
  EXPECT_EQ(found_.corrupt_checksum, 2u);
  EXPECT_TRUE(testing::PollUntil([&] {
    return Counter("banyan_leases") == 0 &&
           node_.host().usage().pinned_bytes == 0;
  }));
}

// However long the block is.
TEST_F(ShmDoorTest, ACallThatIsOverCopiesNoPieceMore) {
  struct Stopper final : transport::PieceSink {
    void OnPiece(uint32_t, uint32_t piece) override {
      if (piece == 1) source.request_stop();
    }
    std::stop_source source;
  };
  const std::string keys = testing::ChainKeys("pieces", 1);
  Store(keys, 4000, 1000);
  const auto shm = Connect();
  std::vector<std::byte> buffer(4000, std::byte{0xEE});
  const std::vector<std::span<std::byte>> buffers = {buffer};
  Stopper stopper;
  transport::GetResult result;
  const absl::Status status = shm->Get(
      {.blocks = {.namespace_id = ns_,
                  .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}},
       .buffers = buffers,
       .sink = &stopper},
      {.deadline = Soon().deadline, .cancel = stopper.source.get_token()},
      result);

  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(result.blocks[0].result, ReadResult::kMiss);
  EXPECT_EQ(result.blocks[0].landed_pieces, 2u);
  const std::vector<std::byte> untouched(2000, std::byte{0xEE});
  EXPECT_TRUE(
      std::equal(untouched.begin(), untouched.end(), buffer.begin() + 2000));
}

TEST_F(ShmDoorTest, ALeaseNeedsATime) {
  const std::string keys = testing::ChainKeys("timeless", 1);
  Store(keys, 3000);
  const auto shm = Connect();
  const auto leased = Lease(*shm, keys);

  for (const int ttl_ms : {0, -1, -20000}) {
    const milliseconds ttl(ttl_ms);
    EXPECT_EQ(
        ErrorReason(
            Lease(*shm, keys, transport::ViewCheck::kAtCommit, ttl).status()),
        "TTL");
    EXPECT_EQ(ErrorReason(shm->Renew(leased->lease_id, ttl, Soon()).status()),
              "TTL");
  }
  EXPECT_EQ(Counter("banyan_leases"), 1u);
}

// A thread less is a client less, not a node less.
TEST_F(ShmDoorTest, WithoutAThreadAClientIsRefused) {
  pthread_attr_t usual;
  pthread_attr_t huge;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
  // A stack that no address space has room for.
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 47), 0);
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);

  const auto refused = ComeIn(Ticket());

  ASSERT_EQ(pthread_setattr_default_np(&usual), 0);
  EXPECT_EQ(ErrorReason(refused.status()), "THREADS");
  EXPECT_TRUE(ComeIn(Ticket()).ok());
}

TEST_F(ShmDoorTest, AnyBytesInTheChannelAreAnsweredOrIgnored) {
  const std::string keys = testing::ChainKeys("fuzzed", 4);
  Store(keys, 3000);
  const std::vector<std::string> questions = Questions(keys);
  Raw raw(*ComeIn(Ticket()));
  std::mt19937_64 random(20261124);
  int understood = 0;
  for (int round = 0; round < 4000; ++round) {
    const uint32_t slot = random() % transport::kShmSlots;
    const auto area = raw.channel.question(slot);
    uint32_t size = 256;
    if (random() % 2 == 0) {
      for (size_t at = 0; at < size; ++at) {
        area[at] = static_cast<std::byte>(random());
      }
      area[0] = static_cast<std::byte>(random() % 9);
    } else {  // Ids and keys that are right, and often a byte that is not.
      const std::string& question = questions[random() % questions.size()];
      std::copy_n(AsBytes(question).begin(), question.size(), area.begin());
      size = static_cast<uint32_t>(question.size());
      if (random() % 4 != 0) {
        area[random() % std::min(size, 48u)] = static_cast<std::byte>(random());
      }
    }
    // Lengths and words that lie, too.
    raw.Ask(slot, random() % 4 == 0 ? static_cast<uint32_t>(random()) : size);
    ASSERT_TRUE(raw.IsAnswered(slot)) << round;
    if (LoadLe32(raw.channel.answer(slot).data()) == 0) ++understood;
    raw.channel.slot(slot).answered = static_cast<uint32_t>(random());
    raw.channel.slot(slot).answer_bytes = static_cast<uint32_t>(random());
    transport::StoreWord(raw.channel.slot(slot).answered,
                         transport::LoadWord(raw.channel.slot(slot).asked));
    transport::StoreWord(raw.channel.slot(slot).released,
                         static_cast<uint32_t>(random()));
    transport::StoreWord(raw.channel.slot(slot).is_waiting,
                         static_cast<uint32_t>(random()));
    transport::StoreWord(raw.channel.is_sleeping(),
                         static_cast<uint32_t>(random()));
  }

  // The node serves others as if nothing had been.
  const auto shm = Connect();
  EXPECT_EQ(*shm->Match(
                {.namespace_id = ns_,
                 .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}},
                {.deadline = std::chrono::steady_clock::now() + kTimeout}),
            4u);
  EXPECT_GT(Counter("banyan_shm_malformed_total"), 100u);
  EXPECT_GT(understood, 100);
}

TEST_F(ShmDoorTest, UnreleasedBlocksAreUnpinnedInTime) {
  const std::string keys = testing::ChainKeys("kept", 2);
  Store(keys, 3000);
  Raw raw(*ComeIn(Ticket()));
  const transport::ShmBlocksQuestion question{
      .kind = transport::ShmKind::kGet,
      .namespace_id = ns_,
      .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}};
  const size_t size = transport::QuestionBytes(question);
  const auto area = raw.channel.question(3).first(size);
  transport::EncodeQuestion(question, absl::MakeSpan(area.data(), area.size()));
  raw.Ask(3, static_cast<uint32_t>(size));
  ASSERT_TRUE(raw.IsAnswered(3));
  EXPECT_GT(node_.host().usage().pinned_bytes, 0u);

  node_.clock().Advance(absl::Seconds(11));

  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_.host().usage().pinned_bytes == 0; }));
}

// A client that takes back a question which waits for a writer: what it asked
// about is let go of like all else.
TEST_F(ShmDoorTest, AQuestionThatIsTakenBackPinsNothing) {
  testing::LayerPeer writer(node_.endpoint(), testing::AllTransports()[0],
                            "writer");
  const std::string keys = testing::ChainKeys("awaited", 2);
  ASSERT_TRUE(writer.PutAll(keys.substr(0, 32)).ok());
  const std::string write = writer.Reserve(keys);  // Of the second block.
  Raw raw(*ComeIn(Ticket()));
  const transport::ShmBlocksQuestion follow{
      .kind = transport::ShmKind::kFollow,
      .namespace_id = writer.ns(),
      .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}};
  raw.Ask(0, follow);
  ASSERT_TRUE(raw.IsAnswered(0));
  raw.Ask(0, EncodeQuestion(transport::ShmLayersQuestion{
                 .block = 1, .blocks = 2, .pieces = 1, .wait_ms = 1000}));
  for (int i = 0; i < 2; ++i) {  // Between two answers all slots have a turn.
    raw.Ask(1, EncodeQuestion(transport::ShmCheck{}));
    ASSERT_TRUE(raw.IsAnswered(1));
  }
  auto& words = raw.channel.slot(0);
  ASSERT_EQ(transport::LoadWord(words.answered), 1u) << "it waits";
  EXPECT_GT(node_.host().usage().pinned_bytes, 0u);

  transport::StoreWord(words.asked, 1);
  node_.clock().Advance(absl::Seconds(11));

  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_.host().usage().pinned_bytes == 0; }));
  // The slot is as good as any.
  raw.Ask(0, follow);
  EXPECT_TRUE(raw.IsAnswered(0));
  EXPECT_EQ(LoadLe32(raw.channel.answer(0).data()), 0u);
  writer.Abort(write);
}

TEST_F(ShmDoorTest, ADeadClientPinsNothing) {
  const std::string keys = testing::ChainKeys("dead", 2);
  Store(keys, 3000);
  const auto ticket = Ticket();
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // Whatever becomes of the test.
    Raw raw(*ComeIn(ticket));
    const transport::ShmBlocksQuestion question{
        .kind = transport::ShmKind::kGet,
        .namespace_id = ns_,
        .run = {.keys = {keys.data(), keys.size()}, .key_bytes = 32}};
    const size_t size = transport::QuestionBytes(question);
    const auto area = raw.channel.question(0).first(size);
    transport::EncodeQuestion(question,
                              absl::MakeSpan(area.data(), area.size()));
    raw.Ask(0, static_cast<uint32_t>(size));
    while (true) pause();
  }
  ASSERT_TRUE(testing::PollUntil(
      [&] { return node_.host().usage().pinned_bytes > 0; }));

  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  EXPECT_TRUE(testing::PollUntil(
      [&] { return node_.host().usage().pinned_bytes == 0; }));
  EXPECT_TRUE(testing::PollUntil([&] { return Closed() == 1; }));
}

TEST_F(ShmDoorTest, AWriterCannotChangeWhatItPublished) {
  const std::string keys = testing::ChainKeys("changed", 1);
  const auto doorway = ComeIn(Ticket());
  const auto window =
      ShmMapping::Map(doorway->window.get(), transport::kShmWindowBytes,
                      ShmMapping::Access::kReadWrite);
  const auto channel_memory =
      ShmMapping::Map(doorway->channel.get(), transport::kShmChannelBytes,
                      ShmMapping::Access::kReadWrite);
  const ShmChannel channel(channel_memory->bytes());
  const KeyRun run{.keys = {keys.data(), keys.size()}, .key_bytes = 32};
  const auto reserved = node_.store().Reserve(
      session_, 0, {.namespace_id = ns_, .run = run}, {3000}, 0);
  const auto payload = testing::PayloadOf("door", keys, 0, 3000);
  std::copy(payload.begin(), payload.end(), window->bytes().begin());
  const std::string question = transport::EncodeQuestion(
      transport::ShmPut{.write_id = reserved->write_id, .bytes = 3000});
  std::copy_n(reinterpret_cast<const std::byte*>(question.data()),
              question.size(), channel.question(0).begin());
  auto& words = channel.slot(0);
  transport::StoreWord(words.question_bytes,
                       static_cast<uint32_t>(question.size()));
  transport::StoreWord(words.asked, 1);
  std::atomic_ref(channel.doorbell()).fetch_add(1);
  transport::FutexWake(channel.doorbell());
  ASSERT_TRUE(testing::PollUntil(
      [&] { return transport::LoadWord(words.answered) == 1; }));

  std::fill_n(window->bytes().begin(), 3000, std::byte{0});

  const auto seeds =
      transport::ChecksumSeeds({.namespace_id = ns_, .run = run});
  ASSERT_TRUE(
      node_.store()
          .Commit(session_, reserved->write_id,
                  {{.ordinal = 0,
                    .checksums = {PieceChecksum(seeds[0], 0, payload)}}})
          .ok());
  const auto shm = Connect();
  std::vector<std::byte> read(3000);
  const std::vector<std::span<std::byte>> buffers = {read};
  transport::GetResult result;
  ASSERT_TRUE(
      shm->Get(
             {.blocks = {.namespace_id = ns_, .run = run}, .buffers = buffers},
             {.deadline = std::chrono::steady_clock::now() + kTimeout}, result)
          .ok());
  EXPECT_EQ(result.blocks[0].result, ReadResult::kHit);
  EXPECT_EQ(read, payload);
}

}  // namespace
}  // namespace banyan
