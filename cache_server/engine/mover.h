// The Mover is the thread that moves blocks between memory and SSD, writes down
// what is new, forgets what the tier dropped, and scrubs: all that takes the
// disk's time and nobody waits for. It sleeps while there is nothing to do, and
// keeps below its bandwidths.
//
// Lifetime: the ColdStore outlives it. The destructor ends the thread after
//           what it is doing.
#pragma once

#include <cstdint>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "cache_server/engine/cold_store.h"

namespace banyan::engine {

class Mover {
 public:
  struct Options {
    uint64_t move_bytes_per_second = 0;   // 0: as fast as it goes.
    uint64_t scrub_bytes_per_second = 0;  // 0: no scrub of its own.
    absl::Duration idle_interval = absl::Milliseconds(20);
    absl::Duration sync_interval = absl::Seconds(1);
  };

  Mover(ColdStore& cold, const Options& options);
  ~Mover();
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // Scrubs everything once, as fast as it goes; see ScrubStatus.
  void StartScrub();

  struct ScrubStatus {
    bool is_running = false;
    uint64_t records = 0;  // Since the node started.
    uint64_t bytes = 0;
    uint64_t findings = 0;
    uint64_t passes = 0;
  };
  ScrubStatus scrub_status() const;

 private:
  void Run();
  uint64_t Step();
  void Scrub(absl::Duration elapsed);
  absl::Duration PauseAfter(uint64_t bytes, absl::Duration spent) const;
  // False when it is time to end.
  bool Sleep(absl::Duration duration);

  ColdStore& cold_;
  const Options options_;
  mutable Mutex mutex_;
  CondVar wake_;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  ScrubStatus scrub_ ABSL_GUARDED_BY(mutex_);
  uint64_t scrub_until_pass_ ABSL_GUARDED_BY(mutex_) = 0;
  double scrub_credit_bytes_ = 0;  // Of the thread.
  std::thread thread_;             // Last: it uses all of the above.
};

}  // namespace banyan::engine
