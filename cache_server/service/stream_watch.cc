#include "cache_server/service/stream_watch.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace banyan::service {
namespace {

constexpr absl::Duration kAnswerTimeMax = absl::Milliseconds(100);

}  // namespace

bool HasDeadline(const grpc::CallbackServerContext& context) {
  return context.deadline() != std::chrono::system_clock::time_point::max();
}

absl::Duration TimeForDisk(const grpc::CallbackServerContext& context) {
  if (!HasDeadline(context)) return absl::InfiniteDuration();
  const absl::Duration left =
      absl::FromChrono(context.deadline() - std::chrono::system_clock::now());
  // A part of it is for the way there and back.
  return left - std::clamp(left / 4, absl::ZeroDuration(), kAnswerTimeMax);
}

StreamWatch::Ticket StreamWatch::Join(Kind kind,
                                      grpc::CallbackServerContext& context,
                                      std::string session_id) {
  const absl::Duration now = clock_.Now();
  const bool is_capped = kind == Kind::kCall && !HasDeadline(context);
  MutexLock lock(mutex_);
  streams_[++last_ticket_] = {
      .context = &context,
      .last_progress = now,
      .end = is_capped ? now + options_.deadline_cap : absl::InfiniteDuration(),
      .session_id = std::move(session_id)};
  return last_ticket_;
}

void StreamWatch::NoteProgress(Ticket ticket) {
  const absl::Duration now = clock_.Now();
  MutexLock lock(mutex_);
  const auto it = streams_.find(ticket);
  if (it == streams_.end()) return;
  it->second.last_progress = now;
  it->second.is_waiting = false;
}

void StreamWatch::NoteWait(Ticket ticket) {
  MutexLock lock(mutex_);
  const auto it = streams_.find(ticket);
  if (it != streams_.end()) it->second.is_waiting = true;
}

size_t StreamWatch::waiting() const {
  MutexLock lock(mutex_);
  return static_cast<size_t>(
      std::count_if(streams_.begin(), streams_.end(),
                    [](const auto& entry) { return entry.second.is_waiting; }));
}

void StreamWatch::Leave(Ticket ticket) {
  MutexLock lock(mutex_);
  streams_.erase(ticket);
}

void StreamWatch::Tick() {
  const absl::Duration now = clock_.Now();
  MutexLock lock(mutex_);
  for (auto& [ticket, stream] : streams_) {
    if (stream.is_cut) continue;
    const bool is_overdue = now >= stream.end;
    const bool is_stalled =
        !stream.is_waiting &&
        now >= stream.last_progress + options_.stall_timeout;
    if (!is_overdue && !is_stalled) continue;
    stream.is_cut = true;
    server::Add(is_overdue ? counters_.streams_overdue
                           : counters_.streams_stalled);
    // Under the lock, so that the stream cannot leave and be destroyed. It only
    // queues the cancellation; reactions come on gRPC's threads.
    stream.context->TryCancel();
  }
}

std::vector<std::string> StreamWatch::Sessions() const {
  std::vector<std::string> sessions;
  MutexLock lock(mutex_);
  for (const auto& [ticket, stream] : streams_) {
    if (!stream.session_id.empty()) sessions.push_back(stream.session_id);
  }
  return sessions;
}

void StreamWatch::CutSession(const std::string& session_id) {
  MutexLock lock(mutex_);
  for (auto& [ticket, stream] : streams_) {
    if (stream.is_cut || stream.session_id != session_id) continue;
    stream.is_cut = true;
    server::Add(counters_.streams_orphaned);
    stream.context->TryCancel();  // As above.
  }
}

}  // namespace banyan::service
