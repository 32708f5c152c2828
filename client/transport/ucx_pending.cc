#include "client/transport/ucx_pending.h"

#include <utility>
#include <vector>

namespace banyan::transport {

absl::StatusOr<uint64_t> UcxPending::Add(std::shared_ptr<UcxCall> call) {
  MutexLock lock(mutex_);
  if (!end_.ok()) return end_;
  const uint64_t id = ++last_id_;
  calls_[id] = std::move(call);
  return id;
}

void UcxPending::Remove(uint64_t call_id) {
  MutexLock lock(mutex_);
  calls_.erase(call_id);
}

std::shared_ptr<UcxCall> UcxPending::Find(uint64_t call_id) const {
  MutexLock lock(mutex_);
  const auto found = calls_.find(call_id);
  return found == calls_.end() ? nullptr : found->second;
}

void UcxPending::FailAll(const absl::Status& status, UcxCall::Cause cause) {
  std::vector<std::shared_ptr<UcxCall>> failed;
  {
    MutexLock lock(mutex_);
    end_ = status;
    for (const auto& [id, call] : calls_) failed.push_back(call);
  }
  for (const auto& call : failed) call->OnFailure(status, cause);
}

size_t UcxPending::size() const {
  MutexLock lock(mutex_);
  return calls_.size();
}

}  // namespace banyan::transport
