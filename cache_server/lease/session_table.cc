#include "cache_server/lease/session_table.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/random_id.h"

namespace banyan::lease {
namespace {

constexpr size_t kClientIdBytesMax = 128;
constexpr size_t kNoteBytesMax = 256;

// Keeps whole characters of UTF-8.
void Cut(std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
}

}  // namespace

SessionTable::SessionTable(const Options& options, const Clock& clock)
    : options_(options), clock_(clock) {}

absl::StatusOr<SessionTable::Opened> SessionTable::Open(
    absl::string_view client_id) {
  if (client_id.empty() || client_id.size() > kClientIdBytesMax) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CLIENT_ID",
        absl::StrCat("client_id: ", client_id.size(), " bytes, need 1 to ",
                     kClientIdBytesMax, "."));
  }
  Opened opened{.id = RandomId()};
  MutexLock lock(mutex_);
  const auto older = by_client_.find(client_id);
  if (older != by_client_.end()) {
    opened.fenced_id = older->second;
    sessions_.erase(older->second);
  } else if (sessions_.size() >= options_.sessions_max) {
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, "SESSIONS",
                  absl::StrCat("sessions: ", sessions_.size(),
                               " are open, the limit. Close some, or raise "
                               "sessions-max.")),
        absl::Seconds(1));
  }
  sessions_[opened.id] = {.client_id = std::string(client_id),
                          .last_seen = clock_.Now()};
  by_client_[client_id] = opened.id;
  return opened;
}

absl::Status SessionTable::Touch(absl::string_view session_id) {
  MutexLock lock(mutex_);
  const auto found = sessions_.find(session_id);
  if (found == sessions_.end()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SESSION",
                     "session: unknown or ended. Open a new one.");
  }
  found->second.last_seen = clock_.Now();
  return absl::OkStatus();
}

void SessionTable::SetNote(absl::string_view session_id, Note note) {
  for (std::string* text : {&note.engine, &note.transport, &note.why}) {
    Cut(*text, kNoteBytesMax);
  }
  MutexLock lock(mutex_);
  const auto found = sessions_.find(session_id);
  if (found != sessions_.end()) found->second.note = std::move(note);
}

std::vector<SessionTable::Listed> SessionTable::List() const {
  const absl::Duration now = clock_.Now();
  std::vector<Listed> listed;
  MutexLock lock(mutex_);
  for (const auto& [id, entry] : sessions_) {
    listed.push_back({.client_id = entry.client_id,
                      .note = entry.note,
                      .idle = now - entry.last_seen});
  }
  return listed;
}

bool SessionTable::IsOpen(absl::string_view session_id) const {
  MutexLock lock(mutex_);
  return sessions_.contains(session_id);
}

bool SessionTable::End(absl::string_view session_id) {
  MutexLock lock(mutex_);
  const auto found = sessions_.find(session_id);
  if (found == sessions_.end()) return false;
  by_client_.erase(found->second.client_id);
  sessions_.erase(found);
  return true;
}

std::vector<std::string> SessionTable::Expire() {
  std::vector<std::string> ended;
  const absl::Duration oldest = clock_.Now() - options_.timeout;
  MutexLock lock(mutex_);
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    if (it->second.last_seen >= oldest) {
      ++it;
      continue;
    }
    ended.push_back(it->first);
    by_client_.erase(it->second.client_id);
    sessions_.erase(it++);
  }
  return ended;
}

size_t SessionTable::size() const {
  MutexLock lock(mutex_);
  return sessions_.size();
}

}  // namespace banyan::lease
