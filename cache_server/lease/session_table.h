// Live client sessions. A session is known by a random id; whoever knows it
// owns it. What belongs to a session (leases, open writes) is kept elsewhere
// and ended by the engine when the session ends.
//
// Invariant: at most one session a client id; a newer one fences the older.
// Threads:   thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace banyan::lease {

class SessionTable {
 public:
  struct Options {
    size_t sessions_max = 1024;
    absl::Duration timeout =
        absl::Seconds(30);  // Silence before it is dropped.
  };

  SessionTable(const Options& options, const Clock& clock);

  struct Opened {
    std::string id;
    std::string fenced_id;  // The older session of this client, or empty.
  };

  // Errors: kInvalidArgument unless client_id has 1 to 128 bytes;
  //         kResourceExhausted reason SESSIONS.
  absl::StatusOr<Opened> Open(absl::string_view client_id);

  // Notes a sign of life. kFailedPrecondition reason SESSION if it has ended.
  absl::Status Touch(absl::string_view session_id);

  // True if it was alive.
  bool End(absl::string_view session_id);

  // Ends the sessions that were silent for too long; returns their ids.
  std::vector<std::string> Expire();

  size_t size() const;

 private:
  struct Entry {
    std::string client_id;
    absl::Duration last_seen;
  };

  const Options options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> sessions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::string> by_client_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::lease
