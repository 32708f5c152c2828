// The SsdTier keeps blocks in append-only segment files, written and read past
// the page cache, and a catalogue of them, so that a restart finds everything
// that was paid for. Without its catalogue it finds it in the segments.
//
// Invariant: a block is `durable` only when its record and its catalogue row
//            are on disk, in this order. Bytes read from disk count only after
//            header and checksums were verified, at every read.
// Threads:   thread-safe; calls that touch the disk block. One lock, never
//            held across I/O.
// Lifetime:  destroy all pins and staged blocks first (checked).
// Errors:    as in tiers/tier.h, and
//            kUnavailable, SSD_READ_ONLY  a write or sync failed for good:
//                          nothing is written any more, reads go on
//            kUnavailable, SSD_NOT_ANSWERING  a call to the disk is overdue;
//                          while it is, no other is begun
//            kResourceExhausted, TIER_FULL     erase blocks, retry
//                                BUFFERS_LENT  too much in flight, retry
//                                ENOSPC        the disk is full; heals itself
//            kDeadlineExceeded   the disk did not answer in time; whatever it
//                                still does lands in memory of its own
//            A block that cannot be read is dropped and is kNotFound.
// Cost:      memory for each block: 16 B of its segment's list, in a vector that
//            doubles, and 33 B of the map, which is 7/16 to 7/8 full: 54 to 107 B.
//            A read is one disk read. A start reads the catalogue once, 0.6 us of
//            two cores for each block.
//
// Erase is not durable by itself: a crash before the next commit may bring the
// block back, and so may a rebuild from segments. That is allowed, because a
// block is named by its content and verified at every read; it is no durable
// garbage, because it is found, counted and reclaimed like any other.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "tiers/io/buffer_pool.h"
#include "tiers/io/file.h"
#include "tiers/io/io_engine.h"
#include "tiers/ssd/catalogue.h"
#include "tiers/ssd/catalogue_row.h"
#include "tiers/ssd/directory.h"
#include "tiers/ssd/disk_health.h"
#include "tiers/ssd/segment_books.h"
#include "tiers/ssd/segment_scan.h"
#include "tiers/tier.h"

namespace banyan::tiers {

// Told what the tier dropped by itself: by reclaim, or as unreadable.
// Called without locks; must not call the tier.
class SsdDropSink {
 public:
  virtual ~SsdDropSink() = default;
  virtual void OnDropped(absl::Span<const BlockId> ids) = 0;
};

// A block that Open found, with the annotation it was stored with.
struct FoundBlock {
  BlockId id;
  absl::string_view annotation;  // During the call.
};

// Told by Open what the tier holds, so that nobody has to read it again. Called
// by several threads at once, without locks; must not call the tier. A block
// may be told twice. What does not fit any more is told to the SsdDropSink.
class SsdFoundSink {
 public:
  virtual ~SsdFoundSink() = default;
  virtual void OnFound(absl::Span<const FoundBlock> blocks) = 0;
  // All that was told before is void: the catalogue turned out to be damaged.
  virtual void OnForgotten() = 0;
};

struct SsdCounters {
  uint64_t user_written_bytes = 0;       // Payload of stored blocks.
  uint64_t record_written_bytes = 0;     // Records written for them.
  uint64_t carried_bytes = 0;            // Records written again by reclaim.
  uint64_t header_written_bytes = 0;     // Segment headers.
  uint64_t catalogue_written_bytes = 0;  // Rows given to the catalogue.
  uint64_t read_bytes = 0;               // For pins.
  uint64_t carry_read_bytes = 0;
  uint64_t scrub_read_bytes = 0;
  uint64_t reads = 0;
  uint64_t rereads = 0;  // Second tries after an error or a bad checksum.
  uint64_t commits = 0;
  uint64_t segment_syncs = 0;
  uint64_t segments_created = 0;
  uint64_t segments_reclaimed = 0;
  uint64_t segments_quarantined = 0;
  uint64_t blocks_dropped_cold = 0;
  uint64_t blocks_dropped_unreadable = 0;
  uint64_t corruptions = 0;  // Records whose bytes were found wrong.
  uint64_t abandoned_reads = 0;
  uint64_t queue_depth = 0;  // Requests with the engine now.
  std::map<std::pair<std::string, std::string>, uint64_t> errors;  // op, errno
  DiskHealth::Counters disk;  // `errors` and speed, by op.

