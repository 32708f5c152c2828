// Room: new segments while there are any to be had, else a victim's live
// records are carried into another segment and the victim's file is removed.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
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

// Rounds of making room for one record: others may take what was made.
constexpr int kRoundsMax = 4096;
// Records carried at once, if they are small.
constexpr size_t kCarriedAtOnce = 16;
constexpr uint64_t kCarriedAtOnceBytes = 16 * kMiB;

absl::Status Full(uint64_t bytes) {
  return MakeError(absl::StatusCode::kResourceExhausted, "TIER_FULL",
                   absl::StrCat("ssd tier: no room for ", bytes,
                                " B. Evict a block and retry."));
}

}  // namespace

absl::StatusOr<Segment*> SsdTier::ReserveRoom(uint64_t bytes) {
  BANYAN_RETURN_IF_ERROR(CanWrite());
  for (int round = 0; round < kRoundsMax; ++round) {
    {
      const MutexLock lock(mutex_);
      BANYAN_RETURN_IF_ERROR(read_only_);
      Segment* const segment = books_.Reserve(bytes, Purpose::kNew, nullptr);
      if (segment != nullptr) return segment;
      if (options_.reclaim == Reclaim::kKeepAll &&
          books_.free_bytes() < bytes) {
        return Full(bytes);
      }
    }
    BANYAN_RETURN_IF_ERROR(MakeRoom(bytes));
  }
  return Full(bytes);
}

// One caller makes room; the others wait for it, then try again. A disk that
// hangs keeps that one, and nobody else.
absl::Status SsdTier::MakeRoom(uint64_t bytes) {
  const absl::Duration end = clock_.Now() + options_.write_timeout;
  {
    const MutexLock lock(mutex_);
    if (is_making_room_) {
      while (is_making_room_) {
        const absl::Duration left = end - clock_.Now();
        if (left <= absl::ZeroDuration()) {
          return MakeError(absl::StatusCode::kDeadlineExceeded, "WRITE",
                           "ssd: no room was made in time. Retry.");
        }
        made_room_.WaitFor(mutex_, left + absl::Milliseconds(1));
      }
      return absl::OkStatus();
    }
    is_making_room_ = true;
  }
  const absl::Status status = MakeRoomOnce(bytes);
  const MutexLock lock(mutex_);
  is_making_room_ = false;
  made_room_.NotifyAll();
  return status;
}

absl::Status SsdTier::MakeRoomOnce(uint64_t bytes) {
  std::optional<SegmentBooks::Growth> growth;
  Segment* victim = nullptr;
  {
    const MutexLock lock(mutex_);
    if (books_.free_bytes() >= bytes) {
      growth = books_.CanGrow(bytes, Purpose::kNew, nullptr);
    }
    if (!growth.has_value()) {
      victim = PickVictim(bytes);
      if (victim == nullptr) return Full(bytes);
      books_.Seal(*victim);
    }
  }
  if (growth.has_value()) return CreateSegment(*growth);
  return ReclaimSegment(*victim);
}

Segment* SsdTier::PickVictim(uint64_t bytes) {
  Segment* const deadest = books_.DeadestSegment();
  if (options_.reclaim == Reclaim::kKeepAll) {
    return books_.free_bytes() < bytes ? nullptr : deadest;
  }
  if (deadest != nullptr && deadest->live_bytes == 0) return deadest;
  return books_.ColdestSegment();
}

absl::Status SsdTier::CreateSegment(const SegmentBooks::Growth& growth) {
  SegmentHeader header;
  header.name.node = node_;
  header.name.generation = NextGeneration();
  header.segment_bytes = growth.segment_bytes;
  {
    const MutexLock lock(mutex_);
    header.name.id = next_segment_id_++;
  }
  BANYAN_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSsdBeforeSegmentCreate));
  const std::string path =
      directories_[growth.directory]->SegmentPath(header.name.id);
  DiskHealth::Call call = BeginWrite(DiskHealth::Op::kCreate);
  auto file = file_system_.Open(path, OpenMode::kCreate);
  absl::Status status = file.status();
  if (status.ok()) status = (*file)->Allocate(header.segment_bytes);
  if (status.ok()) {
    BANYAN_ASSIGN_OR_RETURN(const PooledBuffer page,
                            carry_pool_.Take(kSegmentHeaderBytes));
    const auto bytes = page.bytes().first(kSegmentHeaderBytes);
    WriteSegmentHeader(header, bytes);
    status = (*file)->WriteAt(0, bytes);
  }
  call.End();
  if (status.ok()) status = HitFailpoint(Failpoint::kSsdAfterSegmentCreate);
  health_.Note(DiskHealth::Op::kCreate, status);
  if (!status.ok()) {
    file_system_.Remove(path).IgnoreError();
    {
      const MutexLock lock(mutex_);
      CountWriteError(status);
    }
    TellIfReadOnly();
    return status;
  }
  const MutexLock lock(mutex_);
  books_.Add(growth, header, *std::move(file)).is_dirty = true;
  ++counters_.segments_created;
  counters_.header_written_bytes += kSegmentHeaderBytes;
  return absl::OkStatus();
}

