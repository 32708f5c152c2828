#include "base/error.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace banyan {
namespace {

constexpr absl::string_view kReasonUrl = "banyan/reason";
constexpr absl::string_view kRetryUrl = "banyan/retry_ms";
constexpr size_t kEchoBytesMax = 64;

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view reason,
                       absl::string_view message) {
  absl::Status status(code, message.substr(0, kErrorBytesMax));
  status.SetPayload(kReasonUrl, absl::Cord(reason));
  return status;
}

std::string ErrorReason(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonUrl);
  return reason.has_value() ? std::string(*reason) : std::string();
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  status.SetPayload(kRetryUrl,
                    absl::Cord(absl::StrCat(absl::ToInt64Milliseconds(delay))));
  return status;
}

absl::Duration RetryDelay(const absl::Status& status) {
  const auto text = status.GetPayload(kRetryUrl);
  int64_t ms = 0;
  if (!text.has_value() || !absl::SimpleAtoi(std::string(*text), &ms)) {
    return absl::ZeroDuration();
  }
  return absl::Milliseconds(ms);
}

std::string Echo(absl::string_view input) {
  std::string escaped = absl::CHexEscape(input.substr(0, kEchoBytesMax));
  const bool is_cut =
      input.size() > kEchoBytesMax || escaped.size() > kEchoBytesMax;
  if (escaped.size() > kEchoBytesMax) escaped.resize(kEchoBytesMax);
  return is_cut ? escaped + "..." : escaped;
}

}  // namespace banyan
