#include "cache_server/transfer/shm_door.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/shm_peer.h"

namespace banyan::transfer {
namespace {

using server::Add;

constexpr int kBacklog = 64;
constexpr int kLookIntervalMs = 100;

absl::Status BadSocket(absl::string_view path, absl::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "SHM_SOCKET",
                   absl::StrCat("shm-socket: ", Echo(path), ": ", what,
                                ". Pick another with --shm-socket, or none."));
}

// Removes the socket of a node that is gone; one that answers stays.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat facts{};
  if (lstat(path.c_str(), &facts) != 0) return absl::OkStatus();
  if (!S_ISSOCK(facts.st_mode)) return BadSocket(path, "is there already");
  const int probe =
      socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // Whoever listens, or did not say no, is alive: one that hangs, too.
  const bool is_stale =
      connect(probe, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) != 0 &&
      errno == ECONNREFUSED;
  if (probe >= 0) close(probe);
  if (!is_stale) return BadSocket(path, "is another node's");
  unlink(path.c_str());
  return absl::OkStatus();
}

absl::StatusOr<int> Listen(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return BadSocket(path,
                     absl::StrCat("has ", path.size(), " bytes, need 1 to ",
                                  sizeof(address.sun_path) - 1));
  }
  path.copy(address.sun_path, path.size());
  BANYAN_RETURN_IF_ERROR(RemoveStale(path, address));
  const int fd =
      socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return BadSocket(path, std::strerror(errno));
  // Nobody can connect before listen, and nobody but this user after it.
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
          0 &&
      chmod(path.c_str(), S_IRUSR | S_IWUSR) == 0 &&
      listen(fd, kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return BadSocket(path, std::strerror(error));
}

