// Starting: claim the directories, read the catalogue, look behind the last row
// of every segment; without a catalogue, read all record headers.
#include <algorithm>
#include <cstdio>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tiers/ssd/ssd_tier.h"
#include "tiers/ssd/ssd_tier_parts.h"

namespace banyan::tiers {
namespace {

constexpr absl::string_view kFormatRow = "m";
constexpr uint32_t kDirectoriesMax = 64;
constexpr uint32_t kQueueDepthMax = 4096;
constexpr size_t kNodeIdBytesMax = 256;
constexpr size_t kScanThreads = 4;

absl::Status Wrong(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SSD_OPTIONS",
                   absl::StrCat("ssd: ", what));
}

}  // namespace

absl::Status SsdTier::CheckOptions(const Options& options) {
  const size_t count = options.directories.size();
  if (count == 0 || count > kDirectoriesMax) {
    return Wrong(absl::StrCat("directories: want 1 to ", kDirectoriesMax,
                              " (got ", count, ")."));
  }
  if (options.node_id.empty() || options.node_id.size() > kNodeIdBytesMax) {
    return Wrong("node_id: want 1 to 256 bytes.");
  }
  constexpr uint64_t kLeast = 4 * kIoAlignment;
  if (options.segment_bytes < kLeast) {
    return Wrong(absl::StrCat("segment_bytes: want at least ", kLeast, " (got ",
                              options.segment_bytes, ")."));
  }
  if (options.segment_bytes > kTiB || options.capacity_bytes / count < kLeast ||
      options.capacity_bytes > 1024 * kTiB) {
    return Wrong(absl::StrCat("capacity: out of its domain (got ",
                              options.capacity_bytes, " B)."));
  }
  if (options.queue_depth == 0 || options.queue_depth > kQueueDepthMax) {
    return Wrong("queue_depth: want 1 to 4096.");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SsdTier>> SsdTier::Open(const Options& options) {
  const absl::Time start = absl::Now();
  BANYAN_RETURN_IF_ERROR(CheckOptions(options));
  FileSystem& file_system = options.file_system == nullptr
                                ? FileSystem::Machine()
                                : *options.file_system;
  std::vector<std::unique_ptr<SsdDirectory>> directories;
  uint64_t boot = 0;
  for (uint32_t i = 0; i < options.directories.size(); ++i) {
    BANYAN_ASSIGN_OR_RETURN(
        std::unique_ptr<SsdDirectory> directory,
        SsdDirectory::Claim(
            file_system, options.directories[i],
            {.node_id = options.node_id,
             .number = i,
             .count = static_cast<uint32_t>(options.directories.size())}));
    boot = std::max(boot, directory->boot());
    directories.push_back(std::move(directory));
  }
  std::unique_ptr<SsdTier> tier(
      new SsdTier(options, std::move(directories),
                  options.make_engine ? options.make_engine()
                                      : MakeBestEngine(options.queue_depth)));
  BANYAN_RETURN_IF_ERROR(tier->Recover(boot));
  tier->open_report_.open_time = absl::Now() - start;
  return tier;
}

// One start; has its state apart from the tier's.
class SsdTier::OpenRun {
 public:
  OpenRun(SsdTier& tier, uint64_t boot) : tier_(tier), boot_(boot) {}

  absl::Status Run() {
    BANYAN_RETURN_IF_ERROR(OpenCatalogue());
    BANYAN_RETURN_IF_ERROR(FindSegments());
    BANYAN_RETURN_IF_ERROR(StartBoot());
    BANYAN_RETURN_IF_ERROR(ReadRows());
    BANYAN_RETURN_IF_ERROR(ScanSegments());
    BANYAN_RETURN_IF_ERROR(MakeFit());
    BANYAN_RETURN_IF_ERROR(WriteRows());
    if (is_new_ && !has_waiting_rows_) BANYAN_RETURN_IF_ERROR(WriteFormat());
    Report();
    return HitFailpoint(Failpoint::kSsdOpenAfterRecovery);
  }

 private:
  struct Scanned {
    Segment* segment = nullptr;
    absl::Status status;
    ScanResult result;
    std::vector<FoundRecord> records;
  };

  SsdOpenReport& report() { return tier_.open_report_; }

  std::string catalogue_path() const {
    return tier_.directories_[0]->path() + "/catalogue";
  }

  Catalogue::Options CatalogueOptions() const {
    return {.directory = catalogue_path(),
            .file_system = tier_.options_.catalogue_file_system};
  }

  absl::Status OpenCatalogue() {
    auto catalogue = Catalogue::Open(CatalogueOptions());
    if (absl::IsResourceExhausted(catalogue.status())) {
      return catalogue.status();
    }
    if (!catalogue.ok()) return ReplaceCatalogue(catalogue.status());
    tier_.catalogue_ = *std::move(catalogue);
    const auto format = tier_.catalogue_->Get(kFormatRow);
    if (format.ok()) return absl::OkStatus();
    if (absl::IsNotFound(format.status())) {
      is_new_ = true;
      return absl::OkStatus();
    }
    return ReplaceCatalogue(format.status());
  }

  // The last row that a new catalogue gets: without it a rebuild that was cut
  // short begins again.
  absl::Status WriteFormat() {
    Catalogue::Batch batch;
    batch.Put(std::string(kFormatRow), absl::StrCat(kSsdFormat));
    return tier_.catalogue_->Write(batch);
  }

  // Sets a damaged catalogue aside and begins a new one.
  absl::Status ReplaceCatalogue(const absl::Status& why) {
    tier_.catalogue_.reset();
    Rebuild(std::string(why.message()));
    const std::string aside = catalogue_path() + ".damaged";
    BANYAN_RETURN_IF_ERROR(tier_.file_system_.RemoveTree(aside));
    const absl::Status moved =
        tier_.file_system_.Rename(catalogue_path(), aside);
    if (!moved.ok() && !absl::IsNotFound(moved)) return moved;
    BANYAN_ASSIGN_OR_RETURN(tier_.catalogue_,
                            Catalogue::Open(CatalogueOptions()));
    is_new_ = true;
    return absl::OkStatus();
  }

  void Rebuild(std::string reason) {
    if (report().is_rebuilt) return;
    report().is_rebuilt = true;
    report().rebuild_reason = std::move(reason);
  }

  absl::Status FindSegments() {
    for (uint32_t i = 0; i < tier_.directories_.size(); ++i) {
      const SsdDirectory& directory = *tier_.directories_[i];
      BANYAN_ASSIGN_OR_RETURN(
          const std::vector<std::string> names,
          tier_.file_system_.List(directory.segments_path()));
      for (const std::string& name : names) {
        uint64_t id = 0;
        if (ParseSegmentFileName(name, id)) {
          BANYAN_RETURN_IF_ERROR(FindSegment(i, id));
        }
      }
    }
    if (is_new_ && !segments_.empty()) Rebuild("there is no catalogue");
    return absl::OkStatus();
  }

  absl::Status FindSegment(uint32_t directory, uint64_t id) {
    const std::string path = tier_.directories_[directory]->SegmentPath(id);
    next_segment_id_ = std::max(next_segment_id_, id + 1);
    auto file = tier_.file_system_.Open(path, OpenMode::kReadWrite);
    absl::Status status = file.status();
    SegmentHeader header;
    if (status.ok()) {
      auto found = ReadSegmentHeader(**file, tier_.node_, id);
      if (found.ok()) header = *found;
      status = found.status();
      if (status.ok() &&
          (header.name.id != id || !(header.name.node == tier_.node_))) {
        status = MakeError(absl::StatusCode::kDataLoss, "HEADER",
                           "ssd: segment of another node or place");
      }
    }
    if (!status.ok()) {
      // A crash leaves segments that were never written; nothing durable is in
      // those. A damaged one keeps its file, for a person to look at.
      ++report().segments_unreadable;
      tier_.health_.Note(DiskHealth::Op::kOpen, status);
      return tier_.file_system_.Rename(path, path + ".unreadable");
    }
    boot_ = std::max(boot_, header.name.generation >> kGenerationBootShift);
    const MutexLock lock(tier_.mutex_);
    segments_[id] = &tier_.books_.AddFound(directory, header, *std::move(file));
    return absl::OkStatus();
  }

  // Generations of this start are above all that were ever given.
  absl::Status StartBoot() {
    ++boot_;
    if (boot_ >= kBootsMax) return Wrong("boot number is used up.");
    for (const auto& directory : tier_.directories_) {
      BANYAN_RETURN_IF_ERROR(directory->SetBoot(boot_));
    }
    tier_.boot_bits_ = boot_ << kGenerationBootShift;
    const MutexLock lock(tier_.mutex_);
    tier_.next_segment_id_ = next_segment_id_;
    return HitFailpoint(Failpoint::kSsdOpenAfterLabel);
  }

  absl::Status ReadRows() {
    if (report().is_rebuilt) return absl::OkStatus();
    absl::Status status = ReadSegmentRows();
    if (status.ok()) status = ReadBlockRows();
    if (status.ok()) return status;
    if (!absl::IsDataLoss(status) && !absl::IsUnavailable(status)) {
      return status;
    }
    return ReplaceCatalogue(status);
  }

  absl::Status ReadSegmentRows() {
    return tier_.catalogue_->ForEach(
        "s",
        [&](absl::string_view key, absl::string_view value) -> absl::Status {
          BANYAN_ASSIGN_OR_RETURN(const uint64_t id, ParseSegmentRowKey(key));
          BANYAN_ASSIGN_OR_RETURN(const SegmentRow row,
                                  ParseSegmentRow(key, value));
          const auto found = segments_.find(id);
          const MutexLock lock(tier_.mutex_);
          if (found == segments_.end() ||
              found->second->header.name.generation != row.generation ||
              row.append_offset > found->second->header.segment_bytes) {
            tier_.AddEdit({.is_put = false, .key = std::string(key)});
          } else {
            tier_.books_.ExtendFound(*found->second, row.append_offset);
            has_row_.insert(id);
          }
          return absl::OkStatus();
        });
  }

  absl::Status ReadBlockRows() {
    return tier_.catalogue_->ForEach(
        "b",
        [&](absl::string_view key, absl::string_view value) -> absl::Status {
          BANYAN_ASSIGN_OR_RETURN(const BlockId id, ParseBlockRowKey(key));
          BANYAN_ASSIGN_OR_RETURN(const BlockRow row,
                                  ParseBlockRow(key, value));
          ++report().catalogue_rows;
          const auto found = segments_.find(row.segment_id);
          const MutexLock lock(tier_.mutex_);
          if (found == segments_.end() ||
              found->second->header.name.generation != row.segment_generation ||
              row.offset < kSegmentHeaderBytes ||
              row.offset + row.record_bytes >
                  found->second->header.segment_bytes) {
            ++report().rows_refused;
            tier_.AddEdit({.is_put = false, .key = std::string(key)});
            return absl::OkStatus();
          }
          Segment& segment = *found->second;
          tier_.books_.ExtendFound(segment, row.offset + row.record_bytes);
          Place place = MakePlace(segment.slot, row.offset,
                                  row.facts.payload_bytes, row.record_bytes);
          place.heat = row.heat;
          AddPlace(id, segment, place);
          return absl::OkStatus();
        });
  }

  void AddPlace(const BlockId& id, Segment& segment, const Place& place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(tier_.mutex_) {
    segment.ids.push_back(id);
    tier_.places_[id] = place;
    tier_.books_.CountLive(segment, place.bytes(), place.payload_bytes());
    if (place.heat > 0) segment.hot_bytes += place.bytes();
  }

  // After a crash: what lies behind the rows. After a loss: everything.
  absl::Status ScanSegments() {
    const absl::Time start = absl::Now();
    std::vector<Scanned> all;
    for (const auto& [id, segment] : segments_) {
      all.push_back({.segment = segment});
    }
    if (report().is_rebuilt) ForgetRows();
    absl::Span<Scanned> left = absl::MakeSpan(all);
    while (!left.empty()) {
      const size_t count = std::min(kScanThreads, left.size());
      BANYAN_RETURN_IF_ERROR(ScanSome(left.first(count)));
      left.remove_prefix(count);
    }
    report().scan_time = absl::Now() - start;
    return absl::OkStatus();
  }

  // Scans these at once, then takes over what they hold.
  absl::Status ScanSome(absl::Span<Scanned> segments) {
    std::vector<std::thread> threads;
    for (Scanned& scanned : segments) {
      threads.emplace_back([this, &scanned] { Scan(scanned); });
    }
    for (std::thread& thread : threads) thread.join();
    size_t row_count = 0;
    for (Scanned& scanned : segments) {
      BANYAN_RETURN_IF_ERROR(scanned.status);
      row_count += scanned.records.size();
      BANYAN_RETURN_IF_ERROR(TakeOver(scanned));
    }
    return row_count > 0 ? WriteRows() : absl::OkStatus();
  }

  // Rows that were read before the catalogue turned out to be damaged.
  void ForgetRows() {
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

  void Scan(Scanned& scanned) {
    Segment& segment = *scanned.segment;
    const bool is_whole = !has_row_.contains(segment.header.name.id);
    const uint64_t from =
        is_whole ? kSegmentHeaderBytes : segment.append_offset;
    if (from >= segment.header.segment_bytes) {
      scanned.result.end_offset = from;
      return;
    }
    auto result =
        ScanSegment(*segment.file, segment.header, from,
                    report().is_rebuilt ? BadHeader::kSkips : BadHeader::kEnds,
                    [&](FoundRecord record) {
                      scanned.records.push_back(std::move(record));
                    });
    scanned.status = result.status();
    if (result.ok()) scanned.result = *result;
    if (scanned.status.ok()) return;
    // Rows of this segment stand; what lies behind them cannot be told.
    tier_.health_.Note(DiskHealth::Op::kOpen, scanned.status);
    scanned.status = absl::OkStatus();
    scanned.result.end_offset = segment.header.segment_bytes;
  }

  absl::Status TakeOver(Scanned& scanned) {
    Segment& segment = *scanned.segment;
    report().scan_read_bytes += scanned.result.read_bytes;
    report().scan_covered_bytes += scanned.result.end_offset;
    {
      const MutexLock lock(tier_.mutex_);
      tier_.books_.ExtendFound(segment, scanned.result.end_offset);
      // Synced before its rows are written.
      segment.is_dirty = !scanned.records.empty();
    }
    for (FoundRecord& record : scanned.records) {
      // A crash may have lost the payload of what was never promised.
      if (!report().is_rebuilt && !IsWhole(segment, record)) continue;
      BANYAN_RETURN_IF_ERROR(TakeRecord(segment, record));
    }
    scanned.records.clear();
    return absl::OkStatus();
  }

  bool IsWhole(Segment& segment, const FoundRecord& record) {
    auto buffer = tier_.read_pool_.Take(record.bytes);
    if (!buffer.ok()) return false;
    const auto bytes = buffer->bytes().first(record.bytes);
    if (!segment.file->ReadAt(record.offset, bytes).ok()) return false;
    ReadRecord read;
    read.place = MakePlace(segment.slot, record.offset,
                           record.header.block.payload_bytes, record.bytes);
    read.header = record.header;
    read.buffer = *std::move(buffer);
    return VerifyPayload(read).ok();
  }

  absl::Status TakeRecord(Segment& segment, FoundRecord& record) {
    const BlockId id = record.header.id;
    const uint64_t generation = record.header.block.generation;
    BANYAN_ASSIGN_OR_RETURN(const uint64_t known, GenerationOf(id));
    if (known >= generation) return absl::OkStatus();
    Append append;
    append.segment = &segment;
    append.header = std::move(record.header);
    append.offset = record.offset;
    append.bytes = record.bytes;
    append.header_checksum = record.header_checksum;
    const Place place = tier_.PlaceOf(append);
    const MutexLock lock(tier_.mutex_);
    if (known > 0) {
      const Place old = tier_.places_.at(id);
      tier_.books_.CountDead(*tier_.books_.at(old.slot), old.bytes(),
                             old.payload_bytes());
    }
    AddPlace(id, segment, place);
    generations_[id] = generation;
    ++report().records_recovered;
    tier_.AddEdit(
        {.is_put = true, .key = BlockRowKey(id), .value = tier_.RowOf(append)});
    return absl::OkStatus();
  }

  // Of the block as it is known by now; 0 if it is not.
  absl::StatusOr<uint64_t> GenerationOf(const BlockId& id) {
    {
      const MutexLock lock(tier_.mutex_);
      if (!tier_.places_.contains(id)) return 0;
    }
    const auto scanned = generations_.find(id);
    if (scanned != generations_.end()) return scanned->second;
    const std::string key = BlockRowKey(id);
    BANYAN_ASSIGN_OR_RETURN(const std::string value,
                            tier_.catalogue_->Get(key));
    BANYAN_ASSIGN_OR_RETURN(const BlockRow row, ParseBlockRow(key, value));
    return row.facts.generation;
  }

  // A crash while reclaiming leaves a segment more than there is room for: the
  // reclaim is finished. Only a smaller capacity than before costs blocks.
  absl::Status MakeFit() {
    {
      const MutexLock lock(tier_.mutex_);
      tier_.books_.ReopenRoomiest();
    }
    for (uint32_t i = 0; i < tier_.directories_.size(); ++i) {
      BANYAN_RETURN_IF_ERROR(MakeFit(i));
    }
    return absl::OkStatus();
  }

  absl::Status MakeFit(uint32_t directory) {
    while (true) {
      Segment* victim = nullptr;
      std::vector<LiveRecord> records;
      {
        const MutexLock lock(tier_.mutex_);
        if (!tier_.books_.IsOverfull(directory)) return absl::OkStatus();
        victim = EmptiestSegment(directory);
        if (victim == nullptr) return absl::OkStatus();
        tier_.books_.Seal(*victim);
        records = tier_.LiveRecords(*victim);
      }
      absl::Status status = tier_.Carry(*victim, records);
      if (absl::IsResourceExhausted(status)) {
        {
          const MutexLock lock(tier_.mutex_);
          if (tier_.books_.FitsWithSpare(directory)) return absl::OkStatus();
          records = tier_.LiveRecords(*victim);
        }
        tier_.DropAll(records);
        status = absl::OkStatus();
      }
      BANYAN_RETURN_IF_ERROR(status);
      BANYAN_RETURN_IF_ERROR(tier_.Sync());
      BANYAN_RETURN_IF_ERROR(tier_.RemoveSegment(*victim));
    }
  }

  Segment* EmptiestSegment(uint32_t directory)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(tier_.mutex_) {
    Segment* best = nullptr;
    for (const auto& segment : tier_.books_.segments()) {
      if (segment == nullptr || segment->directory != directory ||
          segment->state == Segment::State::kRetired) {
        continue;
      }
      if (best == nullptr || segment->live_bytes < best->live_bytes) {
        best = segment.get();
      }
    }
    return best;
  }

  // Without space for rows, reads are served and the rows wait.
  absl::Status WriteRows() {
    const absl::Status status = tier_.Sync();
    has_waiting_rows_ = absl::IsResourceExhausted(status);
    return has_waiting_rows_ ? absl::OkStatus() : status;
  }

  void Report() {
    const MutexLock lock(tier_.mutex_);
    report().blocks = tier_.places_.size();
    report().segments = segments_.size();
    if (!report().is_rebuilt) return;
    std::fprintf(stderr,
                 "banyan: ssd catalogue rebuilt from %zu segments: %zu blocks "
                 "(%s).\n",
                 segments_.size(), static_cast<size_t>(report().blocks),
                 report().rebuild_reason.c_str());
  }

  SsdTier& tier_;
  uint64_t boot_;
  uint64_t next_segment_id_ = 1;
  bool is_new_ = false;  // The catalogue; has no format row yet.
  bool has_waiting_rows_ = false;
  std::map<uint64_t, Segment*> segments_;               // By id.
  absl::flat_hash_set<uint64_t> has_row_;               // Ids of segments.
  absl::flat_hash_map<BlockId, uint64_t> generations_;  // Of scanned records.
};

absl::Status SsdTier::Recover(uint64_t boot) {
  OpenRun run(*this, boot);
  return run.Run();
}

}  // namespace banyan::tiers
