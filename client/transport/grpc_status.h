// gRPC's statuses as ours.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"

namespace banyan::transport {

// With the reason of its ErrorInfo kept.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace banyan::transport
