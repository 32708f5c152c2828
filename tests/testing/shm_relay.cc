#include "tests/testing/shm_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "client/transport/shm_messages.h"

namespace banyan::testing {
namespace {

using transport::FutexWait;
using transport::FutexWake;
using transport::LoadWord;
using transport::ShmChannel;
using transport::ShmKind;
using transport::ShmMapping;
using transport::StoreWord;

// How long it sleeps while nobody rings.
constexpr std::chrono::milliseconds kNap{1};

std::string NewPath() {
  static std::atomic<int> last{0};
  return absl::StrCat("/tmp/banyan-relay-", getpid(), "-", ++last, ".sock");
}

// Memory like the arena of a node: writable here, through the mapping, and nowhere
// else.
int MakeArena(uint64_t bytes, ShmMapping& mapping) {
  const int fd = memfd_create("relay-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  BANYAN_CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
  mapping = *ShmMapping::Map(fd, bytes, ShmMapping::Access::kReadWrite);
  BANYAN_CHECK(fcntl(fd, F_ADD_SEALS,
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) == 0);
  return fd;
}

std::string CopyOf(std::span<const std::byte> area, uint32_t bytes) {
  const auto used = area.first(std::min<size_t>(bytes, area.size()));
  return std::string(AsText({used.data(), used.size()}));
}

}  // namespace

ShmRelay::ShmRelay(transport::ShmTicket ticket, WireFaults& faults)
    : node_ticket_(std::move(ticket)), path_(NewPath()), faults_(faults) {
  listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  path_.copy(address.sun_path, path_.size());
  unlink(path_.c_str());
  BANYAN_CHECK(bind(listener_, reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address)) == 0);
  BANYAN_CHECK(listen(listener_, 1) == 0);
  thread_ = std::thread([this] { Run(); });
}

ShmRelay::~ShmRelay() {
  is_stopping_ = true;
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
  unlink(path_.c_str());
}

transport::ShmTicket ShmRelay::ticket() const {
  return {.socket_path = path_,
          .token = node_ticket_.token,
          .proof = node_ticket_.proof};
}

void ShmRelay::Run() {
  if (Welcome()) Relay();
  client_socket_ = {};
  node_ = {};
}

bool ShmRelay::Welcome() {
  client_socket_ =
      transport::Descriptor(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
  std::array<char, transport::kShmHelloBytes> hello{};
  if (recv(client_socket_.get(), hello.data(), hello.size(), 0) <= 0) {
    return false;
  }
  auto node = ComeIn(node_ticket_, std::chrono::seconds(10));
  if (!node.ok()) return false;
  node_ = *std::move(node);
  const transport::ShmWelcome& welcome = node_.welcome;
  const auto map = [](int fd, uint64_t bytes, ShmMapping::Access access) {
    return *ShmMapping::Map(fd, bytes, access);
  };
  constexpr auto kBoth = ShmMapping::Access::kReadWrite;
  to_node_ = {.channel = map(node_.channel.get(), welcome.channel_bytes, kBoth),
              .window = map(node_.window.get(), welcome.window_bytes, kBoth),
              .arena = map(node_.arena.get(), welcome.arena_bytes,
                           ShmMapping::Access::kRead)};
  const transport::Descriptor channel(
      *transport::MakeSealedMemory("relay-channel", welcome.channel_bytes));
  const transport::Descriptor window(
      *transport::MakeSealedMemory("relay-window", welcome.window_bytes));
  to_client_.channel = map(channel.get(), welcome.channel_bytes, kBoth);
  to_client_.window = map(window.get(), welcome.window_bytes, kBoth);
  const transport::Descriptor arena(
      MakeArena(welcome.arena_bytes, to_client_.arena));
  // So that it rings whenever it asks.
  StoreWord(ShmChannel(to_client_.channel.bytes()).is_sleeping(), 1);
  return SendWelcome(channel.get(), window.get(), arena.get());
}

bool ShmRelay::SendWelcome(int channel, int window, int arena) {
  transport::ShmWelcome welcome = node_.welcome;
  welcome.is_prefaulted = false;  // Pages of this arena are taken as they come.
  std::string text = EncodeWelcome(welcome);
  const std::array<int, 3> descriptors = {channel, window, arena};
  iovec part{.iov_base = text.data(), .iov_len = text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(descriptors))> control{};
  const msghdr message{.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control.data(),
                       .msg_controllen = control.size()};
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(descriptors));
  std::memcpy(CMSG_DATA(head), descriptors.data(), sizeof(descriptors));
  return sendmsg(client_socket_.get(), &message, MSG_NOSIGNAL) > 0;
}

bool ShmRelay::IsAnyGone() const {
  std::array<pollfd, 2> polled = {
      pollfd{.fd = client_socket_.get(), .events = POLLIN | POLLRDHUP},
      pollfd{.fd = node_.socket.get(), .events = POLLIN | POLLRDHUP}};
  return poll(polled.data(), polled.size(), 0) > 0;
}

void ShmRelay::Relay() {
  const ShmChannel client(to_client_.channel.bytes());
  while (!is_stopping_ && !is_cut_ && !IsAnyGone()) {
    const uint32_t bell = LoadWord(client.doorbell());
    bool is_busy = false;
    bool is_waiting = false;
    for (uint32_t i = 0; i < transport::kShmSlots; ++i) {
      is_busy |= PassQuestion(i);
      is_busy |= PassAnswer(i);
      is_waiting |= slots_[i].asked != slots_[i].answered;
    }
    if (is_waiting) {
      sched_yield();  // Until the node has answered.
    } else if (!is_busy) {
      FutexWait(client.doorbell(), bell, kNap);
    }
  }
}

bool ShmRelay::PassQuestion(uint32_t i) {
  const ShmChannel client(to_client_.channel.bytes());
  const ShmChannel node(to_node_.channel.bytes());
  Slot& slot = slots_[i];
  const uint32_t released = LoadWord(client.slot(i).released);
  if (released != std::exchange(slot.released, released)) {
    StoreWord(node.slot(i).released, released);
  }
  const uint32_t asked = LoadWord(client.slot(i).asked);
  if (asked == slot.asked) return false;
  slot.asked = asked;
  slot.due.reset();
  std::string question =
      CopyOf(client.question(i), LoadWord(client.slot(i).question_bytes));
  const auto kind = transport::KindOf(AsBytes(question));
  slot.names_blocks =
      kind.ok() && (*kind == ShmKind::kGet || *kind == ShmKind::kLease);
  if (kind.ok() && *kind == ShmKind::kPut) SpoilPut(i, question);
  std::memcpy(node.question(i).data(), question.data(), question.size());
  StoreWord(node.slot(i).question_bytes,
            static_cast<uint32_t>(question.size()));
  StoreWord(node.slot(i).asked, asked);
  std::atomic_ref(node.doorbell()).fetch_add(1);
  if (LoadWord(node.is_sleeping()) != 0) FutexWake(node.doorbell());
  return true;
}

void ShmRelay::SpoilPut(uint32_t i, std::string& question) {
  auto put = transport::ParsePut(AsBytes(question));
  if (!put.ok() || put->bytes == 0 || put->bytes > transport::kShmPartBytes) {
    return;
  }
  const auto part = [&](const ShmMapping& window) {
    return window.bytes().subspan(i * transport::kShmPartBytes, put->bytes);
  };
  const auto from = part(to_client_.window);
  const auto to = part(to_node_.window);
  std::copy(from.begin(), from.end(), to.begin());
  if (faults_.Draw(WireFault::kFlip)) {
    to[faults_.Below(to.size())] ^= std::byte{4};
  }
  if (faults_.Draw(WireFault::kShort)) {
    put->bytes = faults_.Below(put->bytes);
    question = EncodeQuestion(*put);
  }
}

bool ShmRelay::PassAnswer(uint32_t i) {
  const ShmChannel client(to_client_.channel.bytes());
  const ShmChannel node(to_node_.channel.bytes());
  Slot& slot = slots_[i];
  if (slot.answered == slot.asked ||
      LoadWord(node.slot(i).answered) != slot.asked) {
    return false;
  }
  if (!slot.due.has_value()) {
    slot.due =
        SteadyClock::now() + absl::ToChronoNanoseconds(faults_.DrawDelay());
  }
  if (SteadyClock::now() < *slot.due) return false;
  if (faults_.Draw(WireFault::kCut)) {
    is_cut_ = true;
    return false;
  }
  std::string answer =
      CopyOf(node.answer(i), LoadWord(node.slot(i).answer_bytes));
  if (slot.names_blocks) answer = SpoiledAnswer(std::move(answer));
  std::memcpy(client.answer(i).data(), answer.data(), answer.size());
  StoreWord(client.slot(i).answer_bytes, static_cast<uint32_t>(answer.size()));
  slot.due.reset();
  slot.answered = slot.asked;
  StoreWord(client.slot(i).answered, slot.answered);
  if (LoadWord(client.slot(i).is_waiting) != 0) {
    FutexWake(client.slot(i).answered);
  }
  return true;
}

std::string ShmRelay::SpoiledAnswer(std::string answer) {
  auto named = transport::ParseBlocksAnswer(AsBytes(answer));
  if (!named.ok()) return answer;
  if (faults_.Draw(WireFault::kError)) {
    return transport::EncodeError(WireError());
  }
  if (faults_.Below(4) == 0 && faults_.Draw(WireFault::kShort)) {
    answer.resize(faults_.Below(answer.size()));
    return answer;
  }
  auto& blocks = named->blocks;
  for (transport::ShmBlock& block : blocks) {
    const auto from =
        to_node_.arena.bytes().subspan(block.offset, block.payload_bytes);
    const auto to =
        to_client_.arena.bytes().subspan(block.offset, block.payload_bytes);
    std::copy(from.begin(), from.end(), to.begin());
    if (faults_.Draw(WireFault::kFlip)) {
      to[faults_.Below(to.size())] ^= std::byte{4};
    }
    if (faults_.Draw(WireFault::kShort)) {
      const auto tail = to.subspan(faults_.Below(to.size()));
      for (std::byte& byte : tail) byte = ~byte;
    }
  }
  if (blocks.size() > 1 && faults_.Draw(WireFault::kSwap)) {
    const size_t one = faults_.Below(blocks.size() - 1);
    std::swap(blocks[one].offset, blocks[one + 1].offset);
    return EncodeBlocks(*named);
  }
  return answer;
}

}  // namespace banyan::testing
