#include "cache_server/lease/lease_table.h"

#include "base/error.h"
#include "base/random_id.h"

namespace banyan::lease {

LeaseTable::LeaseTable(const Options& options, const Clock& clock)
    : options_(options), clock_(clock) {}

absl::StatusOr<LeaseTable::Lease> LeaseTable::Grant(
    absl::string_view session_id, uint64_t request_id, PinSet pins,
    absl::Duration ttl) {
  uint64_t bytes = 0;
  for (const PinnedBlock& block : *pins) {
    bytes += block.pin->header().payload_bytes;
  }
  Lease lease{.id = RandomId(), .pins = std::move(pins)};
  MutexLock lock(mutex_);
  if (leases_.size() >= options_.leases_max ||
      bytes > options_.leased_bytes_max - leased_bytes_) {
    return WithRetryDelay(
        MakeError(absl::StatusCode::kResourceExhausted, "LEASES",
                  "leases: the node's limit is reached. Release leases, or "
                  "raise max-leases."),
        absl::Milliseconds(20));
  }
  leased_bytes_ += bytes;
  leases_[lease.id] = {.session_id = std::string(session_id),
                       .request_id = request_id,
                       .pins = lease.pins,
                       .bytes = bytes,
                       .end = clock_.Now() + ttl};
  return lease;
}

LeaseTable::Lease LeaseTable::FindRequest(absl::string_view session_id,
                                          uint64_t request_id) const {
  if (request_id == 0) return {};
  MutexLock lock(mutex_);
  for (const auto& [id, entry] : leases_) {
    if (entry.request_id == request_id && entry.session_id == session_id &&
        entry.end >= clock_.Now()) {
      return {.id = id, .pins = entry.pins};
    }
  }
  return {};
}

absl::StatusOr<PinSet> LeaseTable::Pins(absl::string_view session_id,
                                        absl::string_view lease_id) const {
  MutexLock lock(mutex_);
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || found->second.session_id != session_id ||
      found->second.end < clock_.Now()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LEASE",
                     "lease: unknown or ended. Look the keys up again.");
  }
  return found->second.pins;
}

bool LeaseTable::Renew(absl::string_view session_id, absl::string_view lease_id,
                       absl::Duration ttl) {
  MutexLock lock(mutex_);
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || found->second.session_id != session_id ||
      found->second.end < clock_.Now()) {
    return false;
  }
  found->second.end = clock_.Now() + ttl;
  return true;
}

template <typename Pred>
std::vector<PinSet> LeaseTable::TakeIf(const Pred& pred) {
  std::vector<PinSet> taken;
  MutexLock lock(mutex_);
  for (auto it = leases_.begin(); it != leases_.end();) {
    if (!pred(it->first, it->second)) {
      ++it;
      continue;
    }
    leased_bytes_ -= it->second.bytes;
    taken.push_back(std::move(it->second.pins));
    leases_.erase(it++);
  }
  return taken;
}

void LeaseTable::Release(absl::string_view session_id,
                         absl::string_view lease_id) {
  PinSet ending;
  MutexLock lock(mutex_);
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || found->second.session_id != session_id) return;
  leased_bytes_ -= found->second.bytes;
  ending = std::move(found->second.pins);
  leases_.erase(found);
}

void LeaseTable::ReleaseSession(absl::string_view session_id) {
  TakeIf([&](const std::string&, const Entry& entry) {
    return entry.session_id == session_id;
  });
}

size_t LeaseTable::Expire() {
  const absl::Duration now = clock_.Now();
  return TakeIf([&](const std::string&, const Entry& entry) {
           return entry.end < now;
         })
      .size();
}

size_t LeaseTable::size() const {
  MutexLock lock(mutex_);
  return leases_.size();
}

uint64_t LeaseTable::leased_bytes() const {
  MutexLock lock(mutex_);
  return leased_bytes_;
}

}  // namespace banyan::lease
