// Evicts what has the lowest hit density ahead: the segment of a chain whose
// return is least likely for the time that waiting for it takes (see
// docs/eviction.md). Learns online from returns, from what outlives an age
// without one, and from segments that are gone but not forgotten.
//
// Admits a block only if it is worth as much as what would have to go.
//
// Threads: thread-safe.
// Cost:    8 to 24 us a request of 25 blocks. 24 bytes a block, and 300 for
//          each segment, of which there are as many as blocks at worst; up to
//          kGhostsMax segments that are gone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "tiers/placement/age_stages.h"
#include "tiers/placement/eviction_policy.h"
#include "tiers/placement/hazard_model.h"
#include "tiers/placement/keyed_heap.h"
#include "tiers/placement/lru_guard.h"
#include "tiers/placement/number_list.h"
#include "tiers/placement/segment_forest.h"
#include "tiers/placement/segment_history.h"

namespace banyan::tiers {

class HazardPolicy final : public EvictionPolicy {
 public:
  HazardPolicy();

  absl::string_view name() const override { return "hazard"; }
  void Insert(const NewRun& run, const RequestFacts& facts) override;
  void Touch(absl::Span<const BlockRef> run,
             const RequestFacts& facts) override;
  void Hint(absl::Span<const BlockRef> run, const RequestFacts& facts) override;
  void Remove(BlockRef block) override;
  std::optional<BlockRef> TakeVictim() override;
  std::optional<BlockRef> TakeVictimFor(const IncomingRun& incoming,
                                        const RequestFacts& facts) override;
  void Retain(BlockRef block) override;
  size_t size() const override;
  size_t memory_bytes() const override;

 private:
  // What is needed as it grows older is in its first cache line.
  struct alignas(64) Segment {
    SegmentFeatures features;
    uint8_t taught_bin = 0;  // The bins below it were taught.
    bool is_ghost = false;   // Gone, but not forgotten.
    bool is_held = false;    // Could not go when it was to.
    SegmentHistory history;
    // Who touched it last: the last block found, and above the low half by one
    // what it asked for.
    uint64_t request = 0;
    // What fell off the end: how many blocks, and the id of the first one. Of a
    // ghost: of the segment itself.
    uint32_t fallen_blocks = 0;
    uint64_t fallen_id = 0;
  };
  // A part of a run that comes in, to become one segment.
  struct Piece {
    size_t begin = 0;
    size_t length = 0;
    SegmentHistory history;
    SegmentFeatures features;
    bool is_fallen = false;  // Off the end of the segment before it.
    bool is_known = false;   // Fallen or remembered.
  };
  // For which run pieces were made, and when.
  struct Plan {
    uint64_t first_id = 0;
    uint64_t last_id = 0;
    size_t blocks = 0;
    double at = -1;

    friend bool operator==(const Plan&, const Plan&) = default;
  };
  // Of those that are ranked together.
  struct Group {
    int count = 0;
    std::array<SegmentNo, Outlook::kSegmentsMax> segments;
    Outlook outlook = {};
  };
  struct Due {
    SegmentNo segment = kNoSegment;
    int bin = 0;  // That it has reached.
  };
  struct Victim {
    BlockRef block = kNoBlock;
    SegmentNo parent = kNoSegment;
  };

