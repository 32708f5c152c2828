#include "tiers/io/executor.h"

#include <utility>

#include "base/check.h"

namespace banyan::tiers {

Executor::Executor(const Options& options) : queue_max_(options.queue_max) {
  BANYAN_CHECK(options.threads > 0);
  for (size_t i = 0; i < options.threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

Executor::~Executor() {
  {
    MutexLock lock(mutex_);
    is_closing_ = true;
  }
  work_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

bool Executor::TrySubmit(std::function<void()> job) {
  {
    MutexLock lock(mutex_);
    BANYAN_DCHECK(!is_closing_);
    if (queue_.size() >= queue_max_) return false;
    queue_.push_back(std::move(job));
  }
  work_.NotifyOne();
  return true;
}

size_t Executor::queued() const {
  MutexLock lock(mutex_);
  return queue_.size();
}

void Executor::Work() {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !is_closing_) work_.Wait(mutex_);
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job();
  }
}

}  // namespace banyan::tiers
