// Where UCX listens and connects: numeric addresses only, since a name may lead
// elsewhere tomorrow, and the network interfaces that have them, since UCX is
// told interfaces.
//
// Errors: kInvalidArgument reason ADDRESS.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::transport {

struct UcxAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;

  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&storage);
  }
};

// "127.0.0.1", "::1", "[::1]"; and "localhost", which is 127.0.0.1.
absl::StatusOr<UcxAddress> MakeUcxAddress(absl::string_view host,
                                          uint16_t port);

// "192.0.2.1:7603", "[2001:db8::1]:7603".
std::string UcxAddressText(const UcxAddress& address);

uint16_t UcxPortOf(const UcxAddress& address);

// The host in what gRPC calls a peer: "ipv4:192.0.2.1:7600",
// "ipv6:%5B2001:db8::1%5D:7600".
absl::StatusOr<std::string> HostOfGrpcPeer(absl::string_view peer);

// The address that this host has on the way to `remote`.
absl::StatusOr<UcxAddress> LocalAddressTo(const UcxAddress& remote);

// The interface that has this address, or whose network it lies in; "all" for
// the address that means any.
absl::StatusOr<std::string> UcxDeviceOf(const UcxAddress& local);

}  // namespace banyan::transport
