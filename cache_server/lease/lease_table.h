// Leases: named sets of pins with an end, each bound to a client session.
//
// Invariant: a leased block stays readable until its lease ends, even if it is
//            deleted; when a session ends, so do all of its leases.
// Threads:   thread-safe. Pins are dropped outside the lock.
// Errors:    kResourceExhausted reason LEASES: the table is full
//            kFailedPrecondition reason LEASE: unknown, ended, or another
//            session's
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/block_id.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "tiers/placement/eviction_policy.h"
#include "tiers/tier.h"

namespace banyan::lease {

// One block that a reader may read.
struct PinnedBlock {
  uint32_t ordinal = 0;  // In the request's run.
  BlockId id;
  tiers::TierKind tier = tiers::TierKind::kHost;  // Where it was read.
  tiers::BlockRef ref = tiers::kNoBlock;          // When it was pinned.
  uint32_t owner = 0;                             // Number of its namespace.
  // Shared, so that who sends many blocks can let go of each when it is sent.
  std::shared_ptr<const tiers::BlockPin> pin;
};

// Shared by the lease and the calls that stream from it, so that bytes in
// flight stay pinned when the lease ends under them.
using PinSet = std::shared_ptr<const std::vector<PinnedBlock>>;

class LeaseTable {
 public:
  struct Options {
    size_t leases_max = 65536;
    uint64_t leased_bytes_max = UINT64_MAX;
  };

  LeaseTable(const Options& options, const Clock& clock);

  struct Lease {
    std::string id;
    PinSet pins;
  };

  // `request_id` 0 is never found again by FindRequest.
  absl::StatusOr<Lease> Grant(absl::string_view session_id, uint64_t request_id,
                              PinSet pins, absl::Duration ttl);

  // The live lease that this request of this session got; empty id if none.
  Lease FindRequest(absl::string_view session_id, uint64_t request_id) const;

  absl::StatusOr<PinSet> Pins(absl::string_view session_id,
                              absl::string_view lease_id) const;

  // False if the session has no such lease.
  bool Renew(absl::string_view session_id, absl::string_view lease_id,
             absl::Duration ttl);
  void Release(absl::string_view session_id, absl::string_view lease_id);
  void ReleaseSession(absl::string_view session_id);

  // Ends the leases whose time is over; returns how many.
  size_t Expire();

  size_t size() const;
  uint64_t leased_bytes() const;

 private:
  struct Entry {
    std::string session_id;
    uint64_t request_id = 0;
    PinSet pins;
    uint64_t bytes = 0;
    absl::Duration end;
  };

  // Takes out the entries for which pred(entry) holds; they end when the
  // returned vector does.
  template <typename Pred>
  std::vector<PinSet> TakeIf(const Pred& pred);

  const Options options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, Entry> leases_ ABSL_GUARDED_BY(mutex_);
  uint64_t leased_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace banyan::lease