// In the order in which they lie on disk.
std::vector<SsdTier::LiveRecord> SsdTier::LiveRecords(
    const Segment& segment) const {
  std::vector<LiveRecord> records;
  for (const BlockId& id : segment.ids) {
    const auto found = places_.find(id);
    if (found == places_.end() || found->second.slot != segment.slot) continue;
    records.push_back({.id = id, .place = found->second});
  }
  std::sort(records.begin(), records.end(),
            [](const LiveRecord& a, const LiveRecord& b) {
              return a.place.page < b.place.page;
            });
  // An id that was erased and stored again is listed twice.
  records.erase(std::unique(records.begin(), records.end(),
                            [](const LiveRecord& a, const LiveRecord& b) {
                              return a.place.page == b.place.page;
                            }),
                records.end());
  return records;
}

absl::Status SsdTier::ReclaimSegment(Segment& victim) {
  std::vector<LiveRecord> records;
  {
    const MutexLock lock(mutex_);
    records = LiveRecords(victim);
  }
  if (options_.reclaim == Reclaim::kDropCold) {
    DropAll(SplitOffCold(victim, records));
  }
  BANYAN_RETURN_IF_ERROR(Carry(victim, records));
  BANYAN_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSsdReclaimAfterCarry));
  // What was carried is on disk in its new place before the old one goes.
  if (!records.empty()) BANYAN_RETURN_IF_ERROR(Sync());
  return RemoveSegment(victim);
}

// Keeps in `records` the hottest, as many as may be carried, and what is
// pinned before all; returns the rest.
std::vector<SsdTier::LiveRecord> SsdTier::SplitOffCold(
    const Segment& victim, std::vector<LiveRecord>& records) {
  const auto budget = static_cast<uint64_t>(
      static_cast<double>(victim.header.segment_bytes) * options_.carry_share);
  std::vector<std::pair<int, LiveRecord>> ranked;
  {
    const MutexLock lock(mutex_);
    for (const LiveRecord& record : records) {
      const bool is_pinned = pins_.contains(record.id);
      ranked.emplace_back(is_pinned ? UINT8_MAX + 1 : record.place.heat,
                          record);
    }
  }
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first
                              : a.second.place.page < b.second.place.page;
  });
  records.clear();
  std::vector<LiveRecord> cold;
  uint64_t bytes = 0;
  for (const auto& [rank, record] : ranked) {
    if (rank > 0 && bytes + record.place.bytes() <= budget) {
      bytes += record.place.bytes();
      records.push_back(record);
    } else {
      cold.push_back(record);
    }
  }
  return cold;
}

void SsdTier::DropAll(absl::Span<const LiveRecord> records) {
  std::vector<BlockId> dropped;
  {
    const MutexLock lock(mutex_);
    for (const LiveRecord& record : records) {
      const auto found = places_.find(record.id);
      if (found == places_.end() || !found->second.IsAt(record.place)) continue;
      Forget(record.id);
      dropped.push_back(record.id);
    }
    counters_.blocks_dropped_cold += dropped.size();
  }
  if (options_.drop_sink != nullptr && !dropped.empty()) {
    options_.drop_sink->OnDropped(dropped);
  }
}

