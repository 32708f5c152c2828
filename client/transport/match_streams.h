// Match questions over streams that stay open: a question costs one message
// each way, half of what a call costs. A stream carries one question at a time;
// streams at rest wait for the next.
//
// It never decides that a question has failed, except by its deadline: whatever
// else goes wrong with a stream, the caller asks again by an ordinary call.
//
// Threads: thread-safe; waits on the caller's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/mutex.h"

namespace banyan::transport {

class MatchStreams {
 public:
  // The stub outlives *this.
  explicit MatchStreams(banyan::v1::Cache::Stub& stub);
  ~MatchStreams();

  // OK with the response, or DEADLINE_EXCEEDED. Nothing: no stream would
  // answer, or all are busy.
  std::optional<grpc::Status> Ask(
      const banyan::v1::MatchPrefixRequest& request,
      std::chrono::system_clock::time_point deadline,
      banyan::v1::MatchPrefixResponse& response);

 private:
  class Stream;
  static constexpr int kStreamsMax = 8;

  // Nothing if there are kStreamsMax, all busy.
  std::unique_ptr<Stream> Take();
  // Back to rest, or null: it has ended.
  void Return(std::unique_ptr<Stream> stream);

  banyan::v1::Cache::Stub& stub_;
  Mutex mutex_;
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Stream>> resting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::transport
