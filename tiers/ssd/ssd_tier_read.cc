// Reading: find, read the whole record at once, verify its header; the payload
// is verified piece by piece when it is handed out. What fails is tried once
// more, then dropped.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/status_macros.h"
#include "tiers/ssd/ssd_tier.h"
#include "tiers/ssd/ssd_tier_parts.h"

namespace banyan::tiers {
namespace {

// Damaged records of a segment after which it is not written any more.
constexpr uint32_t kFindingsMax = 3;

absl::Status NotThere() {
  return absl::Status(absl::StatusCode::kNotFound, "");
}

absl::Status NoAnswer() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "READ",
                   "ssd: the disk did not answer in time. Treat as a miss.");
}

bool IsDamage(const absl::Status& status) {
  return absl::IsDataLoss(status) && ErrorReason(status) != "IDENTITY";
}

}  // namespace

SsdTier::ReadPin::ReadPin(SsdTier& tier, PinEntry* entry, ReadRecord record)
    : BlockPin(std::move(record.header.block)),
      tier_(tier),
      entry_(entry),
      buffer_(std::move(record.buffer)),
      payload_(buffer_.bytes().subspan(record.place.header_pages * kIoAlignment,
                                       header().payload_bytes)) {}

absl::Span<const std::byte> SsdTier::ReadPin::PayloadAgain() const {
  {
    const MutexLock lock(mutex_);
    if (has_tried_again_) {
      const absl::Span<std::byte> second = second_.bytes();
      return second.empty()
                 ? second
                 : second.subspan(RecordHeaderBytes(header().piece_count()),
                                  header().payload_bytes);
    }
    has_tried_again_ = true;
  }
  {
    const MutexLock lock(tier_.mutex_);
    ++tier_.counters_.rereads;
  }
  auto record =
      tier_.ReadOnce(entry_->id, ReadFor::kPin, tier_.options_.read_timeout);
  if (!record.ok() || !(record->header.block.identity == header().identity) ||
      record->header.block.payload_bytes != header().payload_bytes ||
      record->header.block.piece_bytes != header().piece_bytes) {
    return {};
  }
  const MutexLock lock(mutex_);
  second_ = std::move(record->buffer);
  return second_.bytes().subspan(record->place.header_pages * kIoAlignment,
                                 header().payload_bytes);
}

void SsdTier::ReadPin::OnDamaged() const {
  tier_.DropUnreadable(entry_->id,
                       MakeError(absl::StatusCode::kDataLoss, "CHECKSUM", ""));
}

void SsdTier::CountUse(Place& place) {
  if (place.heat == 0) books_.at(place.slot)->hot_bytes += place.bytes();
  if (place.heat < UINT8_MAX) ++place.heat;
}

void SsdTier::Touch(absl::Span<const BlockId> ids) {
  const MutexLock lock(mutex_);
  for (const BlockId& id : ids) {
    const auto found = places_.find(id);
    if (found != places_.end()) CountUse(found->second);
  }
}

bool SsdTier::LookUp(const BlockId& id, ReadFor purpose, Lookup& found) {
  const MutexLock lock(mutex_);
  const auto it = places_.find(id);
  if (it == places_.end()) return false;
  Place& place = it->second;
  Segment* const segment = books_.at(place.slot);
  if (purpose == ReadFor::kPin) {
    CountUse(place);
    ++counters_.reads;
    counters_.read_bytes += place.bytes();
  } else if (purpose == ReadFor::kCarry) {
    counters_.carry_read_bytes += place.bytes();
  } else {
    counters_.scrub_read_bytes += place.bytes();
  }
  ++segment->user_count;
  found = {.place = place, .segment = segment, .name = segment->header.name};
  return true;
}

