#include "tiers/ssd/segment_books.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t RoundDown(uint64_t bytes) {
  return bytes & ~(kIoAlignment - 1);
}

}  // namespace

SegmentBooks::SegmentBooks(const Options& options)
    : capacity_bytes_(options.capacity_bytes),
      directory_bytes_(
          RoundDown(options.capacity_bytes / options.directory_count)),
      segment_bytes_(
          std::min(RoundDown(options.segment_bytes), directory_bytes_)),
      fixed_waste_bytes_(capacity_bytes_ -
                         directory_bytes_ * options.directory_count +
                         options.directory_count * kSegmentHeaderBytes *
                             CeilDiv(directory_bytes_, segment_bytes_)),
      disk_bytes_(options.directory_count) {
  BANYAN_CHECK(segment_bytes_ >= 3 * kIoAlignment);
}

uint64_t SegmentBooks::record_bytes_max() const {
  return directory_bytes_ -
         kSegmentHeaderBytes * CeilDiv(directory_bytes_, segment_bytes_);
}

TierUsage SegmentBooks::usage() const {
  TierUsage usage;
  usage.capacity_bytes = capacity_bytes_;
  usage.used_bytes = live_bytes_ + limbo_bytes_;
  usage.staged_bytes = staged_bytes_;
  usage.payload_bytes = payload_bytes_;
  const uint64_t rest = capacity_bytes_ - usage.used_bytes - usage.staged_bytes;
  // While carrying there is more on disk than the capacity.
  usage.waste_bytes =
      std::min(rest, fixed_waste_bytes_ + tail_bytes_ + quarantined_bytes_);
  usage.free_bytes = rest - usage.waste_bytes;
  return usage;
}

uint64_t SegmentBooks::disk_bytes() const {
  uint64_t sum = 0;
  for (const uint64_t bytes : disk_bytes_) sum += bytes;
  return sum;
}

Segment* SegmentBooks::Reserve(uint64_t bytes, Purpose purpose,
                               const Segment* not_this) {
  if (purpose == Purpose::kNew && free_bytes() < bytes) return nullptr;
  for (size_t i = 0; i < open_.size(); ++i) {
    Segment& segment = *segments_[open_[i]];
    if (&segment == not_this || segment.tail_bytes() < bytes) continue;
    Promise(segment, bytes, purpose);
    // The next record goes to the next directory.
    std::rotate(open_.begin(), open_.begin() + i + 1, open_.end());
    return &segment;
  }
  return nullptr;
}

void SegmentBooks::Promise(Segment& segment, uint64_t bytes, Purpose purpose) {
  BANYAN_CHECK(segment.tail_bytes() >= bytes);
  if (segment.state == Segment::State::kSealed) {
    segment.state = Segment::State::kSealing;
  }
  segment.reserved_bytes += bytes;
  CountTail(segment);
  if (purpose == Purpose::kNew) staged_bytes_ += bytes;
}

void SegmentBooks::GiveBack(Segment& segment, uint64_t bytes, Purpose purpose) {
  BANYAN_CHECK(segment.reserved_bytes >= bytes);
  segment.reserved_bytes -= bytes;
  if (purpose == Purpose::kNew) staged_bytes_ -= bytes;
  SealIfIdle(segment);
}

std::optional<SegmentBooks::Growth> SegmentBooks::CanGrow(
    uint64_t record_bytes, Purpose purpose, const Segment* victim) const {
  const uint64_t least = record_bytes + kSegmentHeaderBytes;
  std::optional<Growth> best;
  uint64_t most_room = 0;
  for (uint32_t i = 0; i < disk_bytes_.size(); ++i) {
    uint64_t limit = directory_bytes_;
    if (purpose == Purpose::kCarry) {
      if (victim->directory != i) continue;
      limit += victim->header.segment_bytes;
    }
    const uint64_t room = limit - std::min(limit, disk_bytes_[i]);
    if (room < least || room <= most_room) continue;
    most_room = room;
    uint64_t bytes = std::max(least, std::min(room, segment_bytes_));
    if (purpose == Purpose::kCarry) {
      bytes = std::max(least, std::min(room, victim->header.segment_bytes));
    }
    best = Growth{.directory = i, .segment_bytes = bytes};
  }
  return best;
}

Segment& SegmentBooks::Insert(uint32_t directory, const SegmentHeader& header,
                              std::unique_ptr<File> file) {
  auto segment = std::make_unique<Segment>();
  segment->header = header;
  segment->directory = directory;
  segment->file = std::move(file);
  const auto hole = std::find(segments_.begin(), segments_.end(), nullptr);
  segment->slot = static_cast<uint32_t>(hole - segments_.begin());
  disk_bytes_[directory] += header.segment_bytes;
  if (hole == segments_.end()) {
    segments_.push_back(std::move(segment));
    return *segments_.back();
  }
  *hole = std::move(segment);
  return **hole;
}

Segment& SegmentBooks::Add(const Growth& growth, const SegmentHeader& header,
                           std::unique_ptr<File> file) {
  for (const uint32_t slot : std::vector<uint32_t>(open_)) {
    if (segments_[slot]->directory == growth.directory) Seal(*segments_[slot]);
  }
  Segment& segment = Insert(growth.directory, header, std::move(file));
  open_.push_back(segment.slot);
  return segment;
}

Segment& SegmentBooks::AddFound(uint32_t directory, const SegmentHeader& header,
                                std::unique_ptr<File> file) {
  Segment& segment = Insert(directory, header, std::move(file));
  segment.state = Segment::State::kSealed;
  segment.is_listed = true;
  CountTail(segment);
  return segment;
}

void SegmentBooks::ExtendFound(Segment& segment, uint64_t end_offset) {
  BANYAN_CHECK(segment.state == Segment::State::kSealed);
  if (end_offset <= segment.append_offset) return;
  segment.append_offset = end_offset;
  CountTail(segment);
}

