// The seam for time. The protocol knows durations only, so this clock has no
// wall time: Now() counts from an arbitrary start and never goes back.
//
// Threads: thread-safe.
#pragma once

#include "absl/time/time.h"

namespace banyan {

class Clock {
 public:
  virtual ~Clock() = default;

  // Time since the clock's arbitrary start.
  virtual absl::Duration Now() const = 0;

  // CLOCK_MONOTONIC. Lives as long as the process.
  static const Clock& Monotonic();
};

}  // namespace banyan
