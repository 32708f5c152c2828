// What goes wrong on the way between a client and a node, seeded: the faults that
// the relays of tests/testing/faulty_wires.h put into what passes through them.
//
// Threads: thread-safe. The schedule is deterministic for one thread.
#pragma once

#include <array>
#include <cstdint>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/mutex.h"

namespace banyan::testing {

enum class WireFault : uint8_t {
  kLate,   // What passes is held back, for up to late_max.
  kCut,    // The connection is gone.
  kFlip,   // A bit of a payload is another.
  kShort,  // Of a payload the end is missing.
  kSwap,   // Bytes of another place come instead.
  kError,  // The answer is an error.
};
inline constexpr std::array kWireFaults = {WireFault::kLate, WireFault::kCut,
                                           WireFault::kFlip, WireFault::kShort,
                                           WireFault::kSwap, WireFault::kError};

// What kError answers where the wire itself can; over gRPC the node finds that it
// was asked for nothing that it has.
inline absl::Status WireError() {
  return MakeError(absl::StatusCode::kResourceExhausted, "WIRE",
                   "wire: an error on purpose.");
}

class WireFaults {
 public:
  explicit WireFaults(uint64_t seed) : random_(seed) {}

  // From now on what can have this fault has it with this chance.
  void Set(WireFault fault, double chance) {
    MutexLock lock(mutex_);
    chance_[static_cast<size_t>(fault)] = chance;
  }
  void SetLateMax(absl::Duration late_max) {
    MutexLock lock(mutex_);
    late_max_ = late_max;
  }
  // The wire is whole again.
  void Clear() {
    MutexLock lock(mutex_);
    chance_ = {};
  }

  // Whether this message has the fault.
  bool Draw(WireFault fault) {
    MutexLock lock(mutex_);
    const double chance = chance_[static_cast<size_t>(fault)];
    if (chance <= 0 || !std::bernoulli_distribution(chance)(random_)) {
      return false;
    }
    ++counts_[static_cast<size_t>(fault)];
    return true;
  }
  // How long it is held back; 0: not at all.
  absl::Duration DrawDelay() {
    if (!Draw(WireFault::kLate)) return absl::ZeroDuration();
    MutexLock lock(mutex_);
    return late_max_ * std::uniform_real_distribution<double>()(random_);
  }
  // Of [0, end). Requires: end > 0.
  uint64_t Below(uint64_t end) {
    MutexLock lock(mutex_);
    return random_() % end;
  }

  // How often it happened.
  int count(WireFault fault) const {
    MutexLock lock(mutex_);
    return counts_[static_cast<size_t>(fault)];
  }

 private:
  mutable Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  std::array<double, kWireFaults.size()> chance_ ABSL_GUARDED_BY(mutex_){};
  std::array<int, kWireFaults.size()> counts_ ABSL_GUARDED_BY(mutex_){};
  absl::Duration late_max_ ABSL_GUARDED_BY(mutex_) = absl::Milliseconds(2);
};

}  // namespace banyan::testing