  // Bytes to the device for each byte of a user.
  double write_amplification() const;
};

// What Open found and did.
struct SsdOpenReport {
  uint64_t blocks = 0;
  uint64_t catalogue_rows = 0;
  uint64_t rows_refused = 0;       // Damaged, or of a segment that is gone.
  uint64_t records_recovered = 0;  // Found in segments, without a row.
  uint64_t segments = 0;
  uint64_t segments_unreadable = 0;
  bool is_rebuilt = false;  // The catalogue was lost or damaged.
  std::string rebuild_reason;
  uint64_t scan_read_bytes = 0;
  uint64_t scan_covered_bytes = 0;  // Of segments, payloads included.
  absl::Duration scan_time;
  absl::Duration open_time;
};

class SsdTier final : public Tier {
 public:
  enum class Reclaim {
    kKeepAll,   // Never drops: full is kResourceExhausted.
    kDropCold,  // Full drops a segment's cold blocks and tells the sink.
  };
  enum class Durability { kWritten, kDurable };

  struct Options {
    std::vector<std::string> directories;
    // Of all directories together, shared out evenly. While reclaiming, up to
    // segment_bytes more is used in one of them.
    uint64_t capacity_bytes = 0;
    uint64_t segment_bytes = uint64_t{256} << 20;
    std::string node_id;
    uint32_t queue_depth = 8;
    // Memory for writes under way; and for reads and the pins of what was read.
    uint64_t stage_bytes = uint64_t{128} << 20;
    uint64_t read_bytes = uint64_t{256} << 20;
    uint32_t commit_rows = 64;  // Rows that wait before a commit starts itself.
    Reclaim reclaim = Reclaim::kKeepAll;
    double carry_share = 0.1;  // Of a reclaimed segment, at most; kDropCold.
    absl::Duration read_timeout = absl::Seconds(30);  // Of one read.
    // Of one write, sync or other call that changes the disk; and of waiting
    // for another thread's.
    absl::Duration write_timeout = absl::Seconds(5);
    SsdDropSink* drop_sink = nullptr;    // Outlives the tier.
    SsdFoundSink* found_sink = nullptr;  // Used by Open only.
    DiskHealth::Options health;
    // Seams; the defaults are the machine's.
    FileSystem* file_system = nullptr;  // Outlives the tier.
    std::function<std::unique_ptr<IoEngine>()> make_engine;
    std::shared_ptr<rocksdb::FileSystem> catalogue_file_system;
  };

  // Errors: kFailedPrecondition  a directory is in use, or of another node or
  //                              format (DIRECTORY_LOCKED, DIRECTORY_FOREIGN)
  //         kInvalidArgument     options out of their domain
  //         kUnavailable, kResourceExhausted   the disk refuses
  static absl::StatusOr<std::unique_ptr<SsdTier>> Open(const Options& options);

  // Commits what waits for it, if the disk lets it.
  ~SsdTier() override;

  absl::string_view name() const override { return "ssd"; }
  uint64_t block_bytes_max() const override;
  absl::StatusOr<std::unique_ptr<StagedBlock>> Stage(
      uint64_t payload_bytes) override;
  absl::Status Store(const BlockId& id, BlockHeader header,
                     std::unique_ptr<StagedBlock> staged) override;
  absl::StatusOr<std::unique_ptr<BlockPin>> Pin(
      const BlockId& id, const BlockIdentity& identity) override;
  // Reads the header pages from disk.
  absl::StatusOr<BlockHeader> ReadHeader(const BlockId& id) const override;
  void Erase(const BlockId& id) override;
  bool IsPinned(const BlockId& id) const override;

  // used_bytes are whole records as they lie on disk, their header included.
  TierUsage usage() const override;

  struct StoreRequest {
    BlockId id;
    BlockHeader header;
    std::unique_ptr<StagedBlock> staged;
    std::string annotation;  // Of the caller, at most kAnnotationBytesMax.
  };
  // Stores all, written at once; results in the order of requests. With
  // kDurable OK means durable, and an error may leave a block that is stored
  // but not durable.
  std::vector<absl::Status> StoreBatch(std::vector<StoreRequest> requests,
                                       Durability durability);

  // Makes everything stored before the call durable. Calls at the same time
  // share one sync.
  absl::Status Sync();

  struct PinRequest {
    BlockId id;
    BlockIdentity identity;
  };
  // Reads all at once, with as many in flight as the queue depth allows.
  // What is not there when the time is up is kDeadlineExceeded.
  std::vector<absl::StatusOr<std::unique_ptr<BlockPin>>> PinBatch(
      absl::Span<const PinRequest> requests, absl::Duration timeout);

  bool Contains(const BlockId& id) const;

  // Counts a use of each of these blocks that are here, as a read would: for
  // blocks that were served from a copy elsewhere. Reclaim carries over what is
  // used; without this it would drop what is so hot that nobody reads it here.
  // Never touches the disk.
  void Touch(absl::Span<const BlockId> ids);

  // Small durable notes of the caller. They do not survive a lost catalogue.
  absl::Status PutNote(absl::string_view key, absl::string_view note);
  absl::Status ForEachNote(absl::FunctionRef<absl::Status(
                               absl::string_view key, absl::string_view note)>
                               note);

