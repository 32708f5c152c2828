// Sockets of this host. What fails ends the bench.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace banyan::bench {

// A listening socket and its port.
std::pair<int, uint16_t> ListenOnFreePort();

// A port that was free a moment ago, for programs that take no port 0.
uint16_t FreePort();

// Connects, without delay of small writes. Tries for up to ten seconds while
// nobody listens.
int ConnectTo(uint16_t port);
int ConnectTo(const std::string& unix_path);

void SetNoDelay(int socket);

}  // namespace banyan::bench
