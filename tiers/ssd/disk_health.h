// DiskHealth knows from every call of an SSD tier to its disks how they are: it
// counts what fails, and says in words what that means and what to do. The tier
// asks it before it calls a disk, so that one that hangs is not waited for
// again and again.
//
// Troubles, the worst first: read-only (for good), not answering (a call is out
// for longer than it may be), full, reads fail, slow. All but the first end by
// themselves, and each begin and end is one line in the log. With several
// disks, one that hangs counts as all of them.
//
// Threads:  thread-safe. One lock, never held across I/O or logging.
// Lifetime: destroy all calls first.
// Errors:   kUnavailable, SSD_READ_ONLY       nothing is written any more
//           kUnavailable, SSD_NOT_ANSWERING   a disk hangs; ask again later
// Cost:     0.2 us a call of the disk.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace banyan::tiers {

class DiskHealth {
 public:
  // kOpen: finding what segments hold, at the start.
  enum class Op { kRead, kWrite, kSync, kCreate, kRemove, kCatalogue, kOpen };
  static constexpr size_t kOpCount = 7;
  enum class Trouble { kReadOnly, kNotAnswering, kFull, kReadErrors, kSlow };
  static constexpr std::array kTroubles = {
      Trouble::kReadOnly, Trouble::kNotAnswering, Trouble::kFull,
      Trouble::kReadErrors, Trouble::kSlow};

  // As in metrics, such as "read" and "not_answering".
  static absl::string_view NameOf(Op op);
  static absl::string_view NameOf(Trouble trouble);

  struct Options {
    const Clock* clock = &Clock::Monotonic();         // Outlives *this.
    std::function<void(absl::string_view line)> log;  // Null: standard error.
  };
  explicit DiskHealth(const Options& options) : options_(options) {}

  // One call of a disk, or a batch of them, from Begin to End.
  class Call {
   public:
    Call() = default;
    Call(Call&& other) noexcept;
    Call& operator=(Call&& other) noexcept;
    ~Call() { End(); }

    void End();
    // Whoever waited does so no longer; the call is still out until End.
    void GiveUp();

   private:
    friend class DiskHealth;
    Call(DiskHealth* health, uint64_t number)
        : health_(health), number_(number) {}

    DiskHealth* health_ = nullptr;
    uint64_t number_ = 0;
  };
  // `limit`: if it takes longer, the disk does not answer. `bytes` is what it
  // moves.
  [[nodiscard]] Call Begin(Op op, absl::Duration limit, uint64_t bytes = 0);

  // What became of a call. One that was given up is counted already.
  void Note(Op op, const absl::Status& status);
  void NoteReadOnly(const absl::Status& read_only);

  // False while a call is overdue.
  bool Answers();
  // Whether calls that write are worth making.
  absl::Status CanWrite();

  struct Problem {
    Trouble trouble = Trouble::kReadOnly;
    std::string message;
  };
  std::vector<Problem> Problems();  // The worst first.

  struct Counters {
    // By op and name of the errno; ETIMEDOUT: took longer than it may.
    std::map<std::pair<std::string, std::string>, uint64_t> errors;
    std::array<uint64_t, kOpCount> calls = {};
    std::array<uint64_t, kOpCount> slow_calls = {};  // Of ended calls, as is
                                                     // `calls`.
  };
  Counters counters() const;

 private:
  struct Out {
    Op op = Op::kRead;
    uint64_t bytes = 0;
    absl::Duration begun;
    absl::Duration deadline;
    bool is_overdue = false;
  };
  // A trouble that is, and what its message says beside its text.
  struct State {
    bool is_on = false;
    std::string since;  // Time of day.
    absl::Duration begun;
    std::string cause;
  };

  void EndCall(uint64_t number);
  void GiveUpCall(uint64_t number);
  void FindOverdue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetOverdue(Out& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountSpeed(const Out& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enter(Trouble trouble, const std::string& cause)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Trouble trouble) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refresh() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  State& At(Trouble trouble) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return states_[static_cast<size_t>(trouble)];
  }
  std::string Message(Trouble trouble) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string OverdueCalls() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs `change` under the lock and logs what it leaves in lines_.
  void Change(const std::function<void()>& change);

  const Options options_;
  mutable Mutex mutex_;
  std::map<uint64_t, Out> out_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<State, kTroubles.size()> states_ ABSL_GUARDED_BY(mutex_);
  absl::Status read_only_ ABSL_GUARDED_BY(mutex_);
  uint32_t full_ops_ ABSL_GUARDED_BY(mutex_) = 0;  // Bits.
  uint64_t read_error_count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration last_read_error_ ABSL_GUARDED_BY(mutex_);
  uint32_t was_slow_ ABSL_GUARDED_BY(mutex_) = 0;  // A bit a call, last lowest.
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  Counters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::tiers
