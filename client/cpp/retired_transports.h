// Where transports end. A call keeps the transport that it uses, so the last to
// let go of one may be an engine's thread in the middle of its work; to end one
// closes connections and joins threads, which takes long. So who lets go last
// leaves it here, for a thread that may wait.
//
// Threads:  thread-safe.
// Lifetime: what is shared may outlive the owner's reference; what is left here
//           after that ends at once.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "client/transport/transport.h"

namespace banyan::client {

class RetiredTransports
    : public std::enable_shared_from_this<RetiredTransports> {
 public:
  static std::shared_ptr<RetiredTransports> Create() {
    return std::shared_ptr<RetiredTransports>(new RetiredTransports);
  }

  // Who lets go of it last leaves it here.
  template <typename T>
  std::shared_ptr<T> Share(std::unique_ptr<T> transport) {
    return {transport.release(), [self = shared_from_this()](T* last) {
              self->Add(std::unique_ptr<transport::Transport>(last));
            }};
  }

  // Ends what was left here so far.
  void EndAll();

 private:
  RetiredTransports() = default;

  void Add(std::unique_ptr<transport::Transport> transport);

  Mutex mutex_;
  std::vector<std::unique_ptr<transport::Transport>> retired_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::client
