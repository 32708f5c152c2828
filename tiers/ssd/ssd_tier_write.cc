// Storing: append records, then commit: sync the segments, then write the rows.
#include <algorithm>
#include <cstring>
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

using Purpose = SegmentBooks::Purpose;
using Outcome = SegmentBooks::Outcome;

// Failed writes in a row that make the tier read-only.
constexpr uint32_t kWriteErrorsMax = 3;
// Rows that may wait for a catalogue that has no space.
constexpr size_t kWaitingRowsMax = 64 * 1024;
// Of what the message of a read-only tier says of its cause.
constexpr size_t kCauseBytesMax = 100;

absl::Status TookTooLong() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "WRITE",
                   "ssd: the disk did not take a write in time");
}

}  // namespace

void SsdTier::WriteBatch::Add(Append& append) {
  segments_.push_back(append.segment);
  const bool has_long_header = !append.long_header.bytes().empty();
  if (has_long_header) {
    AddWrite(append.segment, append.offset, append.long_header.bytes().data(),
             append.header_bytes);
    // The page in front of the payload is not used.
    AddWrite(append.segment, append.offset + append.header_bytes,
             append.buffer.bytes().data() + kIoAlignment,
             append.bytes - append.header_bytes);
    buffers_.push_back(std::move(append.long_header));
  } else {
    AddWrite(append.segment, append.offset, append.buffer.bytes().data(),
             append.bytes);
  }
  buffers_.push_back(std::move(append.buffer));
}

std::vector<absl::Status> SsdTier::StoreBatch(
    std::vector<StoreRequest> requests, Durability durability) {
  std::vector<Append> appends(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    auto* const staged = dynamic_cast<Staged*>(requests[i].staged.get());
    BANYAN_CHECK(staged != nullptr && &staged->tier() == this);
    BANYAN_CHECK(requests[i].header.payload_bytes == staged->payload_bytes());
    Append& append = appends[i];
    append.header = {.id = requests[i].id,
                     .annotation = std::move(requests[i].annotation),
                     .block = std::move(requests[i].header)};
    append.reserved_bytes = staged->reserved_bytes();
    append.segment = staged->TakeRoom();
    append.buffer = staged->TakeBuffer();
    // What the buffer held before does not go to disk with the block.
    const absl::Span<std::byte> rest =
        append.buffer.bytes().subspan(kIoAlignment + staged->payload_bytes());
    std::memset(rest.data(), 0, rest.size());
  }
  std::vector<absl::Status> results = StoreAppends(appends);
  if (durability == Durability::kWritten) {
    CommitIfMany();
    return results;
  }
  const absl::Status synced = Sync();
  for (absl::Status& result : results) {
    if (result.ok()) result = synced;
  }
  return results;
}

std::vector<absl::Status> SsdTier::StoreAppends(std::vector<Append>& appends) {
  for (Append& append : appends) {
    append.header.block.generation = NextGeneration();
    append.status = BeginAppend(append);
  }
  WriteAppends(appends);
  std::vector<absl::Status> results;
  for (Append& append : appends) {
    if (append.offset != 0) FinishStore(append);
    results.push_back(std::move(append.status));
  }
  TellIfReadOnly();
  return results;
}

// Gives the record its place; on an error its promised room is given back.
absl::Status SsdTier::BeginAppend(Append& append) {
  const BlockHeader& block = append.header.block;
  append.bytes = RecordBytes(block.payload_bytes, block.piece_count());
  append.header_bytes = RecordHeaderBytes(block.piece_count());
  absl::Status status;
  if (append.header_bytes > kIoAlignment) {
    auto buffer = stage_pool_.Take(append.header_bytes);
    if (buffer.ok()) append.long_header = *std::move(buffer);
    status = buffer.status();
  }
  const MutexLock lock(mutex_);
  if (status.ok()) status = read_only_;
  if (status.ok() && (places_.contains(append.header.id) ||
                      storing_.contains(append.header.id))) {
    status = absl::Status(absl::StatusCode::kAlreadyExists, "");
  }
  if (status.ok() && edits_.size() > kWaitingRowsMax) {
    status = MakeError(absl::StatusCode::kResourceExhausted, "ENOSPC",
                       "ssd: the catalogue has no disk space. Free some.");
  }
  if (status.ok() && !WidenReserve(append)) {
    status = MakeError(absl::StatusCode::kResourceExhausted, "TIER_FULL",
                       "ssd tier: no room for the block's checksums. Evict a "
                       "block and retry.");
  }
  if (!status.ok()) {
    books_.GiveBack(*append.segment, append.reserved_bytes, append.purpose);
    DropIfSettled(append.segment);
    return status;
  }
  storing_.insert(append.header.id);
  append.offset =
      books_.Append(*append.segment, append.bytes, append.header.id);
  ++append.segment->user_count;
  return status;
}