std::vector<absl::StatusOr<std::unique_ptr<BlockPin>>> SsdTier::PinBatch(
    absl::Span<const PinRequest> requests, absl::Duration timeout) {
  std::vector<absl::StatusOr<std::unique_ptr<BlockPin>>> results;
  const absl::Duration end = clock_.Now() + timeout;
  auto batch = std::make_shared<ReadBatch>(*this);
  std::vector<std::pair<size_t, Lookup>> reads;
  for (size_t i = 0; i < requests.size(); ++i) {
    results.emplace_back(NotThere());
    Lookup found;
    if (!LookUp(requests[i].id, ReadFor::kPin, found)) continue;
    auto buffer = read_pool_.Take(found.place.bytes());
    if (!buffer.ok()) {
      ReleaseUser(found.segment);
      results[i] = buffer.status();
      continue;
    }
    batch->Add(found.segment, found.place, *std::move(buffer));
    reads.emplace_back(i, found);
  }
  if (reads.empty()) return results;
  const bool is_done = Answers() && RunReads(batch, timeout);
  for (size_t k = 0; k < reads.size(); ++k) {
    const PinRequest& request = requests[reads[k].first];
    if (!is_done) {
      results[reads[k].first] = NoAnswer();
      continue;
    }
    auto record = CheckRecord(request.id, reads[k].second,
                              batch->requests[k].status, batch->TakeBuffer(k));
    results[reads[k].first] = FinishPin(request, std::move(record), end);
  }
  return results;
}

// True if all were read in time. Those that were not are left to the engine.
bool SsdTier::RunReads(const std::shared_ptr<ReadBatch>& batch,
                       absl::Duration timeout) {
  uint64_t bytes = 0;
  for (const IoRequest& request : batch->requests) bytes += request.bytes;
  batch->call =
      health_.Begin(DiskHealth::Op::kRead, options_.read_timeout, bytes);
  if (engine_->Run(batch, timeout)) {
    batch->call.End();
    return true;
  }
  // Who is in a hurry says nothing of the disk.
  if (timeout >= options_.read_timeout) batch->call.GiveUp();
  const MutexLock lock(mutex_);
  counters_.abandoned_reads += batch->requests.size();
  return false;
}

// A sound header, but is it the one that the books speak of?
absl::Status SsdTier::CheckHeader(const BlockId& id, const Lookup& found,
                                  const RecordHeader& header) {
  if (!(header.id == id) ||
      header.block.payload_bytes != found.place.payload_bytes() ||
      RecordHeaderBytes(header.block.piece_count()) !=
          found.place.header_pages * kIoAlignment) {
    return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                     "ssd: another record than the catalogue says");
  }
  return absl::OkStatus();
}

// Verifies what a read brought; `status` is that of the read.
absl::StatusOr<SsdTier::ReadRecord> SsdTier::CheckRecord(const BlockId& id,
                                                         const Lookup& found,
                                                         absl::Status status,
                                                         PooledBuffer buffer) {
  if (status.ok()) status = HitFailpoint(Failpoint::kSsdBeforeRead);
  if (!status.ok()) {
    health_.Note(DiskHealth::Op::kRead, status);
    return status;
  }
  BANYAN_ASSIGN_OR_RETURN(
      RecordHeader header,
      ParseRecordHeader(
          buffer.bytes().first(found.place.bytes()),
          {.segment = found.name, .offset = found.place.offset()}));
  BANYAN_RETURN_IF_ERROR(CheckHeader(id, found, header));
  return ReadRecord{.place = found.place,
                    .header = std::move(header),
                    .buffer = std::move(buffer)};
}

absl::StatusOr<SsdTier::ReadRecord> SsdTier::ReadOnce(const BlockId& id,
                                                      ReadFor purpose,
                                                      absl::Duration timeout) {
  Lookup found;
  if (!LookUp(id, purpose, found)) return NotThere();
  BufferPool& pool = purpose == ReadFor::kPin ? read_pool_ : carry_pool_;
  auto buffer = pool.Take(found.place.bytes());
  if (!buffer.ok()) {
    ReleaseUser(found.segment);
    return buffer.status();
  }
  auto batch = std::make_shared<ReadBatch>(*this);
  batch->Add(found.segment, found.place, *std::move(buffer));
  if (!RunReads(batch, timeout)) return NoAnswer();
  return CheckRecord(id, found, batch->requests[0].status,
                     batch->TakeBuffer(0));
}

absl::StatusOr<BlockHeader> SsdTier::ReadHeader(const BlockId& id) const {
  // Nothing that is stored changes; the read is counted.
  return const_cast<SsdTier*>(this)->ReadHeaderNow(id);
}

