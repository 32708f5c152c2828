// Starting, second part: looking for records in the segments. After a crash those
// behind a segment's last row; without a catalogue all of them.
//
// Segments are scanned by several threads; one takes over what they found and
// writes its rows, while they go on.
#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tiers/io/buffer_pool.h"
#include "tiers/ssd/ssd_open_run.h"
#include "tiers/ssd/ssd_tier_parts.h"

namespace banyan::tiers {
namespace {

constexpr size_t kScanThreads = 4;
// Scanned segments that wait to be taken over: what they hold is in memory.
constexpr size_t kScannedMax = 4;
constexpr uint64_t kWholeBytes = 64 * kMiB;

}  // namespace

// Segments to scan, and what was found in them.
class SsdTier::OpenRun::ScanQueue {
 public:
  explicit ScanQueue(const std::map<uint64_t, Segment*>& segments) {
    for (const auto& [id, segment] : segments) to_scan_.push_back(segment);
    left_count_ = to_scan_.size();
  }

  // The next to scan, or nullptr when there is none, or no use.
  Segment* NextToScan() {
    const MutexLock lock(mutex_);
    while (scanned_.size() >= kScannedMax && !is_stopped_) {
      changed_.Wait(mutex_);
    }
    if (to_scan_.empty() || is_stopped_) return nullptr;
    Segment* const segment = to_scan_.front();
    to_scan_.pop_front();
    return segment;
  }

  void Put(Scanned scanned) {
    const MutexLock lock(mutex_);
    scanned_.push_back(std::move(scanned));
    changed_.NotifyAll();
  }

  // Waits for one; nullopt after the last.
  std::optional<Scanned> Take() {
    const MutexLock lock(mutex_);
    if (left_count_ == 0) return std::nullopt;
    while (scanned_.empty()) changed_.Wait(mutex_);
    --left_count_;
    Scanned scanned = std::move(scanned_.front());
    scanned_.pop_front();
    changed_.NotifyAll();
    return scanned;
  }