// Stage promised room for a header of one page; more pieces need more.
bool SsdTier::WidenReserve(Append& append) {
  if (append.bytes == append.reserved_bytes) return true;
  const uint64_t more = append.bytes - append.reserved_bytes;
  if (books_.free_bytes() < more) return false;
  if (append.segment->tail_bytes() >= more) {
    books_.Promise(*append.segment, more, append.purpose);
    append.reserved_bytes = append.bytes;
    return true;
  }
  books_.GiveBack(*append.segment, append.reserved_bytes, append.purpose);
  Segment* const other =
      books_.Reserve(append.bytes, append.purpose, append.segment);
  if (other == nullptr) {
    books_.Promise(*append.segment, append.reserved_bytes, append.purpose);
    return false;
  }
  append.segment = other;
  append.reserved_bytes = append.bytes;
  return true;
}

// Writes all that have a place, and sets their status.
void SsdTier::WriteAppends(std::vector<Append>& appends) {
  auto batch = std::make_shared<WriteBatch>(*this);
  std::vector<std::pair<size_t, Append*>> parts;  // First request of each.
  for (Append& append : appends) {
    if (append.offset == 0) continue;
    append.status = HitFailpoint(Failpoint::kSsdBeforeRecordWrite);
    const absl::Span<std::byte> header =
        append.long_header.bytes().empty()
            ? append.buffer.bytes().first(append.header_bytes)
            : append.long_header.bytes().first(append.header_bytes);
    append.header_checksum = WriteRecordHeader(
        append.header,
        {.segment = append.segment->header.name, .offset = append.offset},
        header);
    parts.emplace_back(batch->requests.size(), &append);
    batch->Add(append);
  }
  if (parts.empty()) return;
  const size_t request_count = batch->requests.size();
  uint64_t bytes = 0;
  for (const IoRequest& request : batch->requests) bytes += request.bytes;
  batch->call = BeginWrite(DiskHealth::Op::kWrite, bytes);
  const bool is_done = engine_->Run(batch, options_.write_timeout);
  if (is_done) {
    batch->call.End();
  } else {
    batch->call.GiveUp();
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    Append& append = *parts[i].second;
    if (!is_done) {
      append.status = TookTooLong();
      continue;
    }
    const size_t end =
        i + 1 < parts.size() ? parts[i + 1].first : request_count;
    for (size_t k = parts[i].first; k < end; ++k) {
      if (append.status.ok()) append.status = batch->requests[k].status;
    }
    if (append.status.ok()) {
      append.status = HitFailpoint(Failpoint::kSsdAfterRecordWrite);
    }
    health_.Note(DiskHealth::Op::kWrite, append.status);
  }
}

SsdTier::Place SsdTier::PlaceOf(const Append& append) const {
  return MakePlace(append.segment->slot, append.offset,
                   append.header.block.payload_bytes, append.bytes);
}

std::string SsdTier::RowOf(const Append& append) const {
  const BlockHeader& block = append.header.block;
  BlockRow row;
  row.directory = static_cast<uint16_t>(append.segment->directory);
  row.segment_id = append.segment->header.name.id;
  row.segment_generation = append.segment->header.name.generation;
  row.offset = append.offset;
  row.record_bytes = append.bytes;
  row.header_checksum = append.header_checksum;
  row.facts = {.identity = block.identity,
               .codec = block.codec,
               .generation = block.generation,
               .payload_bytes = block.payload_bytes,
               .piece_bytes = block.piece_bytes};
  row.annotation = append.header.annotation;
  return SerializeBlockRow(append.header.id, row);
}

void SsdTier::CountWrite(const Append& append) {
  if (append.status.ok()) {
    write_error_count_ = 0;
    return;
  }
  // What follows in this segment would lie behind a hole.
  books_.Seal(*append.segment);
  CountWriteError(append.status);
}

