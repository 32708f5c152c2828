// How long a call takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"

namespace banyan::bench {

// Median microseconds of a call.
template <typename Call>
double LatencyUs(double seconds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> us;
  CallsPerSecond(seconds, [&](uint64_t) {
    const auto start = Clock::now();
    call();
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start)
                     .count());
  });
  return Median(us);
}

}  // namespace banyan::bench
