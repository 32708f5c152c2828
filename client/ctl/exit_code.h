// Exit codes of banyanctl.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace banyan::ctl {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotFound = 3;
inline constexpr int kExitAuth = 4;
inline constexpr int kExitUnavailable = 5;
inline constexpr int kExitPartial = 6;
inline constexpr int kExitIntegrity = 7;

inline int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitAuth;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    case absl::StatusCode::kDataLoss:
      return kExitIntegrity;
    default:
      return kExitFailure;
  }
}

// Prints the error, with a next step where the message has none, and returns
// its exit code.
inline int Report(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  const int code = ExitCodeOf(status);
  std::fprintf(stderr, "banyanctl: %s\n",
               std::string(status.message()).c_str());
  if (code == kExitUnavailable) {
    std::fprintf(stderr,
                 "Check that banyan-server runs and --server names its gRPC "
                 "address.\n");
  }
  return code;
}

}  // namespace banyan::ctl
