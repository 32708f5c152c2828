// Bytes that may be held at once: whoever wants some takes them, or goes without.
//
// Threads:  thread-safe.
// Lifetime: holds may outlive the budget.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace banyan::engine {

class ByteBudget {
 public:
  explicit ByteBudget(uint64_t bytes)
      : account_(std::make_shared<Account>(bytes)) {}

  // Gives the bytes back when the last copy of it is gone.
  using Hold = std::shared_ptr<const void>;

  // Null if fewer are left.
  Hold Take(uint64_t bytes) {
    if (!account_->Take(bytes)) return nullptr;
    return Hold(account_.get(), [account = account_, bytes](const void*) {
      account->GiveBack(bytes);
    });
  }

 private:
  class Account {
   public:
    explicit Account(uint64_t bytes) : left_(bytes) {}
    bool Take(uint64_t bytes) {
      MutexLock lock(mutex_);
      if (bytes > left_) return false;
      left_ -= bytes;
      return true;
    }
    void GiveBack(uint64_t bytes) {
      MutexLock lock(mutex_);
      left_ += bytes;
    }

   private:
    Mutex mutex_;
    uint64_t left_ ABSL_GUARDED_BY(mutex_);
  };

  std::shared_ptr<Account> account_;
};

}  // namespace banyan::engine
