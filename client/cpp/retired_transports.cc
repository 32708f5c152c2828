#include "client/cpp/retired_transports.h"

#include <utility>

namespace banyan::client {

void RetiredTransports::Add(std::unique_ptr<transport::Transport> transport) {
  MutexLock lock(mutex_);
  retired_.push_back(std::move(transport));
}

void RetiredTransports::EndAll() {
  // They end outside the lock.
  std::vector<std::unique_ptr<transport::Transport>> ended;
  MutexLock lock(mutex_);
  ended.swap(retired_);
}

}  // namespace banyan::client