// Of a record, or of a new segment.
void SsdTier::CountWriteError(const absl::Status& status) {
  // A disk that is full or hangs may be well again; see DiskHealth.
  if (absl::IsResourceExhausted(status) || absl::IsDeadlineExceeded(status)) {
    return;
  }
  if (++write_error_count_ >= kWriteErrorsMax) GoReadOnly(status);
}

void SsdTier::FinishStore(Append& append) {
  std::string row;
  if (append.status.ok()) row = RowOf(append);
  const BlockId& id = append.header.id;
  const MutexLock lock(mutex_);
  const uint64_t payload_bytes = append.header.block.payload_bytes;
  CountWrite(append);
  storing_.erase(id);
  books_.Landed(*append.segment, append.offset, append.bytes, append.purpose,
                append.status.ok() ? Outcome::kStored : Outcome::kDropped,
                payload_bytes);
  if (!append.status.ok()) return;
  counters_.user_written_bytes += payload_bytes;
  counters_.record_written_bytes += append.bytes;
  places_.emplace(id, PlaceOf(append));
  AddEdit({.is_put = true, .key = BlockRowKey(id), .value = std::move(row)});
}

void SsdTier::AddEdit(Edit edit) {
  if (!read_only_.ok()) return;  // It could never be written.
  edits_.push_back(std::move(edit));
  ++edit_count_;
}

void SsdTier::GiveBack(Segment* segment, uint64_t bytes) {
  const MutexLock lock(mutex_);
  books_.GiveBack(*segment, bytes, Purpose::kNew);
  DropIfSettled(segment);
}

absl::Status SsdTier::Sync() {
  uint64_t ticket;
  {
    const MutexLock lock(mutex_);
    ticket = edit_count_;
  }
  return Commit(ticket);
}

void SsdTier::CommitIfMany() {
  uint64_t ticket;
  {
    const MutexLock lock(mutex_);
    if (edits_.size() < options_.commit_rows || is_committing_) return;
    ticket = edit_count_;
  }
  Commit(ticket).IgnoreError();  // Whoever asks for durable hears of it.
}

// Returns when the first `ticket` edits are on disk. One caller commits for
// all that wait meanwhile; a disk that hangs keeps that one, and nobody else.
absl::Status SsdTier::Commit(uint64_t ticket) {
  BANYAN_RETURN_IF_ERROR(CanWrite());
  const absl::Duration end = clock_.Now() + options_.write_timeout;
  CommitRun run;
  {
    const MutexLock lock(mutex_);
    while (is_committing_ && committed_count_ < ticket) {
      const absl::Duration left = end - clock_.Now();
      if (left <= absl::ZeroDuration()) return TookTooLong();
      committed_.WaitFor(mutex_, left + absl::Milliseconds(1));
    }
    if (committed_count_ >= ticket) return absl::OkStatus();
    BANYAN_RETURN_IF_ERROR(read_only_);
    is_committing_ = true;
    run = BeginCommit();
  }
  absl::Status status = RunCommit(run);
  {
    const MutexLock lock(mutex_);
    status = EndCommit(std::move(run), std::move(status));
  }
  TellIfReadOnly();
  return status;
}

SsdTier::CommitRun SsdTier::BeginCommit() {
  CommitRun run;
  run.edits = std::move(edits_);
  edits_.clear();
  run.edit_count = edit_count_;
  for (const auto& segment : books_.segments()) {
    if (segment == nullptr || !segment->is_dirty) continue;
    segment->is_dirty = false;
    if (segment->state == Segment::State::kRetired) continue;
    ++segment->user_count;
    run.dirty.push_back(segment.get());
    if (!segment->is_listed) run.unlisted.push_back(segment.get());
    uint64_t end = segment->append_offset;
    for (const uint64_t offset : segment->writing) end = std::min(end, offset);
    run.segment_rows.emplace_back(
        segment->header.name.id,
        SegmentRow{.generation = segment->header.name.generation,
                   .append_offset = end});
  }
  return run;
}

absl::Status SsdTier::RunCommit(const CommitRun& run) {
  BANYAN_RETURN_IF_ERROR(SyncSegments(run));
  BANYAN_RETURN_IF_ERROR(WriteCatalogue(run, Catalogue::Log::kSynced));
  return HitFailpoint(Failpoint::kSsdAfterCatalogueWrite);
}