  struct ScrubReport {
    uint64_t records = 0;
    uint64_t bytes = 0;
    uint64_t findings = 0;  // Dropped.
    uint64_t passes = 0;    // Times the end was reached since Open.
  };
  // Reads and verifies the next records, about `budget_bytes` of them, from the
  // device; drops what is damaged. Ends early at the end of a pass. One caller
  // at a time.
  ScrubReport ScrubSome(uint64_t budget_bytes);

  const SsdOpenReport& open_report() const { return open_report_; }
  SsdCounters counters() const;
  const char* engine_name() const { return engine_->name(); }

  // Why nothing is written any more; OK while it is.
  absl::Status read_only() const;
  // Why a write is not worth trying now; OK if it is.
  absl::Status CanWrite() { return health_.CanWrite(); }
  // False while a call to the disk is overdue: reads would only add to that.
  bool Answers() { return health_.Answers(); }
  // What is wrong with the disk, the worst first.
  std::vector<DiskHealth::Problem> problems() { return health_.Problems(); }

 private:
  class Staged;
  class ReadPin;
  class ReadBatch;
  class WriteBatch;
  class OpenRun;
  friend class SsdTierPeer;  // Tests reach records on disk through it.

  // Where a block lies. Pages are of kIoAlignment.
  struct Place {
    uint32_t slot = 0;
    uint32_t page = 0;
    uint32_t pages = 0;
    uint16_t padding = 0;  // Bytes of the last page that are no payload.
    uint8_t header_pages = 0;
    uint8_t heat = 0;

    uint64_t offset() const { return uint64_t{page} * kIoAlignment; }
    uint64_t bytes() const { return uint64_t{pages} * kIoAlignment; }
    uint64_t payload_bytes() const {
      return uint64_t{pages - header_pages} * kIoAlignment - padding;
    }
    bool IsAt(const Place& other) const {
      return slot == other.slot && page == other.page;
    }
  };

  // One pinned block; lives until the last unpin, erased or not.
  struct PinEntry {
    BlockId id;
    uint64_t bytes = 0;
    uint64_t payload_bytes = 0;
    uint32_t count = 0;
    bool is_erased = false;
  };

  // An edit of the catalogue that waits for its commit.
  struct Edit {
    bool is_put = false;
    std::string key;
    std::string value;
  };

  // What one commit writes: edits, after the segments they speak of.
  struct CommitRun {
    std::vector<Edit> edits;
    uint64_t edit_count = 0;
    std::vector<Segment*> dirty;
    std::vector<std::pair<uint64_t, SegmentRow>> segment_rows;
    std::vector<Segment*> unlisted;
  };

  // A block as it was found in the books, its segment counted as used.
  struct Lookup {
    Place place;
    Segment* segment = nullptr;
    SegmentName name;
  };

  // A record that was read, its header verified.
  struct ReadRecord {
    Place place;
    RecordHeader header;
    PooledBuffer buffer;
  };
  enum class ReadFor { kPin, kCarry, kScrub };

  // One record on its way to disk.
  struct Append {
    SegmentBooks::Purpose purpose = SegmentBooks::Purpose::kNew;
    RecordHeader header;
    Segment* segment = nullptr;
    uint64_t reserved_bytes = 0;
    PooledBuffer buffer;       // Header room, then payload.
    PooledBuffer long_header;  // For headers of more than a page.
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint64_t header_bytes = 0;
    Checksum128 header_checksum;
    absl::Status status;
  };

  // A record that a segment holds and that is not erased.
  struct LiveRecord {
    BlockId id;
    Place place;
  };

  SsdTier(const Options& options,
          std::vector<std::unique_ptr<SsdDirectory>> directories,
          std::unique_ptr<IoEngine> engine);

  static Place MakePlace(uint32_t slot, uint64_t offset, uint64_t payload_bytes,
                         uint64_t record_bytes);
  uint64_t NextGeneration();

