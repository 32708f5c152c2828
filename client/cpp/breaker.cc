#include "client/cpp/breaker.h"

#include <algorithm>

#include "base/error.h"

namespace banyan::client {
namespace {

constexpr absl::Duration kDelayMin = absl::Seconds(1);
constexpr absl::Duration kDelayMax = absl::Seconds(30);

}  // namespace

bool IsNodeGone(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
    return false;
  }
  // SESSION is our own word for it: there is no session to ask in.
  const std::string reason = ErrorReason(status);
  return reason.empty() || reason == "DRAINING" || reason == "SESSION";
}

absl::Status Breaker::Admit() {
  MutexLock lock(mutex_);
  if (failures_ < kFailuresToOpen) return absl::OkStatus();
  if (!is_trial_out_ && clock_.Now() >= next_trial_) {
    is_trial_out_ = true;
    return absl::OkStatus();
  }
  return MakeError(
      absl::StatusCode::kUnavailable, "BREAKER",
      "server: did not answer lately; not asked. Treat as a miss.");
}

void Breaker::Report(const absl::Status& status) {
  MutexLock lock(mutex_);
  is_trial_out_ = false;
  // Who gave up before an answer knows nothing of the node.
  if (absl::IsCancelled(status)) return;
  if (!IsNodeGone(status)) {
    failures_ = 0;
    delay_ = absl::ZeroDuration();
    retries_ = std::min<double>(kRetriesMax, retries_ + 0.1);
    return;
  }
  if (++failures_ < kFailuresToOpen) return;
  delay_ = std::clamp(delay_ * 2, kDelayMin, kDelayMax);
  next_trial_ = clock_.Now() + delay_;
}

bool Breaker::TakeRetry() {
  MutexLock lock(mutex_);
  if (retries_ < 1) return false;
  retries_ -= 1;
  return true;
}

bool Breaker::is_open() const {
  MutexLock lock(mutex_);
  return failures_ >= kFailuresToOpen;
}

}  // namespace banyan::client
