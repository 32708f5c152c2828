#include "client/cpp/work_lane.h"

#include <system_error>
#include <utility>

namespace banyan::client {

bool WorkLane::TrySubmit(std::function<void()> job) {
  MutexLock lock(mutex_);
  if (queue_.size() >= options_.queue_max || !HasThread()) return false;
  queue_.push_back(std::move(job));
  changed_.NotifyOne();
  return true;
}

bool WorkLane::HasThread() {
  const bool is_enough =
      queue_.size() < idle_ || threads_.size() >= options_.threads_max;
  if (is_enough) return true;
  try {
    threads_.emplace_back([this] { Run(); });
  } catch (const std::system_error&) {
    // No more threads to be had: the others take their time.
  }
  return !threads_.empty();
}

void WorkLane::Run() {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(mutex_);
      ++idle_;
      while (queue_.empty() && !is_closing_) changed_.Wait(mutex_);
      --idle_;
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job();
  }
}

void WorkLane::Close() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    is_closing_ = true;
    threads.swap(threads_);
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace banyan::client