  // ssd_tier_write.cc
  std::vector<absl::Status> StoreAppends(std::vector<Append>& appends);
  absl::Status BeginAppend(Append& append);
  bool WidenReserve(Append& append) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteAppends(std::vector<Append>& appends);
  void FinishStore(Append& append);
  Place PlaceOf(const Append& append) const;
  std::string RowOf(const Append& append) const;
  void CountWrite(const Append& append) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountWriteError(const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddEdit(Edit edit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(Segment* segment, uint64_t bytes);
  absl::Status Commit(uint64_t ticket);
  CommitRun BeginCommit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RunCommit(const CommitRun& run);
  absl::Status SyncSegments(const CommitRun& run);
  absl::Status WriteCatalogue(const CommitRun& run, Catalogue::Log log);
  absl::Status WriteBatchOfRows(const Catalogue::Batch& batch,
                                Catalogue::Log log);
  absl::Status EndCommit(CommitRun run, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CommitIfMany();
  void GoReadOnly(const absl::Status& cause)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellIfReadOnly();  // Whoever may have made it so, without locks.
  DiskHealth::Call BeginWrite(DiskHealth::Op op, uint64_t bytes = 0) {
    return health_.Begin(op, options_.write_timeout, bytes);
  }

  // ssd_tier_reclaim.cc
  absl::StatusOr<Segment*> ReserveRoom(uint64_t bytes);
  absl::Status MakeRoom(uint64_t bytes);
  absl::Status MakeRoomOnce(uint64_t bytes);
  Segment* PickVictim(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Segment*> ReserveCarry(uint64_t bytes, const Segment& victim);
  absl::Status CreateSegment(const SegmentBooks::Growth& growth);
  absl::Status ReclaimSegment(Segment& victim);
  std::vector<LiveRecord> LiveRecords(const Segment& segment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<LiveRecord> SplitOffCold(const Segment& victim,
                                       std::vector<LiveRecord>& records);
  absl::Status Carry(Segment& victim, absl::Span<const LiveRecord> records);
  absl::Status CarrySome(Segment& victim, absl::Span<const LiveRecord> records);
  absl::StatusOr<Append> ReadForCarry(Segment& victim,
                                      const LiveRecord& record);
  void FinishCarry(Segment& victim, const LiveRecord& from, Append& append);
  void DropAll(absl::Span<const LiveRecord> records);
  absl::Status RemoveSegment(Segment& victim);

  // ssd_tier_read.cc
  bool LookUp(const BlockId& id, ReadFor purpose, Lookup& found);
  void CountUse(Place& place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ReadRecord> ReadOnce(const BlockId& id, ReadFor purpose,
                                      absl::Duration timeout);
  absl::StatusOr<BlockHeader> ReadHeaderNow(const BlockId& id);
  absl::StatusOr<ReadRecord> ReadTwice(const BlockId& id, ReadFor purpose);
  bool RunReads(const std::shared_ptr<ReadBatch>& batch,
                absl::Duration timeout);
  static absl::Status CheckHeader(const BlockId& id, const Lookup& found,
                                  const RecordHeader& header);
  absl::StatusOr<ReadRecord> CheckRecord(const BlockId& id, const Lookup& found,
                                         absl::Status status,
                                         PooledBuffer buffer);
  absl::StatusOr<std::unique_ptr<BlockPin>> FinishPin(
      const PinRequest& request, absl::StatusOr<ReadRecord> record,
      absl::Duration end);
  absl::StatusOr<PinEntry*> AddPin(const BlockId& id);
  void Unpin(PinEntry* entry);
  void ReleaseUser(Segment* segment);
  void DropIfSettled(Segment* segment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropUnreadable(const BlockId& id, const absl::Status& why);
  bool Forget(const BlockId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<LiveRecord> NextToScrub();
  bool ScrubOne(const LiveRecord& record);
  static absl::Status VerifyPayload(const ReadRecord& record);

  // ssd_tier_open.cc
  static absl::Status CheckOptions(const Options& options);
  absl::Status Recover(uint64_t boot);

  const Options options_;
  const Checksum128 node_;
  FileSystem& file_system_;
  const Clock& clock_ = Clock::Monotonic();
  const std::vector<std::unique_ptr<SsdDirectory>> directories_;
  uint64_t boot_bits_ = 0;  // Set once, before anybody else sees the tier.
  SsdOpenReport open_report_;
  DiskHealth health_;
  BufferPool stage_pool_;
  BufferPool read_pool_;
  BufferPool carry_pool_;
  std::unique_ptr<Catalogue> catalogue_;
  std::unique_ptr<IoEngine> engine_;
  std::atomic<uint64_t> generation_count_{0};

  mutable Mutex mutex_;
  SegmentBooks books_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<BlockId, Place> places_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<BlockId> storing_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<BlockId, std::unique_ptr<PinEntry>> pins_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<const PinEntry*, std::unique_ptr<PinEntry>> leaving_
      ABSL_GUARDED_BY(mutex_);
  uint64_t pinned_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t next_segment_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<Edit> edits_ ABSL_GUARDED_BY(mutex_);
  uint64_t edit_count_ ABSL_GUARDED_BY(mutex_) = 0;       // Ever made.
  uint64_t committed_count_ ABSL_GUARDED_BY(mutex_) = 0;  // Of them, on disk.
  bool is_committing_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar committed_;
  bool is_making_room_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar made_room_;
  absl::Status read_only_ ABSL_GUARDED_BY(mutex_);
  uint32_t write_error_count_ ABSL_GUARDED_BY(mutex_) = 0;  // In a row.
  uint64_t scrub_segment_id_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t scrub_page_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t scrub_passes_ ABSL_GUARDED_BY(mutex_) = 0;
  SsdCounters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::tiers
