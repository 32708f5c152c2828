#include "tests/testing/tcp_relay.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace banyan::testing {
namespace {

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int NewSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

}  // namespace

TcpRelay::TcpRelay(uint16_t port, WireFaults& faults)
    : node_port_(port),
      faults_(faults),
      listener_(NewSocket()),
      nothing_(open("/dev/null", O_RDWR | O_CLOEXEC)) {
  BANYAN_CHECK(nothing_ >= 0);
  sockaddr_in address = Loopback(0);
  auto* const where = reinterpret_cast<sockaddr*>(&address);
  socklen_t bytes = sizeof(address);
  BANYAN_CHECK(bind(listener_, where, bytes) == 0);
  BANYAN_CHECK(listen(listener_, 16) == 0);
  BANYAN_CHECK(getsockname(listener_, where, &bytes) == 0);
  port_ = ntohs(address.sin_port);
  accept_ = std::jthread([this] { Accept(); });
}

TcpRelay::~TcpRelay() {
  shutdown(listener_, SHUT_RDWR);
  accept_.join();
  close(listener_);
  MutexLock lock(mutex_);
  for (Connection& connection : connections_) {
    Cut(connection.client, connection.node);
    connection.to_node.join();
    connection.to_client.join();
    close(connection.client);
    close(connection.node);
  }
  close(nothing_);
}

std::string TcpRelay::endpoint() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void TcpRelay::Accept() {
  while (true) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int node = NewSocket();
    const sockaddr_in address = Loopback(node_port_);
    if (connect(node, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0) {
      close(node);
      close(client);
      continue;
    }
    MutexLock lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.client = client;
    connection.node = node;
    connection.to_node = std::jthread([=, this] { Pass(client, node); });
    connection.to_client = std::jthread([=, this] { Pass(node, client); });
  }
}

// Closed, so that whoever is still writing is told by the kernel, and not by a
// timer; but the descriptors stay taken until the end, so that nobody else has their
// numbers.
void TcpRelay::Cut(int client, int node) {
  for (const int end : {client, node}) {
    shutdown(end, SHUT_RDWR);  // Wakes who waits for it.
    BANYAN_CHECK(dup3(nothing_, end, O_CLOEXEC) == end);
  }
}

void TcpRelay::Pass(int from, int to) {
  std::array<char, 64 * 1024> bytes;
  while (true) {
    const ssize_t got = recv(from, bytes.data(), bytes.size(), 0);
    if (got <= 0 || faults_.Draw(WireFault::kCut)) return Cut(from, to);
    // This is what is asked of a slow wire.
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(faults_.DrawDelay()));
    for (ssize_t at = 0; at < got;) {
      const ssize_t sent = send(to, bytes.data() + at,
                                static_cast<size_t>(got - at), MSG_NOSIGNAL);
      if (sent <= 0) return Cut(from, to);
      at += sent;
    }
  }
}

}  // namespace banyan::testing
