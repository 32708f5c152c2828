// The open writes of a node, the ids they are writing, and for a while the
// outcome of those that ended, so that a repeated Commit gets the same answer.
//
// Invariant: an id is in at most one open write. A block can be followed from
//            when its write was added until its id is given back.
// Threads:   thread-safe. Writes are dropped outside the lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/block_id.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "cache_server/engine/chain_ids.h"
#include "cache_server/engine/namespace_registry.h"
#include "cache_server/engine/open_write.h"

namespace banyan::engine {

enum class WriteVerdict {
  kWrite,
  kExists,
  kInProgress,
  kNoCapacity,
  kTooLarge
};
enum class WriteOutcome { kCommitted, kLostRace };

// What an acknowledged block survives: the client, or a crash of the node.
enum class Durability { kMemory, kDurable };

// What a Reserve made.
struct WriteRecord {
  std::string id;
  std::string session_id;
  uint64_t request_id = 0;
  Durability durability = Durability::kMemory;
  uint64_t piece_bytes = 0;  // Of a write by layers, as is the next.
  uint32_t layers = 0;
  NamespacePtr ns;
  ChainIds chain;
  tiers::ReuseHint hint;
  std::vector<WriteVerdict> verdicts;
  std::shared_ptr<OpenWrite> write;

  // Of the blocks that have rooms, in their order.
  std::vector<BlockId> RoomIds() const;
};
using WriteRecordPtr = std::shared_ptr<const WriteRecord>;

class WriteTable {
 public:
  struct Options {
    size_t writes_max = 4096;
    absl::Duration idle_timeout = absl::Seconds(30);
    absl::Duration outcome_ttl = absl::Seconds(60);
  };

  WriteTable(const Options& options, const Clock& clock);

  // Claims ids for a write that is being made: true for each that no other
  // write has. Unclaim what does not end up in an added write.
  std::vector<bool> Claim(absl::Span<const BlockId> ids);
  void Unclaim(absl::Span<const BlockId> ids);

  // The block with this id that is being written, or null.
  std::shared_ptr<GrowingBlock> FindGrowing(const BlockId& id) const;

  // Errors: kResourceExhausted reason WRITES.
  absl::Status Add(const WriteRecordPtr& record);

  // The open write of this request, or null.
  WriteRecordPtr FindRequest(absl::string_view session_id,
                             uint64_t request_id) const;

  // The open write; counts as activity. Null if there is none.
  WriteRecordPtr Find(absl::string_view session_id, absl::string_view write_id);

  // Takes the write out; its ids stay claimed until Unclaim. Null if none.
  WriteRecordPtr Take(absl::string_view session_id, absl::string_view write_id);
  std::vector<WriteRecordPtr> TakeSession(absl::string_view session_id);
  std::vector<WriteRecordPtr> TakeIdle();

  struct Outcome {
    Checksum128 content;  // Digest of what was claimed at Commit.
    std::vector<WriteOutcome> outcomes;
    Durability durability = Durability::kMemory;
  };
  void RememberOutcome(absl::string_view write_id, Outcome outcome);
  std::optional<Outcome> FindOutcome(absl::string_view write_id) const;

  size_t size() const;

 private:
  struct Open {
    WriteRecordPtr record;
    absl::Duration last_active;
  };
  struct Ended {
    Outcome outcome;
    absl::Duration end;
  };

  template <typename Pred>
  std::vector<WriteRecordPtr> TakeIf(const Pred& pred);

  const Options options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, Open> open_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Ended> ended_ ABSL_GUARDED_BY(mutex_);
  // Null while the write is being made.
  absl::flat_hash_map<BlockId, std::shared_ptr<GrowingBlock>> claimed_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::engine
