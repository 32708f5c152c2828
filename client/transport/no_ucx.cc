// What is there of UCX in a build without it: nothing, and that it says.
#include "base/error.h"
#include "client/transport/ucx.h"

namespace banyan::transport {
namespace {

absl::Status Absent() {
  return MakeError(absl::StatusCode::kUnimplemented, "UCX_ABSENT",
                   "ucx: not in this build. Use gRPC; or build with "
                   "libucx-dev.");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> ConnectUcx(const UcxOptions&) {
  return Absent();
}

absl::StatusOr<UcxTicket> UcxTicketOf(const std::string&, const std::string&,
                                      const std::string&, const std::string&) {
  return Absent();
}

}  // namespace banyan::transport
