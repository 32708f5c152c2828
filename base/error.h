// Errors that people read and programs act on. The message has one line:
//   field: what is wrong (got X, limit Y). What to do.
// and the status carries a stable reason, which gRPC clients see as
// ErrorInfo.reason with domain "banyan".
//
// A reason is UPPER_SNAKE_CASE and never changes its meaning.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace banyan {

// Longest message; longer ones are cut.
inline constexpr size_t kErrorBytesMax = 300;

absl::Status MakeError(absl::StatusCode code, absl::string_view reason,
                       absl::string_view message);

// The reason of an error made here; empty for any other status.
std::string ErrorReason(const absl::Status& status);

// Adds "try again after"; RetryDelay is zero where none was set.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);
absl::Duration RetryDelay(const absl::Status& status);

// Input from outside as it may appear in a message: escaped, cut at 64.
std::string Echo(absl::string_view input);

}  // namespace banyan
