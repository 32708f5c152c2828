// Cuts streams that would hold pins, rooms or a session for a peer that no
// longer takes part: a stream on which nothing moved for `stall_timeout` though
// its peer had the next move, or, if its caller set no deadline, one that is
// older than `deadline_cap`. And those of sessions that have ended, as it is
// told.
//
// Threads:  thread-safe. Tick is called by one thread.
// Lifetime: outlives the streams it watches; each stream joins before gRPC can
//           end it, and leaves in OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "cache_server/runtime/counters.h"

namespace banyan::service {

// True if the caller set one.
bool HasDeadline(const grpc::CallbackServerContext& context);

// How long the call may wait for the disk so that its answer, with what is not
// there a miss, still comes before its deadline.
absl::Duration TimeForDisk(const grpc::CallbackServerContext& context);

class StreamWatch {
 public:
  struct Options {
    absl::Duration stall_timeout = absl::Seconds(30);
    absl::Duration deadline_cap = absl::Seconds(30);
  };

  StreamWatch(const Options& options, const Clock& clock,
              server::Counters& counters)
      : options_(options), clock_(clock), counters_(counters) {}

  using Ticket = uint64_t;

  // A session lives as long as it gives signs of life; a call has an end.
  enum class Kind { kCall, kSession };
  // `session_id`: whose stream it is, if that matters.
  Ticket Join(Kind kind, grpc::CallbackServerContext& context,
              std::string session_id = {});

  // Something was read from the peer, or the peer took something, or from here
  // on it can.
  void NoteProgress(Ticket ticket);

  // There is nothing that the peer could do: the stream waits for somebody else.
  // No stall before the next progress is noted.
  void NoteWait(Ticket ticket);
  size_t waiting() const;  // Streams.

  void Leave(Ticket ticket);

  // Cancels what is due.
  void Tick();

  // The sessions that streams here belong to, and the end of one of them.
  std::vector<std::string> Sessions() const;
  void CutSession(const std::string& session_id);

 private:
  struct Watched {
    grpc::CallbackServerContext* context = nullptr;
    absl::Duration last_progress;
    absl::Duration end;
    std::string session_id;
    bool is_waiting = false;
    bool is_cut = false;
  };

  const Options options_;
  const Clock& clock_;
  server::Counters& counters_;
  mutable Mutex mutex_;
  Ticket last_ticket_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<Ticket, Watched> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::service
