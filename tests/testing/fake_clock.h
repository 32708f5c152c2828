// A clock that stands still until a test moves it.
//
// Threads: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"

namespace banyan::testing {

class FakeClock final : public Clock {
 public:
  absl::Duration Now() const override {
    return absl::Nanoseconds(now_ns_.load());
  }

  // Requires: by >= 0; a clock never goes back.
  void Advance(absl::Duration by) {
    now_ns_.fetch_add(absl::ToInt64Nanoseconds(by));
  }

 private:
  // Not zero, so that nothing works only because time starts there.
  std::atomic<int64_t> now_ns_{1'000'000'000'000};
};

}  // namespace banyan::testing
