// The calls of one connection that wait for the node, by id.
//
// Invariant: ids are used once. What comes for an id that is not here is late, and
//            is dropped.
// Threads:   thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/transport/ucx_call.h"

namespace banyan::transport {

class UcxPending {
 public:
  // An id for the call, > 0; or what FailAll was told.
  absl::StatusOr<uint64_t> Add(std::shared_ptr<UcxCall> call);
  void Remove(uint64_t call_id);

  // Null: nobody waits for it any more.
  std::shared_ptr<UcxCall> Find(uint64_t call_id) const;

  // Ends all calls, and those that are added later. `status` is an error; `cause`
  // says whether the node said what is no message.
  void FailAll(const absl::Status& status, UcxCall::Cause cause);

  size_t size() const;

 private:
  mutable Mutex mutex_;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uint64_t, std::shared_ptr<UcxCall>> calls_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::transport
