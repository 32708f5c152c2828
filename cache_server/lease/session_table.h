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

  // What a client tells of itself, for operators. Each text is UTF-8, and cut to
  // the whole characters in 256 bytes.
  struct Note {
    std::string engine;
    std::string transport;  // How its bytes move, and why so.
    std::string why;
    uint64_t fallbacks = 0;
    uint64_t given_up = 0;  // Connections over UCX.
  };
  // Nothing if the session has ended.
  void SetNote(absl::string_view session_id, Note note);

  struct Listed {
    std::string client_id;
    Note note;
    absl::Duration idle;
  };
  std::vector<Listed> List() const;

  // Errors: kInvalidArgument unless client_id has 1 to 128 bytes;
  //         kResourceExhausted reason SESSIONS.
  absl::StatusOr<Opened> Open(absl::string_view client_id);

  // Notes a sign of life. kFailedPrecondition reason SESSION if it has ended.
  absl::Status Touch(absl::string_view session_id);

  // No sign of life, only a look.
  bool IsOpen(absl::string_view session_id) const;

  // True if it was alive.
  bool End(absl::string_view session_id);

  // Ends the sessions that were silent for too long; returns their ids.
  std::vector<std::string> Expire();

  size_t size() const;

 private:
  struct Entry {
    std::string client_id;
    absl::Duration last_seen;
    Note note;
  };

  const Options options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> sessions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::string> by_client_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::lease