  // Nothing more is scanned, nor taken.
  void Stop() {
    const MutexLock lock(mutex_);
    is_stopped_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::deque<Segment*> to_scan_ ABSL_GUARDED_BY(mutex_);
  std::deque<Scanned> scanned_ ABSL_GUARDED_BY(mutex_);
  size_t left_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status SsdTier::OpenRun::ScanSegments() {
  const absl::Time start = absl::Now();
  if (report().is_rebuilt) ForgetRows();
  ScanQueue queue(segments_);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kScanThreads, segments_.size()); ++i) {
    threads.emplace_back([this, &queue] {
      while (Segment* const segment = queue.NextToScan()) {
        queue.Put(Scan(*segment));
      }
    });
  }
  absl::Status status;
  while (status.ok()) {
    std::optional<Scanned> scanned = queue.Take();
    if (!scanned.has_value()) break;
    status = TakeOver(*std::move(scanned));
  }
  queue.Stop();
  for (std::thread& thread : threads) thread.join();
  report().scan_time = absl::Now() - start;
  return status;
}

// Rows that were read before the catalogue turned out to be damaged.
void SsdTier::OpenRun::ForgetRows() {
  if (tier_.options_.found_sink != nullptr) {
    tier_.options_.found_sink->OnForgotten();
  }
  const MutexLock lock(tier_.mutex_);
  for (const auto& [id, place] : tier_.places_) {
    Segment& segment = *tier_.books_.at(place.slot);
    tier_.books_.CountDead(segment, place.bytes(), place.payload_bytes());
  }
  tier_.places_.clear();
  tier_.edits_.clear();
  tier_.committed_count_ = tier_.edit_count_;
  for (const auto& [id, segment] : segments_) {
    segment->hot_bytes = 0;
    segment->ids.clear();
  }
  has_row_.clear();
}

SsdTier::OpenRun::Scanned SsdTier::OpenRun::Scan(Segment& segment) {
  Scanned scanned = {.segment = &segment};
  const bool is_whole = !has_row_.contains(segment.header.name.id);
  const uint64_t from = is_whole ? kSegmentHeaderBytes : segment.append_offset;
  if (from >= segment.header.segment_bytes) {
    scanned.result.end_offset = from;
    return scanned;
  }
  auto result =
      ScanSegment(*segment.file, segment.header, from,
                  report().is_rebuilt ? BadHeader::kSkips : BadHeader::kEnds,
                  [&](FoundRecord record) {
                    Found made = MakeFound(segment, std::move(record));
                    // A crash may have lost the payload of what was never promised.
                    if (!report().is_rebuilt && !IsWhole(segment, made.place))
                      return;
                    scanned.records.push_back(std::move(made));
                  });
  if (result.ok()) {
    scanned.result = *result;
    return scanned;
  }
  // Rows of this segment stand; what lies behind them cannot be told.
  tier_.health_.Note(DiskHealth::Op::kOpen, result.status());
  scanned.result.end_offset = segment.header.segment_bytes;
  return scanned;
}

SsdTier::OpenRun::Found SsdTier::OpenRun::MakeFound(Segment& segment,
                                                    FoundRecord record) {
  Append append;
  append.segment = &segment;
  append.header = std::move(record.header);
  append.offset = record.offset;
  append.bytes = record.bytes;
  append.header_checksum = record.header_checksum;
  return {.id = append.header.id,
          .generation = append.header.block.generation,
          .place = tier_.PlaceOf(append),
          .row = tier_.RowOf(append),
          .annotation = std::move(append.header.annotation)};
}

absl::Status SsdTier::OpenRun::TakeOver(Scanned scanned) {
  Segment& segment = *scanned.segment;
  report().scan_read_bytes += scanned.result.read_bytes;
  report().scan_covered_bytes += scanned.result.end_offset;
  {
    const MutexLock lock(tier_.mutex_);
    tier_.books_.ExtendFound(segment, scanned.result.end_offset);
    // Synced before its rows are written.
    segment.is_dirty = !scanned.records.empty();
  }
  std::vector<FoundBlock> taken;
  for (Found& record : scanned.records) {
    BANYAN_ASSIGN_OR_RETURN(const bool is_taken, TakeRecord(segment, record));
    if (!is_taken) continue;
    taken.push_back({.id = record.id, .annotation = record.annotation});
  }
  if (taken.empty()) return absl::OkStatus();
  if (tier_.options_.found_sink != nullptr) {
    tier_.options_.found_sink->OnFound(taken);
  }
  return report().is_rebuilt ? WriteRowsLater() : WriteRows();
}

// True if the record that lies there is sound, payload included.
bool SsdTier::OpenRun::IsWhole(const Segment& segment, const Place& place) {
  BufferPool pool(kWholeBytes);
  auto buffer = pool.Take(place.bytes());
  if (!buffer.ok()) return false;
  const auto bytes = buffer->bytes().first(place.bytes());
  if (!segment.file->ReadAt(place.offset(), bytes).ok()) return false;
  auto header = ParseRecordHeader(
      bytes, {.segment = segment.header.name, .offset = place.offset()});
  if (!header.ok()) return false;
  return VerifyPayload({.place = place,
                        .header = *std::move(header),
                        .buffer = *std::move(buffer)})
      .ok();
}

// A power cut while records are carried leaves two of a block. The later one
// counts, unless no more than its header came to be written.
bool SsdTier::OpenRun::Supersedes(const Segment& segment, const Found& record,
                                  uint64_t known) {
  if (known == 0) return true;
  if (record.generation > known) {
    // Without a rebuild it was verified when it was found.
    return !report().is_rebuilt || IsWhole(segment, record.place);
  }
  if (!report().is_rebuilt) return false;
  const Segment* other = nullptr;
  Place place;
  {
    const MutexLock lock(tier_.mutex_);
    place = tier_.places_.at(record.id);
    other = tier_.books_.at(place.slot);
  }
  return !IsWhole(*other, place);
}

// False if the block is known from a better record.
absl::StatusOr<bool> SsdTier::OpenRun::TakeRecord(Segment& segment,
                                                  Found& record) {
  const BlockId id = record.id;
  BANYAN_ASSIGN_OR_RETURN(const uint64_t known, GenerationOf(id));
  if (!Supersedes(segment, record, known)) return false;
  const MutexLock lock(tier_.mutex_);
  if (known > 0) {
    const Place old = tier_.places_.at(id);
    tier_.books_.CountDead(*tier_.books_.at(old.slot), old.bytes(),
                           old.payload_bytes());
  }
  AddPlace(id, segment, record.place);
  generations_[id] = record.generation;
  ++report().records_recovered;
  tier_.AddEdit(
      {.is_put = true, .key = BlockRowKey(id), .value = std::move(record.row)});
  return true;
}

// Of the block as it is known by now; 0 if it is not.
absl::StatusOr<uint64_t> SsdTier::OpenRun::GenerationOf(const BlockId& id) {
  {
    const MutexLock lock(tier_.mutex_);
    if (!tier_.places_.contains(id)) return 0;
  }
  const auto scanned = generations_.find(id);
  if (scanned != generations_.end()) return scanned->second;
  const std::string key = BlockRowKey(id);
  BANYAN_ASSIGN_OR_RETURN(const std::string value, tier_.catalogue_->Get(key));
  BANYAN_ASSIGN_OR_RETURN(const BlockRow row, ParseBlockRow(key, value));
  return row.facts.generation;
}

// Rows in order go into RocksDB's table several times faster. Those of one key
// keep their order.
void SsdTier::OpenRun::SortByKey(std::vector<Edit>& edits) {
  std::vector<std::pair<Edit, size_t>> numbered;
  numbered.reserve(edits.size());
  for (size_t i = 0; i < edits.size(); ++i) {
    numbered.emplace_back(std::move(edits[i]), i);
  }
  std::sort(numbered.begin(), numbered.end(), [](const auto& a, const auto& b) {
    const int order = a.first.key.compare(b.first.key);
    return order != 0 ? order < 0 : a.second < b.second;
  });
  for (size_t i = 0; i < edits.size(); ++i) {
    edits[i] = std::move(numbered[i].first);
  }
}

// The same as Sync, but on disk only after FlushRows: until then a crash finds
// no format row, and a rebuild that begins again. A log of rows that can be read
// again anyway would cost as much as the rest.
absl::Status SsdTier::OpenRun::WriteRowsLater() {
  CommitRun run;
  {
    const MutexLock lock(tier_.mutex_);
    run = tier_.BeginCommit();
  }
  SortByKey(run.edits);
  absl::Status status = tier_.SyncSegments(run);
  if (status.ok()) {
    status = tier_.WriteCatalogue(run, Catalogue::Log::kNone);
  }
  const MutexLock lock(tier_.mutex_);
  status = tier_.EndCommit(std::move(run), std::move(status));
  has_waiting_rows_ = absl::IsResourceExhausted(status);
  return has_waiting_rows_ ? absl::OkStatus() : status;
}

}  // namespace banyan::tiers