// Never blocks: the first message always fits.
bool SendWith(int fd, const std::string& text, const std::array<int, 3>& fds) {
  iovec part{.iov_base = const_cast<char*>(text.data()),
             .iov_len = text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
  msghdr message{.msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = control.data(),
                 .msg_controllen = control.size()};
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(head), fds.data(), sizeof(fds));
  return sendmsg(fd, &message, MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmDoor>> ShmDoor::Open(const Options& options,
                                                       const ShmCalls& calls,
                                                       DoorTickets& tickets) {
  BANYAN_ASSIGN_OR_RETURN(const int socket, Listen(options.socket_path));
  const int stop_event = eventfd(0, EFD_CLOEXEC);
  if (stop_event < 0) {
    close(socket);
    return BadSocket(options.socket_path, std::strerror(errno));
  }
  std::unique_ptr<ShmDoor> door(
      new ShmDoor(options, calls, tickets, socket, stop_event));
  BANYAN_RETURN_IF_ERROR(door->Start());
  tickets.AddDoor("shm", options.socket_path);
  return door;
}

ShmDoor::ShmDoor(const Options& options, const ShmCalls& calls,
                 DoorTickets& tickets, int socket, int stop_event)
    : options_(options),
      calls_(calls),
      tickets_(tickets),
      socket_(socket),
      stop_event_(stop_event) {}

absl::Status ShmDoor::Start() {
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    return BadSocket(options_.socket_path, error.what());
  }
  return absl::OkStatus();
}

ShmDoor::~ShmDoor() {
  const uint64_t one = 1;
  // Cannot fail: nobody else writes to it.
  [[maybe_unused]] const ssize_t put = write(stop_event_, &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
  while (!clients_.empty()) Drop(clients_.begin()->first);
  unlink(options_.socket_path.c_str());
  close(socket_);
  close(stop_event_);
}

void ShmDoor::Run() {
  while (true) {
    std::vector<pollfd> polled = {
        {.fd = stop_event_, .events = POLLIN},
        {.fd = can_accept_ ? socket_ : -1, .events = POLLIN}};
    for (const auto& [fd, client] : clients_) {
      polled.push_back({.fd = fd, .events = POLLIN});
    }
    poll(polled.data(), polled.size(), kLookIntervalMs);
    if (polled[0].revents != 0) return;
    for (size_t i = 2; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      const int fd = polled[i].fd;
      if (!OnReadable(fd, clients_.at(fd))) Drop(fd);
    }
    DropEnded();
    can_accept_ = true;
    if (polled[1].revents != 0) Accept();
  }
}

void ShmDoor::Accept() {
  const int fd =
      accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    // Without descriptors it stays readable; who waits there waits on.
    can_accept_ = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    return;
  }
  absl::Status status;
  if (!transport::IsPeerTrusted(fd)) {
    status = MakeError(absl::StatusCode::kPermissionDenied, "PEER",
                       "shm: another user's process. Use gRPC.");
  } else if (clients_.size() >= options_.clients_max) {
    status = MakeError(absl::StatusCode::kResourceExhausted, "SHM_CLIENTS",
                       absl::StrCat("shm: ", clients_.size(),
                                    " clients, the limit. Use gRPC."));
  }
  if (status.ok()) {
    clients_[fd] = {.accepted = Clock::Monotonic().Now()};
    return;
  }
  Add(calls_.store().counters().shm_refused);
  const std::string text = transport::EncodeError(status);
  send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  close(fd);
}

bool ShmDoor::OnReadable(int fd, Client& client) {
  std::array<char, 256> bytes{};
  const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  // Gone; or talks although all has been said.
  if (got <= 0 || client.connection != nullptr) return false;
  const absl::Status status =
      Welcome(fd, client, {bytes.data(), static_cast<size_t>(got)});
  if (status.ok()) return true;
  Add(calls_.store().counters().shm_refused);
  const std::string text = transport::EncodeError(status);
  send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  return false;
}

absl::Status ShmDoor::Welcome(int fd, Client& client, absl::string_view hello) {
  BANYAN_ASSIGN_OR_RETURN(const auto parsed, transport::ParseHello(hello));
  BANYAN_ASSIGN_OR_RETURN(DoorTickets::Guest guest,
                          tickets_.Redeem("shm", parsed.token));
  BANYAN_ASSIGN_OR_RETURN(
      auto connection,
      ShmConnection::Open(calls_, std::move(guest.session_id)));
  const tiers::Arena& arena = calls_.arena();
  const std::string text = transport::EncodeWelcome(
      {.channel_bytes = transport::kShmChannelBytes,
       .window_bytes = transport::kShmWindowBytes,
       .arena_bytes = arena.file_bytes(),
       .group_blocks = calls_.store().options().index.group_blocks,
       .is_prefaulted = options_.is_prefaulted,
       .proof = guest.proof});
  BANYAN_RETURN_IF_ERROR(connection->Start(fd));
  if (!SendWith(
          fd, text,
          {connection->channel_fd(), connection->window_fd(), arena.fd()})) {
    return absl::UnavailableError("shm: the client is gone.");
  }
  connection->CloseDescriptors();
  client.connection = std::move(connection);
  Add(calls_.store().counters().shm_opened);
  return absl::OkStatus();
}

void ShmDoor::DropEnded() {
  const absl::Duration oldest =
      Clock::Monotonic().Now() - options_.hello_timeout;
  std::vector<int> ended;
  for (const auto& [fd, client] : clients_) {
    const bool is_over = client.connection == nullptr
                             ? client.accepted < oldest
                             : client.connection->has_ended();
    if (!is_over) continue;
    if (client.connection == nullptr) {
      Add(calls_.store().counters().shm_refused);
    }
    ended.push_back(fd);
  }
  for (const int fd : ended) Drop(fd);
}

void ShmDoor::Drop(int fd) {
  const auto found = clients_.find(fd);
  if (found->second.connection != nullptr) {
    Add(calls_.store().counters().shm_closed);
  }
  shutdown(fd, SHUT_RDWR);  // Before its pins go: see ShmConnection.
  clients_.erase(found);    // Ends its thread and its pins.
  close(fd);
}

}  // namespace banyan::transfer
