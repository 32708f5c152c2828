// Coming in at a node's UCX door. A build without UCX has no such transport: then
// ConnectUcx fails, and nothing else is different.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/units.h"
#include "client/transport/transport.h"

namespace banyan::transport {

// What Cache.OpenDoor answered.
struct UcxTicket {
  std::string host;  // Numeric: where the answer came from.
  uint16_t port = 0;
  std::string token;
  std::string proof;
};

struct UcxOptions {
  UcxTicket ticket;
  std::chrono::milliseconds timeout{1000};
  Verification verification = Verification::kOn;
  // UCX gives back what the node does not take only with the whole connection: that
  // counts as lost when it is so many bytes, or nothing was taken for so long.
  uint64_t untaken_bytes_max = 256 * kMiB;
  std::chrono::milliseconds untaken_max{10000};
  // Has one added for a connection that is lost for that; may be null.
  std::shared_ptr<std::atomic<uint64_t>> given_up;
};

// Errors: kUnimplemented reason UCX_ABSENT (not in this build);
//         kFailedPrecondition reason UCX_VERSION, UCX; kInvalidArgument reason
//         ADDRESS, TICKET; kUnavailable (nobody there); kDeadlineExceeded;
//         kPermissionDenied reason UCX_PEER (who listens there is not the node
//         that gave the ticket); kUnauthenticated, kResourceExhausted from the
//         node.
absl::StatusOr<std::unique_ptr<Transport>> ConnectUcx(
    const UcxOptions& options);

// "[::1]:7600" as in gRPC's name for a peer, and the port of the door there.
absl::StatusOr<UcxTicket> UcxTicketOf(const std::string& grpc_peer,
                                      const std::string& port,
                                      const std::string& token,
                                      const std::string& proof);

}  // namespace banyan::transport