absl::Status SsdTier::SyncSegments(const CommitRun& run) {
  BANYAN_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSsdBeforeSegmentSync));
  for (Segment* const segment : run.dirty) {
    DiskHealth::Call call = BeginWrite(DiskHealth::Op::kSync);
    const absl::Status status = segment->file->Sync();
    call.End();
    health_.Note(DiskHealth::Op::kSync, status);
    if (!status.ok()) {
      // Not even for a full disk: the kernel may have thrown the data away.
      return absl::Status(absl::StatusCode::kUnavailable, status.message());
    }
  }
  std::vector<uint32_t> synced;
  for (const Segment* const segment : run.unlisted) {
    if (std::find(synced.begin(), synced.end(), segment->directory) !=
        synced.end()) {
      continue;
    }
    synced.push_back(segment->directory);
    DiskHealth::Call call = BeginWrite(DiskHealth::Op::kSync);
    const absl::Status status = file_system_.SyncDirectory(
        directories_[segment->directory]->segments_path());
    call.End();
    health_.Note(DiskHealth::Op::kSync, status);
    if (!status.ok()) {
      return absl::Status(absl::StatusCode::kUnavailable, status.message());
    }
  }
  return HitFailpoint(Failpoint::kSsdAfterSegmentSync);
}

absl::Status SsdTier::WriteCatalogue(const CommitRun& run, Catalogue::Log log) {
  Catalogue::Batch batch;
  uint64_t bytes = 0;
  for (const Edit& edit : run.edits) {
    bytes += edit.key.size() + edit.value.size();
    if (edit.is_put) {
      batch.Put(edit.key, edit.value);
    } else {
      batch.Delete(edit.key);
    }
  }
  for (const auto& [id, row] : run.segment_rows) {
    std::string key = SegmentRowKey(id);
    std::string value = SerializeSegmentRow(id, row);
    bytes += key.size() + value.size();
    batch.Put(std::move(key), std::move(value));
  }
  const absl::Status status = WriteBatchOfRows(batch, log);
  if (!status.ok()) return status;
  const MutexLock lock(mutex_);
  ++counters_.commits;
  counters_.segment_syncs += run.dirty.size();
  counters_.catalogue_written_bytes += bytes;
  return status;
}

absl::Status SsdTier::WriteBatchOfRows(const Catalogue::Batch& batch,
                                       Catalogue::Log log) {
  DiskHealth::Call call = BeginWrite(DiskHealth::Op::kCatalogue);
  absl::Status status = catalogue_->Write(batch, log);
  call.End();
  health_.Note(DiskHealth::Op::kCatalogue, status);
  return status;
}

absl::Status SsdTier::EndCommit(CommitRun run, absl::Status status) {
  is_committing_ = false;
  committed_.NotifyAll();
  for (Segment* const segment : run.dirty) {
    --segment->user_count;
    // The rows that name their ends are written again with the edits.
    if (!status.ok()) segment->is_dirty = true;
    if (status.ok()) segment->is_listed = true;
    DropIfSettled(segment);
  }
  if (status.ok()) {
    committed_count_ = run.edit_count;
    return status;
  }
  if (!absl::IsResourceExhausted(status)) {
    GoReadOnly(status);
    return read_only_;
  }
  run.edits.insert(run.edits.end(), std::make_move_iterator(edits_.begin()),
                   std::make_move_iterator(edits_.end()));
  edits_ = std::move(run.edits);
  return status;
}

void SsdTier::GoReadOnly(const absl::Status& cause) {
  if (!read_only_.ok()) return;
  const std::string since =
      absl::FormatTime("%H:%M", absl::Now(), absl::UTCTimeZone());
  read_only_ = MakeError(
      absl::StatusCode::kUnavailable, "SSD_READ_ONLY",
      absl::StrCat("ssd tier read-only since ", since, " UTC (",
                   std::string(cause.message().substr(0, kCauseBytesMax)),
                   "). Durable puts refused. Nothing new is stored on it, "
                   "reads go on. Check the disk, then restart the node."));
  edits_.clear();
}

void SsdTier::TellIfReadOnly() {
  const absl::Status status = read_only();
  if (!status.ok()) health_.NoteReadOnly(status);
}

}  // namespace banyan::tiers
