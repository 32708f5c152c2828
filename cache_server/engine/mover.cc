#include "cache_server/engine/mover.h"

#include <algorithm>

#include "base/clock.h"
#include "base/units.h"

namespace banyan::engine {
namespace {

// One step of a scrub: short enough not to hold up a demotion.
constexpr uint64_t kScrubStepBytes = 4 * kMiB;

}  // namespace

Mover::Mover(ColdStore& cold, const Options& options)
    : cold_(cold), options_(options), thread_([this] { Run(); }) {}

Mover::~Mover() {
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

void Mover::StartScrub() {
  MutexLock lock(mutex_);
  scrub_until_pass_ = scrub_.passes + 1;
  scrub_.is_running = true;
}

Mover::ScrubStatus Mover::scrub_status() const {
  MutexLock lock(mutex_);
  return scrub_;
}

bool Mover::Sleep(absl::Duration duration) {
  MutexLock lock(mutex_);
  if (!is_stopping_) wake_.WaitFor(mutex_, duration);
  return !is_stopping_;
}

uint64_t Mover::Step() {
  cold_.Tick();
  cold_.TouchSome();
  cold_.WriteNotes();
  return cold_.DemoteSome() + cold_.PromoteSome();
}

void Mover::Scrub(absl::Duration elapsed) {
  const bool is_asked_for = scrub_status().is_running;
  // What was not used up in a second is not saved for later.
  const auto rate = static_cast<double>(options_.scrub_bytes_per_second);
  scrub_credit_bytes_ =
      std::min(rate + kScrubStepBytes,
               scrub_credit_bytes_ + rate * absl::ToDoubleSeconds(elapsed));
  if (!is_asked_for && scrub_credit_bytes_ < kScrubStepBytes) return;
  const auto report = cold_.tier().ScrubSome(kScrubStepBytes);
  scrub_credit_bytes_ -= static_cast<double>(report.bytes);
  MutexLock lock(mutex_);
  scrub_.records += report.records;
  scrub_.bytes += report.bytes;
  scrub_.findings += report.findings;
  scrub_.passes = report.passes;
  if (scrub_.passes >= scrub_until_pass_) scrub_.is_running = false;
}

// How long to wait after a step that moved so much and took so long.
absl::Duration Mover::PauseAfter(uint64_t bytes, absl::Duration spent) const {
  if (bytes == 0) {
    return scrub_status().is_running ? absl::ZeroDuration()
                                     : options_.idle_interval;
  }
  if (options_.move_bytes_per_second == 0) return absl::ZeroDuration();
  const absl::Duration due =
      absl::Seconds(static_cast<double>(bytes) /
                    static_cast<double>(options_.move_bytes_per_second));
  return std::max(due - spent, absl::ZeroDuration());
}

void Mover::Run() {
  const Clock& clock = Clock::Monotonic();
  absl::Duration last = clock.Now();
  absl::Duration last_sync = last;
  absl::Duration pause;
  while (Sleep(pause)) {
    const uint64_t bytes = Step();
    const absl::Duration now = clock.Now();
    Scrub(now - last);
    last = now;
    if (now - last_sync >= options_.sync_interval) {
      // Whoever needs it durable asks for it; this bounds what a crash costs.
      cold_.tier().Sync().IgnoreError();
      last_sync = now;
    }
    pause = PauseAfter(bytes, clock.Now() - now);
  }
}

}  // namespace banyan::engine
