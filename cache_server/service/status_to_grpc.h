// absl::Status to grpc::Status: the same code and message, and rich details
// (google.rpc.Status in grpc-status-details-bin): ErrorInfo with the reason and
// domain "banyan", and by code BadRequest, RetryInfo, PreconditionFailure,
// QuotaFailure or ResourceInfo.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace banyan::service {

grpc::Status ToGrpc(const absl::Status& status);

}  // namespace banyan::service
