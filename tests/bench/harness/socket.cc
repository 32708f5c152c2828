#include "tests/bench/harness/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"

namespace banyan::bench {
namespace {

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

template <typename Address>
int ConnectSoon(int family, const Address& address) {
  constexpr int kTries = 1000;  // Of 10 ms.
  for (int i = 0; i < kTries; ++i) {
    const int connected = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BANYAN_CHECK(connected >= 0);
    if (connect(connected, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) == 0) {
      return connected;
    }
    close(connected);
    usleep(10'000);
  }
  BANYAN_CHECK(false);
}

}  // namespace

std::pair<int, uint16_t> ListenOnFreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  BANYAN_CHECK(listener >= 0 && bind(listener, any, size) == 0 &&
               listen(listener, 1) == 0 &&
               getsockname(listener, any, &size) == 0);
  return {listener, ntohs(address.sin_port)};
}

uint16_t FreePort() {
  const auto [listener, port] = ListenOnFreePort();
  close(listener);
  return port;
}

int ConnectTo(uint16_t port) {
  const int connected = ConnectSoon(AF_INET, Loopback(port));
  SetNoDelay(connected);
  return connected;
}

int ConnectTo(const std::string& unix_path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  BANYAN_CHECK(unix_path.size() < sizeof(address.sun_path));
  unix_path.copy(address.sun_path, unix_path.size());
  return ConnectSoon(AF_UNIX, address);
}

void SetNoDelay(int socket) {
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

}  // namespace banyan::bench
