#include "cache_server/transfer/ucx_cold_reads.h"

#include <memory>
#include <utility>

namespace banyan::transfer {
namespace {

// A question that owns what it points to.
struct OwnedQuestion {
  explicit OwnedQuestion(const transport::UcxQuestion& from)
      : namespace_id(from.namespace_id),
        salt(from.salt),
        keys(from.run.keys),
        lead(from.run.lead),
        question(from) {
    question.namespace_id = namespace_id;
    question.salt = salt;
    question.run.keys = keys;
    question.run.lead = lead;
  }
  OwnedQuestion(const OwnedQuestion&) = delete;
  OwnedQuestion& operator=(const OwnedQuestion&) = delete;

  const std::string namespace_id;
  const std::string salt;
  const std::string keys;
  const std::string lead;
  transport::UcxQuestion question;
};

}  // namespace

engine::Target TargetOf(const transport::UcxQuestion& question) {
  return {.namespace_id = question.namespace_id,
          .salt = question.salt,
          .run = question.run,
          .quality = question.quality};
}

bool UcxColdReads::Read(const transport::UcxQuestion& question,
                        absl::Duration timeout, Then then) {
  {
    MutexLock lock(mutex_);
    if (is_stopping_) return false;
    ++reads_;
  }
  const auto owned = std::make_shared<OwnedQuestion>(question);
  if (executor_.TrySubmit([this, owned, timeout, then] {
        Finish(then, store_.Read(TargetOf(owned->question),
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
