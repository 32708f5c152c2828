// Threads for calls that block on a device, with a bounded queue in front: a
// slow device fills the queue, and whoever finds it full goes on without.
//
// Threads:  thread-safe.
// Lifetime: the destructor runs what is queued, then joins; so stop submitting
//           first. Jobs must not destroy the executor.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace banyan::tiers {

class Executor {
 public:
  struct Options {
    size_t threads = 4;
    size_t queue_max = 256;  // Jobs that wait; running ones do not count.
  };

  explicit Executor(const Options& options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // False, and the job was not taken, if the queue is full.
  [[nodiscard]] bool TrySubmit(std::function<void()> job);

  // Jobs that wait.
  size_t queued() const;

 private:
  void Work();

  const size_t queue_max_;
  mutable Mutex mutex_;
  CondVar work_;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;  // Last: they use all of the above.
};

}  // namespace banyan::tiers
