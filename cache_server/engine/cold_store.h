// The ColdStore is the engine's side of the SSD tier: it brings blocks back
// from it, moves blocks that leave memory to it, makes writes durable, and
// makes what it holds findable again after a restart. The BlockStore owns it
// and asks it; without an SSD tier there is none.
//
// Moving: a block that leaves memory is copied to the SSD first, in the
//   background, before room is short. A block that has a copy there costs
//   nothing to evict. Whoever needs room at once does not wait for a copy: what
//   has none is dropped.
//
// Invariant: a block in the tier is findable, or it is erased there.
// Threads:   thread-safe; Read, MakeDurable, DemoteSome, PromoteSome and
//            Recover block on the disk, so they run on the I/O executor, the
//            mover's thread, or before the node serves. Never on a gRPC thread.
// Lifetime:  everything that the constructor takes outlives it.
// Errors:    kUnavailable reason DURABILITY: the block is not durable.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "cache_server/engine/byte_budget.h"
#include "cache_server/engine/chain_ids.h"
#include "cache_server/engine/drop_queue.h"
#include "cache_server/engine/namespace_note.h"
#include "cache_server/engine/namespace_registry.h"
#include "cache_server/engine/place_record.h"
#include "cache_server/engine/recovered_blocks.h"
#include "cache_server/index/prefix_index.h"
#include "cache_server/lease/lease_table.h"
#include "cache_server/runtime/counters.h"
#include "tiers/placement/admission_policy.h"
#include "tiers/placement/eviction_policy.h"
#include "tiers/ssd/ssd_tier.h"
#include "tiers/tier.h"

namespace banyan::engine {

class ColdStore {
 public:
  struct Options {
    // Copying starts when this share of the host tier is taken.
    double demote_above = 0.9;
    // Longest wait for one batch of reads; then what is missing is a miss.
    absl::Duration read_timeout = absl::Seconds(2);
    // Blocks that were decoded for readers; what is beyond is a miss.
    uint64_t decoded_bytes_max = uint64_t{512} << 20;
    size_t promotions_max = 64;  // Reads whose blocks wait to be brought back.
    size_t touches_max =
        65536;  // Blocks served whose copies wait to be touched.
  };

  // What it works on. `forget` removes a block, and all below it in its group,
  // from index, policy and tiers.
  struct Parts {
    tiers::SsdTier& ssd;
    tiers::Tier& host;
    index::PrefixIndex& index;
    tiers::EvictionPolicy& policy;
    const tiers::AdmissionPolicy& admission;
    NamespaceRegistry& namespaces;
    DropQueue& drops;
    server::Counters& counters;
    const Clock& clock;
    std::function<void(tiers::BlockRef)> forget;
  };

  ColdStore(const Options& options, Parts parts);
  ColdStore(const ColdStore&) = delete;
  ColdStore& operator=(const ColdStore&) = delete;

  bool Contains(const BlockId& id) const { return parts_.ssd.Contains(id); }
  // False while the disk hangs: its blocks are misses then. Does not block.
  bool Answers() { return parts_.ssd.Answers(); }
  void Erase(const BlockId& id) { parts_.ssd.Erase(id); }
  tiers::SsdTier& tier() { return parts_.ssd; }

  // --- Reading.
  struct Wanted {
    uint32_t ordinal = 0;
    BlockId id;
    BlockIdentity identity;
    // Its number in the chain, by which what is encoded is decoded. None: it is
    // wanted as it is stored.
    std::optional<uint32_t> block = {};
  };
  // Pins the blocks, read all at once; those that cannot be had are left out, and
  // those that `admits` refuses, by their headers. Damaged ones are counted and
  // forgotten; encoded ones are decoded, if that is wanted. Waits for the disk for
  // Options::read_timeout, and no longer than `timeout`.
  std::vector<lease::PinnedBlock> Read(
      absl::Span<const Wanted> wanted, absl::Duration timeout,
      absl::FunctionRef<bool(const BlockHeader&)> admits);
  // All of them.
  std::vector<lease::PinnedBlock> Read(absl::Span<const Wanted> wanted) {
    return Read(wanted, absl::InfiniteDuration(),
                [](const BlockHeader&) { return true; });
  }

  // Tells the tier, in the background, that these blocks were served from memory:
  // its copies of them are worth keeping. Costs a copy of the ids.
  void TouchLater(absl::Span<const BlockId> ids);

  // Brings the blocks of these pins that came from the SSD back into memory, in
  // the background. `refs` has the ref of each ordinal of the run that begins
  // at block `first_block` of its chain.
  void PromoteLater(lease::PinSet pins, std::vector<tiers::BlockRef> refs,
                    uint32_t first_block);

  // --- Durability.
  // Why durable writes are refused now; OK if they are not.
  absl::Status CanMakeDurable();

  // Returns after these blocks of the chain, which are stored, are on disk in
  // full, and the names of all namespaces.
  absl::Status MakeDurable(const ChainIds& chain,
                           absl::Span<const uint32_t> ordinals);

