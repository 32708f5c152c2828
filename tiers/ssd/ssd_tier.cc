#include "tiers/ssd/ssd_tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "tiers/ssd/ssd_tier_parts.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kCarryBytes = 32 * kMiB;

}  // namespace

double SsdCounters::write_amplification() const {
  if (user_written_bytes == 0) return 1;
  const uint64_t device = record_written_bytes + carried_bytes +
                          header_written_bytes + catalogue_written_bytes;
  return static_cast<double>(device) / static_cast<double>(user_written_bytes);
}

SsdTier::SsdTier(const Options& options,
                 std::vector<std::unique_ptr<SsdDirectory>> directories,
                 std::unique_ptr<IoEngine> engine)
    : options_(options),
      node_(NodeDigest(options.node_id)),
      file_system_(options.file_system == nullptr ? FileSystem::Machine()
                                                  : *options.file_system),
      directories_(std::move(directories)),
      health_(options.health),
      stage_pool_(options.stage_bytes),
      read_pool_(options.read_bytes),
      carry_pool_(kCarryBytes),
      engine_(std::move(engine)),
      books_({.directory_count = static_cast<uint32_t>(directories_.size()),
              .capacity_bytes = options.capacity_bytes,
              .segment_bytes = options.segment_bytes}) {
  for (BufferPool* const pool : {&stage_pool_, &read_pool_, &carry_pool_}) {
    engine_->ExpectMemory(pool->region());
  }
}

SsdTier::~SsdTier() {
  if (catalogue_ != nullptr) Sync().IgnoreError();
  engine_.reset();  // Ends I/O that nobody waits for any more.
  const TierUsage now = usage();
  BANYAN_CHECK(now.staged_bytes == 0 && now.pinned_bytes == 0);
}

SsdTier::Place SsdTier::MakePlace(uint32_t slot, uint64_t offset,
                                  uint64_t payload_bytes,
                                  uint64_t record_bytes) {
  const uint64_t payload_room = RoundUp(payload_bytes, kIoAlignment);
  Place place;
  place.slot = slot;
  place.page = static_cast<uint32_t>(offset / kIoAlignment);
  place.pages = static_cast<uint32_t>(record_bytes / kIoAlignment);
  place.padding = static_cast<uint16_t>(payload_room - payload_bytes);
  place.header_pages =
      static_cast<uint8_t>((record_bytes - payload_room) / kIoAlignment);
  return place;
}

uint64_t SsdTier::NextGeneration() {
  const uint64_t count = ++generation_count_;
  BANYAN_CHECK(count >> kGenerationBootShift == 0);
  return boot_bits_ | count;
}

uint64_t SsdTier::block_bytes_max() const {
  const MutexLock lock(mutex_);
  return books_.record_bytes_max() - kIoAlignment;
}

absl::StatusOr<std::unique_ptr<StagedBlock>> SsdTier::Stage(
    uint64_t payload_bytes) {
  BANYAN_CHECK(payload_bytes > 0);
  const uint64_t limit = block_bytes_max();
  if (payload_bytes > limit) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "BLOCK_SIZE",
        absl::StrCat("payload_bytes: larger than the ssd tier (got ",
                     payload_bytes, " B, limit ", limit,
                     " B). Use smaller blocks or a larger tier."));
  }
  const uint64_t bytes = RecordBytes(payload_bytes, 1);
  BANYAN_ASSIGN_OR_RETURN(PooledBuffer buffer, stage_pool_.Take(bytes));
  BANYAN_ASSIGN_OR_RETURN(Segment* const segment, ReserveRoom(bytes));
  return std::make_unique<Staged>(*this, segment, bytes, std::move(buffer),
                                  payload_bytes);
}

absl::Status SsdTier::Store(const BlockId& id, BlockHeader header,
                            std::unique_ptr<StagedBlock> staged) {
  std::vector<StoreRequest> one;
  one.push_back(
      {.id = id, .header = std::move(header), .staged = std::move(staged)});
  return StoreBatch(std::move(one), Durability::kWritten)[0];
}

absl::StatusOr<std::unique_ptr<BlockPin>> SsdTier::Pin(
    const BlockId& id, const BlockIdentity& identity) {
  const PinRequest one = {.id = id, .identity = identity};
  return std::move(
      PinBatch(absl::MakeConstSpan(&one, 1), options_.read_timeout)[0]);
}

void SsdTier::Erase(const BlockId& id) {
  const MutexLock lock(mutex_);
  Forget(id);
}

bool SsdTier::IsPinned(const BlockId& id) const {
  const MutexLock lock(mutex_);
  return pins_.contains(id);
}

bool SsdTier::Contains(const BlockId& id) const {
  const MutexLock lock(mutex_);
  return places_.contains(id);
}

TierUsage SsdTier::usage() const {
  const MutexLock lock(mutex_);
  TierUsage usage = books_.usage();
  usage.blocks = places_.size();
  usage.pinned_bytes = pinned_bytes_;
  return usage;
}

SsdCounters SsdTier::counters() const {
  const uint64_t depth = engine_->in_flight();
  DiskHealth::Counters disk = health_.counters();
  const MutexLock lock(mutex_);
  SsdCounters counters = counters_;
  counters.queue_depth = depth;
  counters.errors = disk.errors;
  counters.disk = std::move(disk);
  return counters;
}

absl::Status SsdTier::read_only() const {
  const MutexLock lock(mutex_);
  return read_only_;
}

bool SsdTier::Forget(const BlockId& id) {
  const auto found = places_.find(id);
  if (found == places_.end()) return false;
  const Place place = found->second;
  places_.erase(found);
  Segment& segment = *books_.at(place.slot);
  books_.CountDead(segment, place.bytes(), place.payload_bytes());
  if (place.heat > 0) segment.hot_bytes -= place.bytes();
  const auto pin = pins_.find(id);
  if (pin != pins_.end()) {
    std::unique_ptr<PinEntry> entry = std::move(pin->second);
    pins_.erase(pin);
    entry->is_erased = true;
    books_.AddLimbo(entry->bytes, entry->payload_bytes);
    const PinEntry* const key = entry.get();
    leaving_.emplace(key, std::move(entry));
  }
  AddEdit({.is_put = false, .key = BlockRowKey(id)});
  return true;
}

absl::Status SsdTier::PutNote(absl::string_view key, absl::string_view note) {
  BANYAN_RETURN_IF_ERROR(CanWrite());
  Catalogue::Batch batch;
  batch.Put(NoteRowKey(key), SerializeNote(key, note));
  return WriteBatchOfRows(batch, Catalogue::Log::kSynced);
}

absl::Status SsdTier::ForEachNote(
    absl::FunctionRef<absl::Status(absl::string_view, absl::string_view)>
        note) {
  return catalogue_->ForEach(
      "n", [&](absl::string_view key, absl::string_view value) -> absl::Status {
        BANYAN_ASSIGN_OR_RETURN(const std::string text, ParseNote(key, value));
        return note(key.substr(1), text);
      });
}

}  // namespace banyan::tiers
