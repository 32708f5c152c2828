// SegmentBooks says which segment takes the next record, what is live in each,
// and what the tier's usage is. It only keeps books: it never touches a disk.
//
// A segment is filled from front to back and never again. Space of erased
// records comes back when their segment is given up, its live records having
// been carried into another. So that this works when all is full, carrying may
// take one victim's size more on disk than the capacity.
//
// Invariant: used + staged + free + waste == capacity; appended + reserved
//            bytes of a segment never exceed it.
// Threads:   thread-compatible.
// Cost:      O(open segments) to reserve; O(segments) to pick a victim.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/block_id.h"
#include "tiers/io/file.h"
#include "tiers/ssd/segment_format.h"
#include "tiers/tier.h"

namespace banyan::tiers {

struct Segment {
  enum class State {
    kOpen,     // Takes records.
    kSealing,  // Takes those it has promised room to, then is sealed.
    kSealed,
    kRetired,  // Its file is removed; kept for reads that are under way.
  };

  SegmentHeader header;
  uint32_t slot = 0;  // Number of the segment in the books.
  uint32_t directory = 0;
  State state = State::kOpen;
  uint64_t append_offset = kSegmentHeaderBytes;
  uint64_t reserved_bytes = 0;  // Promised to records not yet appended.
  uint64_t live_bytes = 0;
  uint64_t hot_bytes = 0;         // Live, and read since written.
  std::vector<uint64_t> writing;  // Offsets of appends under way.
  std::vector<BlockId> ids;       // Of all records appended.
  uint32_t user_count = 0;        // I/O that uses the file.
  bool is_dirty = false;          // Written since the last sync.
  bool is_listed = false;         // Its name outlives a power cut.
  uint32_t finding_count = 0;
  bool is_quarantined = false;
  uint64_t waste_bytes = 0;  // Of its tail, as counted in the books.
  std::unique_ptr<File> file;

  uint64_t tail_bytes() const {
    return header.segment_bytes - append_offset - reserved_bytes;
  }
  uint64_t dead_bytes() const {
    return append_offset - kSegmentHeaderBytes - live_bytes;
  }
  bool is_idle() const { return reserved_bytes == 0 && writing.empty(); }
};

class SegmentBooks {
 public:
  struct Options {
    uint32_t directory_count = 1;
    uint64_t capacity_bytes = 0;  // Of all directories, shared out evenly.
    uint64_t segment_bytes = 0;
  };
  enum class Purpose { kNew, kCarry };

  // Requires: capacity of a directory holds a segment header and two pages.
  explicit SegmentBooks(const Options& options);

  // Largest record that can ever be placed.
  uint64_t record_bytes_max() const;

  // Room for a record in an open segment, or nullptr. kNew also needs
  // that many free bytes, and counts as staged until appended or given back.
  Segment* Reserve(uint64_t bytes, Purpose purpose, const Segment* not_this);
  // Room in this segment, whatever its state. Requires: it has that much.
  void Promise(Segment& segment, uint64_t bytes, Purpose purpose);
  void GiveBack(Segment& segment, uint64_t bytes, Purpose purpose);

  // Where and how large a new segment for such a record may be. `victim` is
  // the segment that will be given up for it, when carrying.
  struct Growth {
    uint32_t directory = 0;
    uint64_t segment_bytes = 0;
  };
  std::optional<Growth> CanGrow(uint64_t record_bytes, Purpose purpose,
                                const Segment* victim) const;

  // Takes over a new segment, open and empty. Open segments of its directory
  // that have promised nothing are sealed: their room was too small.
  Segment& Add(const Growth& growth, const SegmentHeader& header,
               std::unique_ptr<File> file);
  // The same for one found at start; it is sealed.
  Segment& AddFound(uint32_t directory, const SegmentHeader& header,
                    std::unique_ptr<File> file);
  // Its records are known to reach to `end_offset`.
  void ExtendFound(Segment& segment, uint64_t end_offset);
  // Lets the found segment with most room of each directory take records.
  void ReopenRoomiest();

  // Appends into promised room; until Landed the record is being written and
  // stays staged (kNew).
  uint64_t Append(Segment& segment, uint64_t bytes, const BlockId& id);
  enum class Outcome { kStored, kDropped };
  void Landed(Segment& segment, uint64_t offset, uint64_t bytes,
              Purpose purpose, Outcome outcome, uint64_t payload_bytes);

  // A stored record is found at start, forgotten, or carried elsewhere.
  void CountLive(Segment& segment, uint64_t bytes, uint64_t payload_bytes);
  void CountDead(Segment& segment, uint64_t bytes, uint64_t payload_bytes);
  // Erased records that are pinned still count as used.
  void AddLimbo(uint64_t bytes, uint64_t payload_bytes);
  void RemoveLimbo(uint64_t bytes, uint64_t payload_bytes);

  // No new records; sealed once nothing is promised in it.
  void Seal(Segment& segment);
  // Stops using the segment. Kept until Drop.
  void Retire(Segment& segment);
  // Requires: retired, and user_count is 0.
  void Drop(Segment& segment);

  // The idle segment with most dead bytes, if any has some.
  Segment* DeadestSegment();
  // The idle segment that is most worth giving up: bytes gained for bytes read
  // and written again, times age. Age sees to it that no segment stays for ever
  // on account of a few hot blocks.
  Segment* ColdestSegment();

  Segment* at(uint32_t slot) const { return segments_[slot].get(); }
  // By slot; nullptr where there is none.
  const std::vector<std::unique_ptr<Segment>>& segments() const {
    return segments_;
  }
  uint64_t free_bytes() const { return usage().free_bytes; }
  uint64_t disk_bytes() const;
  bool IsOverfull(uint32_t directory) const {
    return disk_bytes_[directory] > directory_bytes_;
  }
  // True if what is live fits, with the segment more that reclaim may use.
  bool FitsWithSpare(uint32_t directory) const {
    return disk_bytes_[directory] <= directory_bytes_ + segment_bytes_ &&
           live_bytes_ + fixed_waste_bytes_ <= capacity_bytes_;
  }
  // `blocks` and `pinned_bytes` are not known here.
  TierUsage usage() const;

 private:
  Segment& Insert(uint32_t directory, const SegmentHeader& header,
                  std::unique_ptr<File> file);
  void SealIfIdle(Segment& segment);
  // A tail is waste where the segment is sealed and cannot simply be removed.
  void CountTail(Segment& segment);

  const uint64_t capacity_bytes_;
  const uint64_t directory_bytes_;
  const uint64_t segment_bytes_;
  const uint64_t fixed_waste_bytes_;
  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<uint32_t> open_;        // Slots.
  std::vector<uint64_t> disk_bytes_;  // By directory.
  uint64_t live_bytes_ = 0;
  uint64_t limbo_bytes_ = 0;
  uint64_t staged_bytes_ = 0;
  uint64_t tail_bytes_ = 0;  // That are waste.
  uint64_t quarantined_bytes_ = 0;
  uint64_t payload_bytes_ = 0;
};

}  // namespace banyan::tiers