absl::StatusOr<BlockHeader> SsdTier::ReadHeaderNow(const BlockId& id) {
  Lookup found;
  if (!LookUp(id, ReadFor::kScrub, found)) return NotThere();
  Place header_only = found.place;
  header_only.pages = found.place.header_pages;
  auto buffer = carry_pool_.Take(header_only.bytes());
  if (!buffer.ok()) {
    ReleaseUser(found.segment);
    return buffer.status();
  }
  auto batch = std::make_shared<ReadBatch>(*this);
  batch->Add(found.segment, header_only, *std::move(buffer));
  if (!Answers() || !RunReads(batch, options_.read_timeout)) return NoAnswer();
  BANYAN_RETURN_IF_ERROR(batch->requests[0].status);
  const PooledBuffer read = batch->TakeBuffer(0);
  BANYAN_ASSIGN_OR_RETURN(
      RecordHeader header,
      ParseRecordHeader(
          read.bytes().first(header_only.bytes()),
          {.segment = found.name, .offset = found.place.offset()}));
  BANYAN_RETURN_IF_ERROR(CheckHeader(id, found, header));
  return std::move(header.block);
}

absl::StatusOr<SsdTier::ReadRecord> SsdTier::ReadTwice(const BlockId& id,
                                                       ReadFor purpose) {
  auto record = ReadOnce(id, purpose, options_.read_timeout);
  if (record.ok() ||
      !(IsDamage(record.status()) || absl::IsUnavailable(record.status()))) {
    return record;
  }
  {
    const MutexLock lock(mutex_);
    ++counters_.rereads;
  }
  return ReadOnce(id, purpose, options_.read_timeout);
}

absl::StatusOr<std::unique_ptr<BlockPin>> SsdTier::FinishPin(
    const PinRequest& request, absl::StatusOr<ReadRecord> record,
    absl::Duration end) {
  const absl::Status first = record.status();
  if (IsDamage(first) || absl::IsUnavailable(first)) {
    {
      const MutexLock lock(mutex_);
      ++counters_.rereads;
    }
    record = ReadOnce(request.id, ReadFor::kPin, end - clock_.Now());
    const absl::Status second = record.status();
    if (IsDamage(second) || absl::IsUnavailable(second)) {
      DropUnreadable(request.id, second);
      if (IsDamage(second)) return second;
      return absl::NotFoundError(second.message());
    }
  }
  BANYAN_RETURN_IF_ERROR(record.status());
  if (!(record->header.block.identity == request.identity)) {
    return MakeError(absl::StatusCode::kDataLoss, "IDENTITY",
                     "block header: names another block");
  }
  BANYAN_ASSIGN_OR_RETURN(PinEntry* const entry, AddPin(request.id));
  return std::make_unique<ReadPin>(*this, entry, *std::move(record));
}

absl::StatusOr<SsdTier::PinEntry*> SsdTier::AddPin(const BlockId& id) {
  const MutexLock lock(mutex_);
  const auto place = places_.find(id);
  if (place == places_.end()) return NotThere();  // Erased while it was read.
  std::unique_ptr<PinEntry>& entry = pins_[id];
  if (entry == nullptr) {
    entry = std::make_unique<PinEntry>();
    entry->id = id;
    entry->bytes = place->second.bytes();
    entry->payload_bytes = place->second.payload_bytes();
    pinned_bytes_ += entry->bytes;
  }
  ++entry->count;
  return entry.get();
}

void SsdTier::Unpin(PinEntry* entry) {
  const MutexLock lock(mutex_);
  if (--entry->count > 0) return;
  pinned_bytes_ -= entry->bytes;
  if (entry->is_erased) {
    books_.RemoveLimbo(entry->bytes, entry->payload_bytes);
    leaving_.erase(entry);
  } else {
    pins_.erase(BlockId(entry->id));
  }
}

void SsdTier::ReleaseUser(Segment* segment) {
  const MutexLock lock(mutex_);
  --segment->user_count;
  DropIfSettled(segment);
}

