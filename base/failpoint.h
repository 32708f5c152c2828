// Failpoints are named places where a test can make the program die, fail or
// stop. Off, which they are unless somebody arms them, each costs one load of a
// byte that never changes.
//
// The list is base/failpoint_list.h. Only the reader of the configuration arms
// them; a test may too.
//
// Threads: thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/failpoint_list.h"

namespace banyan {

enum class Failpoint {
#define BANYAN_FAILPOINT_ENUMERATOR(enumerator, name) enumerator,
  BANYAN_FAILPOINTS(BANYAN_FAILPOINT_ENUMERATOR)
#undef BANYAN_FAILPOINT_ENUMERATOR
};

// Names of all, in the order of the list.
std::vector<absl::string_view> FailpointNames();

// Arms those named and disarms all others. The text is a list such as
//   ssd_before_read=1in100:error,ssd_after_record_write=3rd:kill
// "1inN" fires each time with that chance, "Nth" (1st, 2nd, 3rd, 4th ...) once.
// Actions: kill (SIGKILL to itself), abort, error (kUnavailable, reason
// FAILPOINT), pause (until ReleaseFailpoints). Empty text disarms all.
// Errors: kInvalidArgument; then nothing changes.
absl::Status ArmFailpoints(absl::string_view text);

// Lets go of everything that is paused, and disarms all.
void ReleaseFailpoints();

// How often it was reached since it was armed, and how many wait there now.
uint64_t FailpointHits(Failpoint point);
uint64_t FailpointWaiters(Failpoint point);

namespace internal {
extern std::atomic<bool> failpoints_armed;
absl::Status ReachFailpoint(Failpoint point);
}  // namespace internal

// OK unless the failpoint is armed with "error" and fires.
inline absl::Status HitFailpoint(Failpoint point) {
  if (!internal::failpoints_armed.load(std::memory_order_relaxed)) [[likely]] {
    return absl::OkStatus();
  }
  return internal::ReachFailpoint(point);
}

}  // namespace banyan
