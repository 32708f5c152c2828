#include "client/transport/grpc_status.h"

#include "base/error.h"
#include "google/rpc/error_details.pb.h"

namespace banyan::transport {

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info)) break;
  }
  return MakeError(static_cast<absl::StatusCode>(status.error_code()),
                   info.reason(), status.error_message());
}

}  // namespace banyan::transport
