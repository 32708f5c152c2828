// A circuit breaker with a retry budget: a node that does not answer costs a
// few deadlines, then nothing, until a trial call finds it alive again.
//
// Closed: calls go. After kFailuresToOpen failures in a row it opens: calls
// fail at once. After a delay (1 s, doubling to 30 s) one trial call goes; its
// success closes the breaker.
//
// Threads: thread-safe.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace banyan::client {

// True if the node did not answer, or is about to stop: the call may go better
// once more, or elsewhere.
bool IsNodeGone(const absl::Status& status);

class Breaker {
 public:
  explicit Breaker(const Clock& clock) : clock_(clock) {}

  // OK if a call may go; kUnavailable reason BREAKER if not. Pair each OK with
  // Report.
  absl::Status Admit();

  // Only kUnavailable and kDeadlineExceeded count against the node, and not
  // those that it gave itself, with a reason: it answers, though its disk or
  // its queue may not. One that says it is draining is as good as gone.
  void Report(const absl::Status& status);

  // True if a failed call may be repeated: successes earn a tenth of a retry
  // each, up to ten.
  bool TakeRetry();

  bool is_open() const;

 private:
  static constexpr int kFailuresToOpen = 3;
  static constexpr int kRetriesMax = 10;

  const Clock& clock_;
  mutable Mutex mutex_;
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_trial_out_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration delay_ ABSL_GUARDED_BY(mutex_);
  absl::Duration next_trial_ ABSL_GUARDED_BY(mutex_);
  double retries_ ABSL_GUARDED_BY(mutex_) = kRetriesMax;
};

}  // namespace banyan::client
