#include "client/transport/shm_connect.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/shm_channel.h"
#include "client/transport/shm_peer.h"

namespace banyan::transport {
namespace {

constexpr size_t kDescriptors = 3;

absl::Status NotHere(absl::string_view path, absl::string_view what) {
  return MakeError(absl::StatusCode::kUnavailable, "SHM_SOCKET",
                   absl::StrCat("shm: ", Echo(path), ": ", what,
                                ". Use gRPC; or check that the node runs on "
                                "this host."));
}

absl::Status NotTheNode(absl::string_view what) {
  return MakeError(absl::StatusCode::kPermissionDenied, "SHM_PEER",
                   absl::StrCat("shm: what listens there ", what,
                                ". Use gRPC; or run node and client as one "
                                "user, with --shm-socket where only that user "
                                "can write."));
}

absl::StatusOr<Descriptor> ConnectTo(const std::string& path,
                                     std::chrono::milliseconds timeout) {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return NotHere(path, "no path of a socket");
  }
  path.copy(address.sun_path, path.size());
  Descriptor fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const timeval limit{.tv_sec = timeout.count() / 1000,
                      .tv_usec = timeout.count() % 1000 * 1000};
  if (fd.get() < 0 ||
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) !=
          0 ||
      setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) !=
          0 ||
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) != 0) {
    return NotHere(path, std::strerror(errno));
  }
  if (!IsPeerTrusted(fd.get())) return NotTheNode("is another user's socket");
  return fd;
}

// The message, and the descriptors that came with it.
absl::StatusOr<std::string> Receive(
    int fd, absl::string_view path,
    std::array<Descriptor, kDescriptors>& descriptors) {
  std::array<char, 1024> bytes{};
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptors * sizeof(int))>
      control{};
  msghdr message{.msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = control.data(),
                 .msg_controllen = control.size()};
  ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  // Who refuses may be gone before it has read our hello. The kernel tells that
  // first, and what it said after it.
  if (got < 0 && errno == ECONNRESET) {
    got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  }
  if (got <= 0) return NotHere(path, "does not answer");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count && i < kDescriptors; ++i) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
      descriptors[i] = Descriptor(received);
    }
  }
  return std::string(bytes.data(), static_cast<size_t>(got));
}

// Memory that could shrink would be a SIGBUS to come.
absl::Status CheckMemory(int fd, uint64_t bytes, int wanted_seals) {
  struct stat facts{};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fd >= 0 && bytes > 0 && seals >= 0 &&
      (seals & wanted_seals) == wanted_seals && fstat(fd, &facts) == 0 &&
      static_cast<uint64_t>(facts.st_size) == bytes) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, "SHM_SEALS",
                   "shm: the node's memory is not sealed, or of another size "
                   "than it says. Use gRPC.");
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

absl::StatusOr<ShmDoorway> ComeIn(const ShmTicket& ticket,
                                  std::chrono::milliseconds timeout) {
  BANYAN_ASSIGN_OR_RETURN(Descriptor socket,
                          ConnectTo(ticket.socket_path, timeout));
  if (ticket.token.size() != kShmIdBytes ||
      ticket.proof.size() != kShmIdBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TICKET",
                     "ticket: token and proof need 16 bytes each.");
  }
  const std::string hello = EncodeHello({.token = ticket.token});
  // If it fails, the answer says more: the node may have refused us unheard.
  [[maybe_unused]] const ssize_t sent =
      send(socket.get(), hello.data(), hello.size(), MSG_NOSIGNAL);
  std::array<Descriptor, kDescriptors> descriptors;
  BANYAN_ASSIGN_OR_RETURN(
      const std::string answer,
      Receive(socket.get(), ticket.socket_path, descriptors));
  const auto welcome = ParseWelcome(answer);
  if (!welcome.ok()) {
    if (ErrorReason(welcome.status()) == "VERSION") return welcome.status();
    // A refusal says why.
    const absl::Status refused = ParseCount(AsBytes(answer)).status();
    return refused.ok() ? welcome.status() : refused;
  }
  if (welcome->proof != ticket.proof) {
    return NotTheNode("does not know what the node told us");
  }
  if (welcome->channel_bytes != kShmChannelBytes ||
      welcome->window_bytes != kShmWindowBytes) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "PROTOCOL",
                     "shm: the node shares another channel. Upgrade the older "
                     "side.");
  }
  BANYAN_RETURN_IF_ERROR(
      CheckMemory(descriptors[0].get(), welcome->channel_bytes, F_SEAL_SHRINK));
  BANYAN_RETURN_IF_ERROR(
      CheckMemory(descriptors[1].get(), welcome->window_bytes, F_SEAL_SHRINK));
  BANYAN_RETURN_IF_ERROR(CheckMemory(descriptors[2].get(), welcome->arena_bytes,
                                     F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE));
  return ShmDoorway{.welcome = *welcome,
                    .socket = std::move(socket),
                    .channel = std::move(descriptors[0]),
                    .window = std::move(descriptors[1]),
                    .arena = std::move(descriptors[2])};
}

}  // namespace banyan::transport
