// Decides how the bytes of a session move: through shared memory if the node is
// on this host and lets us in, else over UCX if it lets us in there, else over
// gRPC; then it tries again what is better, now and then, from every second to
// every minute. What was decided, why, and how often a call had to go another way,
// is told to the log, to the node and to whoever asks.
//
// Coming in over UCX takes milliseconds: unless it was asked for, a session does
// not wait for that, but takes it up with its first heartbeat.
//
// Invariant: no silent switch: each change is one line in the log, each call
//            that is repeated over gRPC is counted.
// Threads:   thread-safe; the session's thread calls what SessionObserver has.
//            Transports end there, too, or with *this.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "banyan/v1/cache.grpc.pb.h"
#include "base/mutex.h"
#include "client/cpp/client.h"
#include "client/cpp/retired_transports.h"
#include "client/cpp/session.h"
#include "client/transport/shm_transport.h"

namespace banyan::client {

class TransportPicker final : public SessionObserver {
 public:
  // Both outlive *this.
  TransportPicker(const ClientOptions& options, banyan::v1::Cache::Stub& stub);

  // Null: use gRPC. Calls under way keep what they were given.
  std::shared_ptr<transport::Transport> picked() const;

  // The same, null unless that is shared memory.
  std::shared_ptr<transport::ShmTransport> shm() const;

  // A call could not be served by what was picked and goes over gRPC.
  void CountFallback();

  TransportFacts facts() const;
  uint64_t given_up() const { return *given_up_; }

 private:
  void OnOpen(const SessionFacts& session) override;
  void OnBeat(const SessionFacts& session,
              banyan::v1::SessionRequest::Heartbeat& heartbeat) override;
  void OnClosed() override;

  // What was picked, and as what.
  struct Picked {
    std::shared_ptr<transport::Transport> transport;
    std::shared_ptr<transport::ShmTransport> shm;  // If it is that.
  };
  absl::StatusOr<Picked> ComeInByShm(const SessionFacts& session);
  absl::StatusOr<Picked> ComeInByUcx(const SessionFacts& session);
  // True, and it is set, if the way is open; else `why_not` says more.
  bool Try(TransportKind kind, const SessionFacts& session,
           std::string& why_not);
  void Pick(const SessionFacts& session);
  void PickAgain(const SessionFacts& session);
  void Set(Picked picked, std::string why);
  // Connections that were given up since it last did.
  void LogGivenUp();

  const ClientOptions& options_;
  banyan::v1::Cache::Stub& stub_;
  // Of the session's thread: how long after a failed try comes the next.
  absl::Duration retry_delay_;
  absl::Duration next_try_;
  bool is_ucx_due_ = false;  // Not tried in this session yet.
  uint64_t logged_given_up_ = 0;
  // Shared with the connections.
  const std::shared_ptr<std::atomic<uint64_t>> given_up_ =
      std::make_shared<std::atomic<uint64_t>>(0);
  const std::shared_ptr<RetiredTransports> retired_ =
      RetiredTransports::Create();
  mutable Mutex mutex_;
  Picked picked_ ABSL_GUARDED_BY(mutex_);
  TransportFacts facts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::client