void SsdTier::DropIfSettled(Segment* segment) {
  if (segment->state == Segment::State::kRetired && segment->user_count == 0) {
    books_.Drop(*segment);
  }
}

// The block could not be read twice: it is a miss from now on.
void SsdTier::DropUnreadable(const BlockId& id, const absl::Status& why) {
  {
    const MutexLock lock(mutex_);
    const auto found = places_.find(id);
    if (found == places_.end()) return;
    Segment* const segment = books_.at(found->second.slot);
    if (absl::IsDataLoss(why)) ++counters_.corruptions;
    ++counters_.blocks_dropped_unreadable;
    if (++segment->finding_count == kFindingsMax) {
      segment->is_quarantined = true;
      ++counters_.segments_quarantined;
      books_.Seal(*segment);
    }
    Forget(id);
  }
  if (options_.drop_sink != nullptr) {
    options_.drop_sink->OnDropped(absl::MakeConstSpan(&id, 1));
  }
}

// True if the record is sound, or gone. What cannot be read now stays: a disk
// in trouble may come back, and whoever reads the block finds out.
bool SsdTier::ScrubOne(const LiveRecord& record) {
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto read = ReadTwice(record.id, ReadFor::kScrub);
    status = read.status();
    if (!status.ok()) break;
    status = VerifyPayload(*read);
    if (status.ok()) return true;
  }
  if (absl::IsUnavailable(status)) return false;
  if (!IsDamage(status)) return true;
  DropUnreadable(record.id, status);
  return false;
}

absl::Status SsdTier::VerifyPayload(const ReadRecord& record) {
  const BlockHeader& header = record.header.block;
  const absl::Span<const std::byte> payload = record.buffer.bytes().subspan(
      record.place.header_pages * kIoAlignment, header.payload_bytes);
  const uint64_t seed = header.identity.ChecksumSeed();
  for (uint32_t i = 0; i < header.piece_count(); ++i) {
    const auto piece =
        payload.subspan(header.PieceOffset(i), header.PieceSize(i));
    if (PieceChecksum(seed, i, piece) == header.pieces[i]) continue;
    return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                     absl::StrCat("ssd: checksum mismatch in piece ", i));
  }
  return absl::OkStatus();
}

// The records from where the scrub is on, in its segment or the next; none at
// the end of a pass.
std::vector<SsdTier::LiveRecord> SsdTier::NextToScrub() {
  const MutexLock lock(mutex_);
  const Segment* next = nullptr;
  for (const auto& segment : books_.segments()) {
    if (segment == nullptr || segment->live_bytes == 0 ||
        segment->header.name.id < scrub_segment_id_) {
      continue;
    }
    if (next == nullptr || segment->header.name.id < next->header.name.id) {
      next = segment.get();
    }
  }
  if (next == nullptr) {
    ++scrub_passes_;
    scrub_segment_id_ = 0;
    scrub_page_ = 0;
    return {};
  }
  if (next->header.name.id != scrub_segment_id_) scrub_page_ = 0;
  scrub_segment_id_ = next->header.name.id;
  std::vector<LiveRecord> records = LiveRecords(*next);
  const uint32_t from = scrub_page_;
  std::erase_if(records, [from](const LiveRecord& record) {
    return record.place.page < from;
  });
  if (records.empty()) {
    ++scrub_segment_id_;
    scrub_page_ = 0;
  }
  return records;
}

SsdTier::ScrubReport SsdTier::ScrubSome(uint64_t budget_bytes) {
  ScrubReport report;
  const auto passes = [this] {
    const MutexLock lock(mutex_);
    return scrub_passes_;
  };
  const uint64_t first_pass = passes();
  while (report.bytes < budget_bytes && passes() == first_pass && Answers()) {
    for (const LiveRecord& record : NextToScrub()) {
      if (report.bytes >= budget_bytes || !Answers()) break;
      ++report.records;
      report.bytes += record.place.bytes();
      if (!ScrubOne(record)) ++report.findings;
      const MutexLock lock(mutex_);
      scrub_page_ = record.place.page + 1;
    }
  }
  report.passes = passes();
  return report;
}

}  // namespace banyan::tiers
