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

// Is told of the session's life, on its thread. OnOpen comes before anybody else
// can see the session, and each OnOpen is followed by an OnClosed.
class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  virtual void OnOpen(const SessionFacts& session) = 0;
  // Before each heartbeat, the first of which goes out at once.
  virtual void OnBeat(const SessionFacts& session,
                      banyan::v1::SessionRequest::Heartbeat& heartbeat) = 0;
  virtual void OnClosed() = 0;
};

class Session {
 public:
  // The observer outlives *this.
  Session(std::shared_ptr<grpc::Channel> channel, std::string client_id,
          std::string engine, SessionObserver& observer);
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
  void Beat(const SessionFacts& session,
            grpc::ClientReaderWriter<banyan::v1::SessionRequest,
                                     banyan::v1::SessionResponse>& stream);
  void SetOpen(const SessionFacts& session);
  void SetClosed();

  const std::unique_ptr<banyan::v1::Cache::Stub> stub_;
  const std::string client_id_;
  const std::string engine_;
  SessionObserver& observer_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_lost_ ABSL_GUARDED_BY(mutex_) = false;
  SessionFacts facts_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace banyan::client
