// Calls made one after the other for some time.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "tests/bench/harness/comparison.h"

namespace banyan::bench {

struct Timing {
  uint64_t calls = 0;
  double seconds = 0;
  double us = 0;  // Median of a call.

  double per_second() const { return static_cast<double>(calls) / seconds; }
};

// Calls `call()` again and again for so long.
template <typename Call>
Timing TimeCalls(double seconds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> us;
  const auto start = Clock::now();
  auto end = start;
  do {
    const auto before = end;
    call();
    end = Clock::now();
    us.push_back(
        std::chrono::duration<double, std::micro>(end - before).count());
  } while (end - start < std::chrono::duration<double>(seconds));
  return {.calls = us.size(),
          .seconds = std::chrono::duration<double>(end - start).count(),
          .us = Median(us)};
}

}  // namespace banyan::bench
