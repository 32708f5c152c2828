// Keeps one session with the node open, on a thread of its own: hello, then
// heartbeats; after a break it tries again, with growing, jittered delays.
//
// Threads: thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/mutex.h"

namespace banyan::client {

// What a welcome told.
struct SessionFacts {
  std::string id;
  banyan::v1::Limits limits;
};

class Session {
 public:
  Session(std::shared_ptr<grpc::Channel> channel, std::string client_id,
          std::string engine);
  ~Session();

  // The open session; kUnavailable reason SESSION while there is none.
  absl::StatusOr<SessionFacts> Current() const;

  // Waits for one.
  absl::StatusOr<SessionFacts> Wait(absl::Duration timeout);

  // The node says that this session has ended: open another.
  void Lost(absl::string_view session_id);

 private:
  void Run();
  absl::Status RunOnce();
  // False if the session is to end.
  bool Sleep(absl::Duration duration);
  void SetOpen(const banyan::v1::SessionResponse::Welcome& welcome);
  void SetClosed();

  const std::unique_ptr<banyan::v1::Cache::Stub> stub_;
  const std::string client_id_;
  const std::string engine_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_lost_ ABSL_GUARDED_BY(mutex_) = false;
  SessionFacts facts_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace banyan::client