  // --- In the background, one thread at a time; each returns the payload
  // bytes it moved.
  // Makes room in memory if it is short; one batch.
  uint64_t DemoteSome();
  // Before a planned end: copies all of memory that is worth it, for as long as
  // that may take.
  uint64_t DemoteEverything(absl::Duration timeout);
  // Brings back what PromoteLater was told; one read.
  uint64_t PromoteSome();
  // Passes on what TouchLater was told.
  void TouchSome();
  // Writes down the namespaces that are new.
  void WriteNotes();

  // Forgets what the tier dropped. Does not block on the disk.
  void Tick();

  // Looks whether the disk is as it was, for the log and for those who ask.
  // Does not block; any thread.
  void Watch() { parts_.ssd.Answers(); }

  // --- Start and end of namespaces.
  void NoteNamespace(NamespacePtr ns);
  void ForgetNamespace(const Namespace& ns);

  // Makes everything that the tier held when it was opened findable. Call once,
  // before anything else.
  // Errors: kFailedPrecondition reason GROUPS: written with other groups.
  //         Those of the tier.
  absl::Status Recover(RecoveredBlocks& recovered);

 private:
  struct Leaving {
    tiers::BlockRef ref = tiers::kNoBlock;
    BlockId id;
    index::BlockPlace place;
    uint32_t last_touch = 0;
    uint64_t bytes = 0;
  };
  struct Batch {
    std::vector<Leaving> leaving;
    std::vector<tiers::SsdTier::StoreRequest> requests;  // One each.
    uint64_t bytes = 0;
    bool is_refused = false;  // The tier has no room for more.
  };
  struct Promotion {
    lease::PinSet pins;
    std::vector<tiers::BlockRef> refs;
    uint32_t first_block = 0;
  };
  // A namespace that is to be written down, or is gone: then `ns` is null, and its
  // calibration had so many parts. Neither: it was gone before it was written.
  struct Note {
    std::string id;
    NamespacePtr ns;
    bool is_gone = false;
    size_t parts = 0;
  };
  // What the notes say of one, the parts of its calibration together.
  struct FoundNamespace {
    std::string id;
    std::string text;  // Empty: it was dropped.
    std::string calibration;
  };

  absl::StatusOr<std::unique_ptr<tiers::BlockPin>> Decoded(
      const Wanted& block, std::unique_ptr<tiers::BlockPin> pin);
  bool IsMemoryShort() const;
  enum class While { kMemoryIsShort, kThereIsSome };
  uint64_t DemoteBatch(While condition);
  // Takes the policy's next victim out of memory if that costs no write;
  // otherwise adds it to the batch. False if there is none, or it stays.
  bool TakeLeaving(Batch& batch);
  bool CopyLeaving(Leaving leaving, Batch& batch);
  Batch CollectLeaving(While condition);
  // False if the tier did not take it.
  bool FinishLeaving(const Leaving& leaving, const absl::Status& stored);
  // Whether a block that goes to disk may be encoded, if its namespace says so. A
  // durable one is stored as it was written.
  enum class Form { kByPolicy, kAsItIs };
  // The block's bytes, verified, in a room of the tier.
  absl::StatusOr<tiers::SsdTier::StoreRequest> CopyToStage(
      const BlockId& id, const index::BlockPlace& place, Form form);
  // What the namespace's policy makes of the block; empty: what it is.
  absl::StatusOr<std::optional<SsdCoding::Encoded>> EncodedByPolicy(
      const tiers::BlockPin& pin, uint32_t block);
  static index::BlockPlace PlaceIn(const ChainIds& chain, uint32_t ordinal);
  absl::Status StoreMissing(const ChainIds& chain,
                            absl::Span<const uint32_t> ordinals);
  uint64_t PromoteOne(const lease::PinnedBlock& block);
  void TrackPromoted(const Promotion& promotion,
                     const std::vector<bool>& is_promoted);
  absl::Status WriteNotesNow();
  absl::Status WriteNote(const Note& note);
  void RecoverNamespace(FoundNamespace found);
  // Ids of the namespaces that were dropped.
  absl::StatusOr<absl::flat_hash_set<std::string>> RecoverNamespaces();
  absl::Status RecoverBlocks(RecoveredBlocks::Found found,
                             const absl::flat_hash_set<std::string>& dropped);

  const Options options_;
  const Parts parts_;
  ByteBudget decoded_bytes_;
  absl::Duration retry_at_;  // Of whoever demotes: one thread at a time.
  mutable Mutex mutex_;
  std::deque<Promotion> promotions_ ABSL_GUARDED_BY(mutex_);
  std::vector<BlockId> touches_ ABSL_GUARDED_BY(mutex_);
  std::vector<Note> notes_ ABSL_GUARDED_BY(mutex_);
  // Keeps notes in order on disk: the one lock that is held across I/O, and
  // nobody takes it who may not block on the disk anyway.
  Mutex notes_writing_;
};

}  // namespace banyan::engine
