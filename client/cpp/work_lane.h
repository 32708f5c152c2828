// Threads that run jobs in the background, in the order in which they came. They
// are made as they are needed and stay.
//
// Threads:  thread-safe, but Close and the destructor: by one, once nobody else
//           submits.
// Lifetime: jobs that were taken run, all of them, before Close returns.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace banyan::client {

class WorkLane {
 public:
  struct Options {
    size_t threads_max = 1;  // > 0.
    size_t queue_max = 1;    // Jobs that wait for a thread.
  };

  explicit WorkLane(const Options& options) : options_(options) {}
  ~WorkLane() { Close(); }
  WorkLane(const WorkLane&) = delete;
  WorkLane& operator=(const WorkLane&) = delete;

  // False, and the job is not taken: too many wait, or there is no thread to be
  // had.
  bool TrySubmit(std::function<void()> job);

  void Close();

 private:
  void Run();
  // True if there is a thread to run what is submitted.
  bool HasThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;  // Threads.
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::client
