// Waiting for a condition that another thread or process brings about.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace banyan::testing {

// True once `is_met`, false after ten seconds.
inline bool PollUntil(const std::function<bool()>& is_met) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!is_met()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace banyan::testing
