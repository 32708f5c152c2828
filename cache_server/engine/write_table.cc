#include "cache_server/engine/write_table.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::engine {

std::vector<BlockId> WriteRecord::RoomIds() const {
  std::vector<BlockId> ids;
  for (size_t i = 0; i < chain.size(); ++i) {
    if (verdicts[i] == WriteVerdict::kWrite) ids.push_back(chain[i]);
  }
  return ids;
}

WriteTable::WriteTable(const Options& options, const Clock& clock)
    : options_(options), clock_(clock) {}

std::vector<bool> WriteTable::Claim(absl::Span<const BlockId> ids) {
  std::vector<bool> is_claimed(ids.size());
  MutexLock lock(mutex_);
  for (size_t i = 0; i < ids.size(); ++i) {
    is_claimed[i] = claimed_.try_emplace(ids[i]).second;
  }
  return is_claimed;
}

void WriteTable::Unclaim(absl::Span<const BlockId> ids) {
  std::vector<std::shared_ptr<GrowingBlock>> let_go;  // Outside the lock.
  let_go.reserve(ids.size());
  MutexLock lock(mutex_);
  for (const BlockId& id : ids) {
    const auto found = claimed_.find(id);
    if (found == claimed_.end()) continue;
    let_go.push_back(std::move(found->second));
    claimed_.erase(found);
  }
}

std::shared_ptr<GrowingBlock> WriteTable::FindGrowing(const BlockId& id) const {
  MutexLock lock(mutex_);
  const auto found = claimed_.find(id);
  return found == claimed_.end() ? nullptr : found->second;
}

absl::Status WriteTable::Add(const WriteRecordPtr& record) {
  const std::vector<BlockId> ids = record->RoomIds();
  const auto growing = record->write->Growing();
  MutexLock lock(mutex_);
  if (open_.size() >= options_.writes_max) {
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, "WRITES",
                  absl::StrCat("writes: ", open_.size(),
                               " are open, the limit. Commit or abort some.")),
        absl::Milliseconds(20));
  }
  open_[record->id] = {.record = record, .last_active = clock_.Now()};
  for (size_t i = 0; i < ids.size(); ++i) claimed_[ids[i]] = growing[i];
  return absl::OkStatus();
}

WriteRecordPtr WriteTable::FindRequest(absl::string_view session_id,
                                       uint64_t request_id) const {
  if (request_id == 0) return nullptr;
  MutexLock lock(mutex_);
  for (const auto& [id, open] : open_) {
    if (open.record->request_id == request_id &&
        open.record->session_id == session_id) {
      return open.record;
    }
  }
  return nullptr;
}

WriteRecordPtr WriteTable::Find(absl::string_view session_id,
                                absl::string_view write_id) {
  MutexLock lock(mutex_);
  const auto found = open_.find(write_id);
  if (found == open_.end() || found->second.record->session_id != session_id) {
    return nullptr;
  }
  found->second.last_active = clock_.Now();
  return found->second.record;
}

WriteRecordPtr WriteTable::Take(absl::string_view session_id,
                                absl::string_view write_id) {
  MutexLock lock(mutex_);
  const auto found = open_.find(write_id);
  if (found == open_.end() || found->second.record->session_id != session_id) {
    return nullptr;
  }
  WriteRecordPtr record = std::move(found->second.record);
  open_.erase(found);
  return record;
}

template <typename Pred>
std::vector<WriteRecordPtr> WriteTable::TakeIf(const Pred& pred) {
  std::vector<WriteRecordPtr> taken;
  MutexLock lock(mutex_);
  for (auto it = open_.begin(); it != open_.end();) {
    if (!pred(it->second)) {
      ++it;
      continue;
    }
    taken.push_back(std::move(it->second.record));
    open_.erase(it++);
  }
  return taken;
}

std::vector<WriteRecordPtr> WriteTable::TakeSession(
    absl::string_view session_id) {
  return TakeIf(
      [&](const Open& open) { return open.record->session_id == session_id; });
}

std::vector<WriteRecordPtr> WriteTable::TakeIdle() {
  const absl::Duration now = clock_.Now();
  {
    MutexLock lock(mutex_);
    absl::erase_if(ended_,
                   [&](const auto& entry) { return entry.second.end < now; });
  }
  return TakeIf([&](const Open& open) {
    return open.last_active < now - options_.idle_timeout;
  });
}

void WriteTable::RememberOutcome(absl::string_view write_id, Outcome outcome) {
  MutexLock lock(mutex_);
  ended_[write_id] = {.outcome = std::move(outcome),
                      .end = clock_.Now() + options_.outcome_ttl};
}

std::optional<WriteTable::Outcome> WriteTable::FindOutcome(
    absl::string_view write_id) const {
  MutexLock lock(mutex_);
  const auto found = ended_.find(write_id);
  if (found == ended_.end()) return std::nullopt;
  return found->second.outcome;
}

size_t WriteTable::size() const {
  MutexLock lock(mutex_);
  return open_.size();
}

}  // namespace banyan::engine
