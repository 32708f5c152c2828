// Reads blocks from the SSD for the UCX door, off its thread, and brings the pins
// back there.
//
// Threads:  Read on the door's thread.
// Lifetime: store and executor outlive *this. The destructor waits for reads that
//           are under way; after Stop they no longer post.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "cache_server/engine/block_store.h"
#include "client/transport/ucx_messages.h"
#include "tiers/io/executor.h"

namespace banyan::transfer {

// A question that owns what it points to.
class OwnedQuestion {
 public:
  explicit OwnedQuestion(const transport::UcxQuestion& from);
  OwnedQuestion(const OwnedQuestion&) = delete;
  OwnedQuestion& operator=(const OwnedQuestion&) = delete;

  const transport::UcxQuestion& get() const { return question_; }

 private:
  const std::string namespace_id_;
  const std::string salt_;
  const std::string keys_;
  const std::string lead_;
  transport::UcxQuestion question_;
};

class UcxColdReads {
 public:
  using Post = std::function<void(std::function<void()>)>;
  using Then = std::function<void(const absl::StatusOr<lease::PinSet>&)>;

  // `post` runs a job on the door's thread.
  UcxColdReads(engine::BlockStore& store, tiers::Executor& executor, Post post)
      : store_(store), executor_(executor), post_(std::move(post)) {}
  ~UcxColdReads() { Stop(); }

  // False: too many wait for the disk.
  bool Read(const std::shared_ptr<const OwnedQuestion>& question,
            absl::Duration timeout, Then then);

  // Waits for what is under way.
  void Stop();

 private:
  void Finish(const Then& then, const absl::StatusOr<lease::PinSet>& pins);

  engine::BlockStore& store_;
  tiers::Executor& executor_;
  const Post post_;
  Mutex mutex_;
  CondVar changed_;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  size_t reads_ ABSL_GUARDED_BY(mutex_) = 0;  // Under way.
};

// What a question asks the engine for. A view.
engine::Target TargetOf(const transport::UcxQuestion& question);

}  // namespace banyan::transfer
