// Starting: claim the directories, read the catalogue, look behind the last row
// of every segment; without a catalogue, read all record headers. Here is all
// but the looking: ssd_tier_scan.cc.
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
#include "tiers/ssd/ssd_open_run.h"
#include "tiers/ssd/ssd_tier_parts.h"

namespace banyan::tiers {
namespace {

constexpr absl::string_view kFormatRow = "m";
constexpr uint32_t kDirectoriesMax = 64;
constexpr uint32_t kQueueDepthMax = 4096;
constexpr size_t kNodeIdBytesMax = 256;
// Rows of the catalogue are read by so many, each a range of the ids, and taken
// into the books so many at a time.
constexpr unsigned kRowThreadsMax = 4;
constexpr size_t kRowsAtOnce = 1024;
// Rows whose place in the map is fetched ahead.
constexpr size_t kPrefetched = 8;

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

absl::Status SsdTier::OpenRun::Run() {
  BANYAN_RETURN_IF_ERROR(OpenCatalogue());
  BANYAN_RETURN_IF_ERROR(FindSegments());
  BANYAN_RETURN_IF_ERROR(StartBoot());
  BANYAN_RETURN_IF_ERROR(ReadRows());
  BANYAN_RETURN_IF_ERROR(ScanSegments());
  BANYAN_RETURN_IF_ERROR(MakeFit());
  BANYAN_RETURN_IF_ERROR(WriteRows());
  if (report().is_rebuilt) BANYAN_RETURN_IF_ERROR(FlushRows());
  if (is_new_ && !has_waiting_rows_) BANYAN_RETURN_IF_ERROR(WriteFormat());
  tier_.catalogue_->StartCompaction();
  Report();
  return HitFailpoint(Failpoint::kSsdOpenAfterRecovery);
}

std::string SsdTier::OpenRun::catalogue_path() const {
  return tier_.directories_[0]->path() + "/catalogue";
}

Catalogue::Options SsdTier::OpenRun::CatalogueOptions() const {
  return {.directory = catalogue_path(),
          .file_system = tier_.options_.catalogue_file_system};
}

absl::Status SsdTier::OpenRun::OpenCatalogue() {
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
absl::Status SsdTier::OpenRun::WriteFormat() {
  Catalogue::Batch batch;
  batch.Put(std::string(kFormatRow), absl::StrCat(kSsdFormat));
  return tier_.catalogue_->Write(batch, Catalogue::Log::kSynced);
}

// Sets a damaged catalogue aside and begins a new one.
absl::Status SsdTier::OpenRun::ReplaceCatalogue(const absl::Status& why) {
  tier_.catalogue_.reset();
  Rebuild(std::string(why.message()));
  const std::string aside = catalogue_path() + ".damaged";
  BANYAN_RETURN_IF_ERROR(tier_.file_system_.RemoveTree(aside));
  const absl::Status moved = tier_.file_system_.Rename(catalogue_path(), aside);
  if (!moved.ok() && !absl::IsNotFound(moved)) return moved;
  BANYAN_ASSIGN_OR_RETURN(tier_.catalogue_,
                          Catalogue::Open(CatalogueOptions()));
  is_new_ = true;
  return absl::OkStatus();
}

void SsdTier::OpenRun::Rebuild(std::string reason) {
  if (report().is_rebuilt) return;
  report().is_rebuilt = true;
  report().rebuild_reason = std::move(reason);
}

absl::Status SsdTier::OpenRun::FindSegments() {
  for (uint32_t i = 0; i < tier_.directories_.size(); ++i) {
    const SsdDirectory& directory = *tier_.directories_[i];
    BANYAN_ASSIGN_OR_RETURN(const std::vector<std::string> names,
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

absl::Status SsdTier::OpenRun::FindSegment(uint32_t directory, uint64_t id) {
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
absl::Status SsdTier::OpenRun::StartBoot() {
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

absl::Status SsdTier::OpenRun::ReadRows() {
  if (report().is_rebuilt) return absl::OkStatus();
  absl::Status status = ReadSegmentRows();
  if (status.ok()) status = ReadBlockRows();
  if (status.ok()) return status;
  if (!absl::IsDataLoss(status) && !absl::IsUnavailable(status)) {
    return status;
  }
  return ReplaceCatalogue(status);
}

absl::Status SsdTier::OpenRun::ReadSegmentRows() {
  return tier_.catalogue_->ForEach(
      "s", [&](absl::string_view key, absl::string_view value) -> absl::Status {
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

// Ids are hashes, so ranges of them are equal parts.
absl::Status SsdTier::OpenRun::ReadBlockRows() {
  {
    const MutexLock lock(tier_.mutex_);
    // Only a guess, and no more than can be there.
    tier_.places_.reserve(
        std::min(tier_.catalogue_->EstimateRows(),
                 tier_.options_.capacity_bytes / (2 * kIoAlignment)));
  }
  const unsigned count =
      std::clamp(std::thread::hardware_concurrency(), 1u, kRowThreadsMax);
  std::vector<std::string> bounds = {"b"};
  for (unsigned i = 1; i < count; ++i) {
    bounds.push_back({'b', static_cast<char>(256 * i / count)});
  }
  bounds.push_back("c");
  std::vector<absl::Status> statuses(count);
  std::vector<std::thread> threads;
  const auto read = [&](unsigned i) {
    statuses[i] = ReadSomeBlockRows(bounds[i], bounds[i + 1]);
  };
  for (unsigned i = 1; i < count; ++i) threads.emplace_back(read, i);
  read(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) BANYAN_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status SsdTier::OpenRun::ReadSomeBlockRows(absl::string_view begin,
                                                 absl::string_view end) {
  RowBatch batch;
  const absl::Status status = tier_.catalogue_->ForEachIn(
      begin, end,
      [&](absl::string_view key, absl::string_view value) -> absl::Status {
        BANYAN_ASSIGN_OR_RETURN(const BlockId id, ParseBlockRowKey(key));
        BANYAN_ASSIGN_OR_RETURN(const BlockRowView row,
                                ViewBlockRow(key, value));
        AddRow(id, row, key, batch);
        if (batch.rows.size() + batch.refused_keys.size() == kRowsAtOnce) {
          TakeRows(batch);
        }
        return absl::OkStatus();
      });
  TakeRows(batch);
  return status;
}

void SsdTier::OpenRun::AddRow(const BlockId& id, const BlockRowView& row,
                              absl::string_view key, RowBatch& batch) {
  const auto found = segments_.find(row.segment_id);
  if (found == segments_.end() ||
      found->second->header.name.generation != row.segment_generation ||
      row.offset < kSegmentHeaderBytes ||
      row.offset + row.record_bytes > found->second->header.segment_bytes) {
    batch.refused_keys.emplace_back(key);
    return;
  }
  Segment& segment = *found->second;
  Place place =
      MakePlace(segment.slot, row.offset, row.payload_bytes, row.record_bytes);
  place.heat = row.heat;
  batch.annotations.append(row.annotation.data(), row.annotation.size());
  batch.rows.push_back(
      {.id = id,
       .segment = &segment,
       .place = place,
       .annotation_end = static_cast<uint32_t>(batch.annotations.size())});
}

// Into the books and to the sink; then the batch is empty.
void SsdTier::OpenRun::TakeRows(RowBatch& batch) {
  {
    const MutexLock lock(tier_.mutex_);
    report().catalogue_rows += batch.rows.size() + batch.refused_keys.size();
    report().rows_refused += batch.refused_keys.size();
    for (std::string& key : batch.refused_keys) {
      tier_.AddEdit({.is_put = false, .key = std::move(key)});
    }
    for (size_t i = 0; i < batch.rows.size(); ++i) {
      if (i + kPrefetched < batch.rows.size()) {
        tier_.places_.prefetch(batch.rows[i + kPrefetched].id);
      }
      const RowBatch::Row& row = batch.rows[i];
      tier_.books_.ExtendFound(*row.segment,
                               row.place.offset() + row.place.bytes());
      AddPlace(row.id, *row.segment, row.place);
    }
  }
  if (tier_.options_.found_sink != nullptr) {
    std::vector<FoundBlock> found;
    found.reserve(batch.rows.size());
    size_t begin = 0;
    for (const RowBatch::Row& row : batch.rows) {
      found.push_back(
          {.id = row.id,
           .annotation = absl::string_view(batch.annotations)
                             .substr(begin, row.annotation_end - begin)});
      begin = row.annotation_end;
    }
    tier_.options_.found_sink->OnFound(found);
  }
  batch.rows.clear();
  batch.annotations.clear();
  batch.refused_keys.clear();
}

void SsdTier::OpenRun::AddPlace(const BlockId& id, Segment& segment,
                                const Place& place)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(tier_.mutex_) {
  segment.ids.push_back(id);
  tier_.places_[id] = place;
  tier_.books_.CountLive(segment, place.bytes(), place.payload_bytes());
  if (place.heat > 0) segment.hot_bytes += place.bytes();
}

// A crash while reclaiming leaves a segment more than there is room for: the
// reclaim is finished. Only a smaller capacity than before costs blocks.
absl::Status SsdTier::OpenRun::MakeFit() {
  {
    const MutexLock lock(tier_.mutex_);
    tier_.books_.ReopenRoomiest();
  }
  for (uint32_t i = 0; i < tier_.directories_.size(); ++i) {
    BANYAN_RETURN_IF_ERROR(MakeFit(i));
  }
  return absl::OkStatus();
}

absl::Status SsdTier::OpenRun::MakeFit(uint32_t directory) {
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

Segment* SsdTier::OpenRun::EmptiestSegment(uint32_t directory)
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
absl::Status SsdTier::OpenRun::WriteRows() {
  const absl::Status status = tier_.Sync();
  has_waiting_rows_ = absl::IsResourceExhausted(status);
  return has_waiting_rows_ ? absl::OkStatus() : status;
}

// Rows of a rebuild are written without a log; this puts them on disk.
absl::Status SsdTier::OpenRun::FlushRows() {
  const absl::Status status = tier_.catalogue_->Flush();
  if (!absl::IsResourceExhausted(status)) return status;
  has_waiting_rows_ = true;
  return absl::OkStatus();
}

void SsdTier::OpenRun::Report() {
  const MutexLock lock(tier_.mutex_);
  report().blocks = tier_.places_.size();
  report().segments = segments_.size();
  if (!report().is_rebuilt) return;
  const double scan_s = absl::ToDoubleSeconds(report().scan_time);
  std::fprintf(stderr,
               "banyan: ssd catalogue rebuilt from %zu segments: %zu blocks, "
               "%.1f GB in %.1f s (%s).\n",
               segments_.size(), static_cast<size_t>(report().blocks),
               static_cast<double>(report().scan_covered_bytes) / 1e9, scan_s,
               report().rebuild_reason.c_str());
}

absl::Status SsdTier::Recover(uint64_t boot) {
  OpenRun run(*this, boot);
  return run.Run();
}

}  // namespace banyan::tiers
