#include "cache_server/transfer/ucx_cold_reads.h"

#include <memory>
#include <utility>

namespace banyan::transfer {

OwnedQuestion::OwnedQuestion(const transport::UcxQuestion& from)
    : namespace_id_(from.namespace_id),
      salt_(from.salt),
      keys_(from.run.keys),
      lead_(from.run.lead),
      question_(from) {
  question_.namespace_id = namespace_id_;
  question_.salt = salt_;
  question_.run.keys = keys_;
  question_.run.lead = lead_;
}

engine::Target TargetOf(const transport::UcxQuestion& question) {
  return {.namespace_id = question.namespace_id,
          .salt = question.salt,
          .run = question.run,
          .quality = question.quality};
}

bool UcxColdReads::Read(const std::shared_ptr<const OwnedQuestion>& question,
                        absl::Duration timeout, Then then) {
  {
    MutexLock lock(mutex_);
    if (is_stopping_) return false;
    ++reads_;
  }
  if (executor_.TrySubmit([this, question, timeout, then] {
        Finish(then, store_.Read(TargetOf(question->get()),
                                 engine::AcquireMode::kLongestPrefix,
                                 engine::ColdReads::kRead, timeout));
      })) {
    return true;
  }
  MutexLock lock(mutex_);
  --reads_;
  return false;
}

void UcxColdReads::Finish(const Then& then,
                          const absl::StatusOr<lease::PinSet>& pins) {
  post_([then, pins] { then(pins); });
  MutexLock lock(mutex_);
  --reads_;
  changed_.NotifyAll();
}

void UcxColdReads::Stop() {
  MutexLock lock(mutex_);
  is_stopping_ = true;
  while (reads_ > 0) changed_.Wait(mutex_);
}

}  // namespace banyan::transfer