void SegmentBooks::ReopenRoomiest() {
  for (uint32_t i = 0; i < disk_bytes_.size(); ++i) {
    Segment* best = nullptr;
    for (const auto& segment : segments_) {
      if (segment == nullptr || segment->directory != i ||
          segment->is_quarantined) {
        continue;
      }
      if (best == nullptr || segment->tail_bytes() > best->tail_bytes()) {
        best = segment.get();
      }
    }
    if (best == nullptr || best->tail_bytes() == 0) continue;
    best->state = Segment::State::kOpen;
    CountTail(*best);
    open_.push_back(best->slot);
  }
}

uint64_t SegmentBooks::Append(Segment& segment, uint64_t bytes,
                              const BlockId& id) {
  BANYAN_CHECK(segment.reserved_bytes >= bytes);
  const uint64_t offset = segment.append_offset;
  segment.reserved_bytes -= bytes;
  segment.append_offset += bytes;
  segment.writing.push_back(offset);
  segment.ids.push_back(id);
  segment.is_dirty = true;
  return offset;
}

void SegmentBooks::Landed(Segment& segment, uint64_t offset, uint64_t bytes,
                          Purpose purpose, Outcome outcome,
                          uint64_t payload_bytes) {
  const auto it =
      std::find(segment.writing.begin(), segment.writing.end(), offset);
  BANYAN_CHECK(it != segment.writing.end());
  segment.writing.erase(it);
  if (purpose == Purpose::kNew) staged_bytes_ -= bytes;
  if (outcome == Outcome::kStored) CountLive(segment, bytes, payload_bytes);
  SealIfIdle(segment);
}

void SegmentBooks::CountLive(Segment& segment, uint64_t bytes,
                             uint64_t payload_bytes) {
  segment.live_bytes += bytes;
  live_bytes_ += bytes;
  payload_bytes_ += payload_bytes;
  CountTail(segment);
}

void SegmentBooks::CountDead(Segment& segment, uint64_t bytes,
                             uint64_t payload_bytes) {
  BANYAN_CHECK(segment.live_bytes >= bytes);
  segment.live_bytes -= bytes;
  live_bytes_ -= bytes;
  payload_bytes_ -= payload_bytes;
  CountTail(segment);
}

void SegmentBooks::AddLimbo(uint64_t bytes, uint64_t payload_bytes) {
  limbo_bytes_ += bytes;
  payload_bytes_ += payload_bytes;
}

void SegmentBooks::RemoveLimbo(uint64_t bytes, uint64_t payload_bytes) {
  limbo_bytes_ -= bytes;
  payload_bytes_ -= payload_bytes;
}

void SegmentBooks::Seal(Segment& segment) {
  if (segment.state != Segment::State::kOpen) return;
  open_.erase(std::find(open_.begin(), open_.end(), segment.slot));
  segment.state = Segment::State::kSealing;
  SealIfIdle(segment);
}

void SegmentBooks::SealIfIdle(Segment& segment) {
  if (segment.state != Segment::State::kSealing || !segment.is_idle()) return;
  segment.state = Segment::State::kSealed;
  CountTail(segment);
}

void SegmentBooks::CountTail(Segment& segment) {
  const bool is_waste =
      segment.state == Segment::State::kSealed && segment.live_bytes > 0;
  const uint64_t waste_bytes = is_waste ? segment.tail_bytes() : 0;
  tail_bytes_ += waste_bytes - segment.waste_bytes;
  segment.waste_bytes = waste_bytes;
}

void SegmentBooks::Retire(Segment& segment) {
  BANYAN_CHECK(segment.is_idle() && segment.live_bytes == 0);
  Seal(segment);
  segment.state = Segment::State::kRetired;
  CountTail(segment);
  if (segment.is_quarantined) {
    quarantined_bytes_ += segment.header.segment_bytes;  // Its file stays.
  } else {
    disk_bytes_[segment.directory] -= segment.header.segment_bytes;
  }
}

void SegmentBooks::Drop(Segment& segment) {
  BANYAN_CHECK(segment.state == Segment::State::kRetired &&
               segment.user_count == 0);
  segments_[segment.slot] = nullptr;
}

Segment* SegmentBooks::DeadestSegment() {
  Segment* best = nullptr;
  for (const auto& segment : segments_) {
    if (segment == nullptr || segment->state == Segment::State::kRetired ||
        !segment->is_idle()) {
      continue;
    }
    // An empty one that is open gives its whole size.
    const uint64_t dead =
        segment->dead_bytes() +
        (segment->live_bytes == 0 ? segment->tail_bytes() : 0);
    if (dead == 0) continue;
    if (best == nullptr || dead > best->dead_bytes()) best = segment.get();
  }
  return best;
}

Segment* SegmentBooks::ColdestSegment() {
  uint64_t newest_id = 0;
  for (const auto& segment : segments_) {
    if (segment == nullptr) continue;
    newest_id = std::max(newest_id, segment->header.name.id);
  }
  Segment* best = nullptr;
  double best_worth = -1;
  for (const auto& segment : segments_) {
    if (segment == nullptr || segment->state == Segment::State::kRetired ||
        !segment->is_idle() || segment->ids.empty()) {
      continue;
    }
    const auto size = static_cast<double>(segment->header.segment_bytes);
    const auto hot = static_cast<double>(segment->hot_bytes);
    const auto age =
        static_cast<double>(newest_id - segment->header.name.id + 1);
    const double worth = (size - hot) / (size + hot) * age;
    if (worth <= best_worth) continue;
    best = segment.get();
    best_worth = worth;
  }
  return best;
}

}  // namespace banyan::tiers