absl::Status SsdTier::Carry(Segment& victim,
                            absl::Span<const LiveRecord> records) {
  while (!records.empty()) {
    size_t count = 0;
    uint64_t bytes = 0;
    while (count < records.size() && count < kCarriedAtOnce) {
      bytes += records[count].place.bytes();
      if (count > 0 && bytes > kCarriedAtOnceBytes) break;
      ++count;
    }
    BANYAN_RETURN_IF_ERROR(CarrySome(victim, records.first(count)));
    records.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::Status SsdTier::CarrySome(Segment& victim,
                                absl::Span<const LiveRecord> records) {
  std::vector<Append> appends;
  std::vector<LiveRecord> from;
  absl::Status status;
  for (const LiveRecord& record : records) {
    auto append = ReadForCarry(victim, record);
    if (absl::IsNotFound(append.status())) continue;  // Erased meanwhile.
    if (absl::IsDataLoss(append.status())) {
      DropUnreadable(record.id, append.status());
      continue;
    }
    status = append.status();
    if (!status.ok()) break;
    appends.push_back(*std::move(append));
    from.push_back(record);
  }
  WriteAppends(appends);
  for (size_t i = 0; i < appends.size(); ++i) {
    FinishCarry(victim, from[i], appends[i]);
    if (status.ok()) status = appends[i].status;
  }
  TellIfReadOnly();
  return status;
}

// The record, verified, with a place in another segment.
absl::StatusOr<SsdTier::Append> SsdTier::ReadForCarry(
    Segment& victim, const LiveRecord& record) {
  BANYAN_ASSIGN_OR_RETURN(ReadRecord read,
                          ReadTwice(record.id, ReadFor::kCarry));
  if (!read.place.IsAt(record.place)) return absl::NotFoundError("");
  if (!VerifyPayload(read).ok()) {
    BANYAN_ASSIGN_OR_RETURN(
        read, ReadOnce(record.id, ReadFor::kCarry, options_.read_timeout));
    BANYAN_RETURN_IF_ERROR(VerifyPayload(read));
  }
  Append append;
  append.purpose = Purpose::kCarry;
  append.header = std::move(read.header);
  append.header.block.generation = NextGeneration();
  append.buffer = std::move(read.buffer);
  append.bytes = record.place.bytes();
  append.header_bytes = record.place.header_pages * kIoAlignment;
  append.reserved_bytes = append.bytes;
  BANYAN_ASSIGN_OR_RETURN(append.segment, ReserveCarry(append.bytes, victim));
  const MutexLock lock(mutex_);
  append.offset = books_.Append(*append.segment, append.bytes, record.id);
  ++append.segment->user_count;
  return append;
}

absl::StatusOr<Segment*> SsdTier::ReserveCarry(uint64_t bytes,
                                               const Segment& victim) {
  for (int round = 0; round < 2; ++round) {
    std::optional<SegmentBooks::Growth> growth;
    {
      const MutexLock lock(mutex_);
      Segment* const segment = books_.Reserve(bytes, Purpose::kCarry, &victim);
      if (segment != nullptr) return segment;
      growth = books_.CanGrow(bytes, Purpose::kCarry, &victim);
    }
    if (!growth.has_value()) break;
    BANYAN_RETURN_IF_ERROR(CreateSegment(*growth));
  }
  return Full(bytes);
}

// The block now lies in its new place, unless it was erased meanwhile.
void SsdTier::FinishCarry(Segment& victim, const LiveRecord& from,
                          Append& append) {
  std::string row;
  if (append.status.ok()) row = RowOf(append);
  const MutexLock lock(mutex_);
  CountWrite(append);
  const auto found = places_.find(from.id);
  const bool is_moved = append.status.ok() && found != places_.end() &&
                        found->second.IsAt(from.place);
  const uint64_t payload_bytes = from.place.payload_bytes();
  books_.Landed(*append.segment, append.offset, append.bytes, append.purpose,
                is_moved ? Outcome::kStored : Outcome::kDropped, payload_bytes);
  counters_.carried_bytes += append.bytes;
  if (!is_moved) return;
  books_.CountDead(victim, append.bytes, payload_bytes);
  const uint8_t heat = found->second.heat;
  if (heat > 0) victim.hot_bytes -= append.bytes;
  found->second = PlaceOf(append);
  // Where the cold is dropped, a carried block has to be read again to be
  // carried once more.
  if (heat > 0 && options_.reclaim == Reclaim::kKeepAll) {
    found->second.heat = heat;
    append.segment->hot_bytes += append.bytes;
  }
  AddEdit(
      {.is_put = true, .key = BlockRowKey(from.id), .value = std::move(row)});
}

absl::Status SsdTier::RemoveSegment(Segment& victim) {
  BANYAN_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSsdReclaimBeforeRemove));
  const uint64_t id = victim.header.name.id;
  const SsdDirectory& directory = *directories_[victim.directory];
  bool is_quarantined = false;
  {
    const MutexLock lock(mutex_);
    if (victim.live_bytes > 0 || !victim.is_idle()) {
      return MakeError(absl::StatusCode::kResourceExhausted, "TIER_FULL",
                       "ssd tier: a segment could not be emptied. Retry.");
    }
    is_quarantined = victim.is_quarantined;
    books_.Retire(victim);
    DropIfSettled(&victim);
    ++counters_.segments_reclaimed;
  }
  const std::string path = directory.SegmentPath(id);
  DiskHealth::Call call = BeginWrite(DiskHealth::Op::kRemove);
  absl::Status status = is_quarantined
                            ? file_system_.Rename(path, path + ".quarantined")
                            : file_system_.Remove(path);
  // Before its row goes: a file that came back without one would be scanned.
  if (status.ok()) {
    status = file_system_.SyncDirectory(directory.segments_path());
  }
  call.End();
  health_.Note(DiskHealth::Op::kRemove, status);
  BANYAN_RETURN_IF_ERROR(status);
  BANYAN_RETURN_IF_ERROR(HitFailpoint(Failpoint::kSsdReclaimAfterRemove));
  const MutexLock lock(mutex_);
  AddEdit({.is_put = false, .key = SegmentRowKey(id)});
  return absl::OkStatus();
}

}  // namespace banyan::tiers
