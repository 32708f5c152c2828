// Memory for the bodies of messages that are sent, used again and again: fresh
// memory of this size costs more than filling it.
//
// Threads:  thread-safe.
// Lifetime: a body may outlive what it came from.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "client/transport/ucx_messages.h"

namespace banyan::transport {

class UcxBodies : public std::enable_shared_from_this<UcxBodies> {
 public:
  static std::shared_ptr<UcxBodies> Create() {
    return std::shared_ptr<UcxBodies>(new UcxBodies);
  }

  // kUcxBodyBytesMax bytes, of any content.
  std::shared_ptr<std::byte[]> Take();

 private:
  UcxBodies() = default;

  // Kept for later: as many as a few calls have on their way.
  static constexpr size_t kSpareMax = 16;

  void GiveBack(std::unique_ptr<std::byte[]> body);

  Mutex mutex_;
  std::vector<std::unique_ptr<std::byte[]>> spare_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::transport