  // --- Time and teaching.
  void Advance(const RequestFacts& facts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those in due_ have outlived a part of a bin.
  void OnDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnHintEnd(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int BinOf(const Segment& segment) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It has lived to this bin.
  void TeachSurvival(Segment& segment, int bin)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TeachReturn(Segment& segment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- Ranking.
  // Of what comes in.
  double NewDensity(const SegmentFeatures& features) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Rank(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds it to the group, with what is known now.
  void Foresee(SegmentNo s, Group& group) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Requires: all may go. The group is empty then.
  void RankGroup(Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It was touched just now, with these features.
  void Restart(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The request is over: counts what it found, and what LRU would have.
  void CountRequest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteLru(SegmentNo s, uint32_t blocks)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The leading blocks of what is refused now that LRU would have found.
  uint32_t LruOfRefused(const IncomingRun& incoming) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteFull() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- Segments.
  Segment& SegmentAt(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  SegmentNo Split(SegmentNo s, uint32_t length)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Cuts segments so that the tracked blocks of the run are whole ones, which
  // go into path_. Returns how many blocks were cut off behind the run.
  uint32_t FindPath(absl::Span<const BlockRef> run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A request did not follow the chain into it.
  void LeaveBehind(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The segment that ends with `block`, cut if need be.
  SegmentNo EndingWith(BlockRef block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TouchPath(const PromptShape& prompt, const RequestFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- What comes in.
  // Cuts a run into pieces_: by what is remembered of its blocks, and the tip.
  void PlanPieces(absl::Span<const BlockId> ids, BlockRef above,
                  const RequestFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A request reads what its lookup has found, which was noted then: all of it,
  // and no more than the lookup asked for.
  bool IsReadOfFound(absl::Span<const BlockRef> run,
                     const RequestFacts& facts) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Piece NextPiece(absl::Span<const BlockId> ids, size_t begin, size_t body_end,
                  SegmentNo parent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How much of the prompt at hand was asked for before, as far as pieces_ tell.
  uint32_t CountKnown(uint32_t first_block, BlockRef above,
                      uint32_t prompt_blocks)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What was found of the prompt at hand, from `s` upwards, has `below` segments
  // below it, and asked_.known is more than was found.
  void DescribeAgain(SegmentNo s, uint32_t below)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRun(const NewRun& run, const RequestFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsWorthLess(const IncomingRun& incoming, const RequestFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RememberRefused(const IncomingRun& incoming)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- Hints.
  uint32_t OwnerSlot(uint32_t owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ApplyHint(SegmentNo s, const RequestFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // --- What is gone.
  std::optional<BlockRef> TakeLowest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BecomeGhost(SegmentNo s, uint64_t id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is remembered of the block is asked for again.
  void TakeGhost(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetGhost(SegmentNo s) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  HazardModel model_ ABSL_GUARDED_BY(mutex_);
  SegmentForest forest_ ABSL_GUARDED_BY(mutex_);
  std::vector<Segment> segments_ ABSL_GUARDED_BY(mutex_);  // By number.
  KeyedHeap victims_ ABSL_GUARDED_BY(mutex_);              // Leaves by density.
  AgeStages ages_ ABSL_GUARDED_BY(mutex_);                 // All.
  KeyedHeap hint_ends_ ABSL_GUARDED_BY(mutex_);  // Of hints that have one.
  NumberList ghosts_by_age_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, SegmentNo> ghosts_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint32_t, uint32_t> owner_slots_ ABSL_GUARDED_BY(mutex_);
  LruGuard guard_ ABSL_GUARDED_BY(mutex_);
  // Of the request at hand: what it asked for and found, and as it is planned what
  // of it was known; the last block of it that is in; when that was. Then what LRU
  // would have found, and whether LRU would have found all so far.
  PromptShape asked_ ABSL_GUARDED_BY(mutex_);
  BlockRef asked_end_ ABSL_GUARDED_BY(mutex_) = kNoBlock;
  double asked_at_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t lru_found_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t lru_refused_ ABSL_GUARDED_BY(mutex_) = 0;  // Of what was refused.
  bool has_lru_all_ ABSL_GUARDED_BY(mutex_) = true;
  bool is_making_room_ ABSL_GUARDED_BY(mutex_) = false;
  double now_ ABSL_GUARDED_BY(mutex_) = 0;
  double sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  Victim last_victim_ ABSL_GUARDED_BY(mutex_);
  // Of the call at hand, kept for their memory; pieces_ are those of plan_.
  std::vector<Due> due_ ABSL_GUARDED_BY(mutex_);
  std::vector<SegmentNo> path_ ABSL_GUARDED_BY(mutex_);
  std::vector<Piece> pieces_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> piece_densities_ ABSL_GUARDED_BY(mutex_);
  Plan plan_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::tiers
