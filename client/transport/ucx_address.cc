#include "client/transport/ucx_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/error.h"

namespace banyan::transport {
namespace {

absl::Status BadAddress(absl::string_view text, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "ADDRESS",
                   absl::StrCat("ucx: \"", Echo(text), "\": ", what,
                                ". Give a numeric address of this machine."));
}

// The bytes of an address in network order; none of other families.
absl::Span<const uint8_t> BytesOf(const sockaddr* address) {
  if (address == nullptr) return {};
  if (address->sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    return {reinterpret_cast<const uint8_t*>(&v4), sizeof(v4)};
  }
  if (address->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    return {reinterpret_cast<const uint8_t*>(&v6), sizeof(v6)};
  }
  return {};
}

bool IsAny(const UcxAddress& address) {
  for (const uint8_t byte : BytesOf(address.get())) {
    if (byte != 0) return false;
  }
  return true;
}

bool LiesIn(absl::Span<const uint8_t> address,
            absl::Span<const uint8_t> network, absl::Span<const uint8_t> mask) {
  if (address.empty() || network.size() != address.size() ||
      mask.size() != address.size()) {
    return false;
  }
  for (size_t i = 0; i < address.size(); ++i) {
    if (((address[i] ^ network[i]) & mask[i]) != 0) return false;
  }
  return true;
}

struct FreeInterfaces {
  void operator()(ifaddrs* list) const { freeifaddrs(list); }
};

}  // namespace

absl::StatusOr<UcxAddress> MakeUcxAddress(absl::string_view host,
                                          uint16_t port) {
  std::string text(host == "localhost" ? "127.0.0.1" : host);
  if (absl::StartsWith(text, "[") && absl::EndsWith(text, "]")) {
    text = text.substr(1, text.size() - 2);
  }
  UcxAddress address;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.bytes = sizeof(*v4);
    return address;
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.bytes = sizeof(*v6);
    return address;
  }
  return BadAddress(host, "no numeric address");
}

std::string UcxAddressText(const UcxAddress& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  inet_ntop(address.get()->sa_family, BytesOf(address.get()).data(), text,
            sizeof(text));
  const bool is_v6 = address.get()->sa_family == AF_INET6;
  return absl::StrCat(is_v6 ? "[" : "", text, is_v6 ? "]:" : ":",
                      UcxPortOf(address));
}

uint16_t UcxPortOf(const UcxAddress& address) {
  // Both kinds have it in the same place.
  return ntohs(reinterpret_cast<const sockaddr_in*>(address.get())->sin_port);
}

absl::StatusOr<std::string> HostOfGrpcPeer(absl::string_view peer) {
  const std::string plain =
      absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}});
  absl::string_view host = plain;
  const size_t colon = host.rfind(':');
  if ((absl::ConsumePrefix(&host, "ipv4:") ||
       absl::ConsumePrefix(&host, "ipv6:")) &&
      colon > 4) {
    host.remove_suffix(plain.size() - colon);
    if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
    if (MakeUcxAddress(host, 0).ok()) return std::string(host);
  }
  return BadAddress(peer, "no numeric address of a peer");
}

absl::StatusOr<UcxAddress> LocalAddressTo(const UcxAddress& remote) {
  const int fd = socket(remote.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  UcxAddress local;
  local.bytes = sizeof(local.storage);
  // Of a datagram socket, connect looks for the way and sends nothing.
  const bool is_found =
      fd >= 0 && connect(fd, remote.get(), remote.bytes) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&local.storage),
                  &local.bytes) == 0;
  if (fd >= 0) close(fd);
  if (is_found) return local;
  return BadAddress(UcxAddressText(remote), "no way leads there");
}

absl::StatusOr<std::string> UcxDeviceOf(const UcxAddress& local) {
  if (IsAny(local)) return "all";
  ifaddrs* found = nullptr;
  if (getifaddrs(&found) != 0) {
    return BadAddress(UcxAddressText(local), std::strerror(errno));
  }
  const std::unique_ptr<ifaddrs, FreeInterfaces> interfaces(found);
  const auto wanted = BytesOf(local.get());
  const ifaddrs* in_network = nullptr;
  for (const ifaddrs* at = interfaces.get(); at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr ||
        at->ifa_addr->sa_family != local.get()->sa_family) {
      continue;
    }
    const auto has = BytesOf(at->ifa_addr);
    if (has == wanted) return std::string(at->ifa_name);
    if (in_network == nullptr &&
        LiesIn(wanted, has, BytesOf(at->ifa_netmask))) {
      in_network = at;
    }
  }
  if (in_network != nullptr) return std::string(in_network->ifa_name);
  return BadAddress(UcxAddressText(local), "no interface has it");
}

}  // namespace banyan::transport
