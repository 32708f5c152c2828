#include "client/transport/ucx_bodies.h"

#include <utility>

namespace banyan::transport {

std::shared_ptr<std::byte[]> UcxBodies::Take() {
  std::unique_ptr<std::byte[]> body;
  {
    MutexLock lock(mutex_);
    if (!spare_.empty()) {
      body = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  if (body == nullptr) {
    body = std::make_unique_for_overwrite<std::byte[]>(kUcxBodyBytesMax);
  }
  return {body.release(), [self = shared_from_this()](std::byte* taken) {
            self->GiveBack(std::unique_ptr<std::byte[]>(taken));
          }};
}

void UcxBodies::GiveBack(std::unique_ptr<std::byte[]> body) {
  MutexLock lock(mutex_);
  if (spare_.size() < kSpareMax) spare_.push_back(std::move(body));
}

}  // namespace banyan::transport
