#include "tiers/host/host_tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr int kBootShift = 48;

absl::Status CheckRecord(const BlockHeader& header, uint64_t generation,
                         uint64_t payload_bytes) {
  if (header.generation != generation) {
    return MakeError(
        absl::StatusCode::kDataLoss, "GENERATION",
        absl::StrCat("block header: of another generation (got ",
                     header.generation, ", want ", generation, ")"));
  }
  if (header.payload_bytes != payload_bytes) {
    return MakeError(
        absl::StatusCode::kDataLoss, "HEADER",
        absl::StrCat("block header: wrong payload length (got ",
                     header.payload_bytes, ", want ", payload_bytes, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

class HostTier::HostPin final : public BlockPin {
 public:
  HostPin(HostTier& tier, Record* record, BlockHeader header)
      : BlockPin(std::move(header)),
        tier_(tier),
        record_(record),
        slot_(record->slot),
        payload_(tier.Payload(record->slot, record->payload_bytes)) {}
  ~HostPin() override { tier_.Unpin(record_); }

  const HostTier& tier() const { return tier_; }
  const Slot& slot() const { return slot_; }

 private:
  absl::Span<const std::byte> payload() const override { return payload_; }

  HostTier& tier_;
  Record* const record_;
  const Slot slot_;
  const absl::Span<const std::byte> payload_;
};

class HostTier::HostStagedBlock final : public StagedBlock {
 public:
  HostStagedBlock(HostTier& tier, const Slot& slot, uint64_t payload_bytes)
      : tier_(tier), slot_(slot), payload_bytes_(payload_bytes) {}
  ~HostStagedBlock() override {
    if (!is_stored_) tier_.DiscardStaged(slot_);
  }

  absl::Span<std::byte> bytes() override {
    return tier_.Payload(slot_, payload_bytes_);
  }

  const HostTier& tier() const { return tier_; }
  const Slot& slot() const { return slot_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  void MarkStored() { is_stored_ = true; }

 private:
  HostTier& tier_;
  const Slot slot_;
  const uint64_t payload_bytes_;
  bool is_stored_ = false;
};

absl::StatusOr<std::unique_ptr<HostTier>> HostTier::Open(
    const Options& options) {
  BANYAN_ASSIGN_OR_RETURN(
      std::unique_ptr<Arena> arena,
      Arena::Create({.bytes = options.capacity_bytes,
                     .prefault = options.prefault,
                     .is_prefaulted_later = options.is_prefaulted_later,
                     .huge_pages = options.huge_pages}));
  return std::unique_ptr<HostTier>(new HostTier(options, std::move(arena)));
}

HostTier::HostTier(const Options& options, std::unique_ptr<Arena> arena)
    : arena_(std::move(arena)),
      boot_bits_(uint64_t{options.boot} << kBootShift),
      allocator_(options.capacity_bytes),
      slab_bytes_(allocator_.slab_bytes()),
      held_slots_(allocator_.slab_count()) {}

HostTier::~HostTier() {
  // A pin or staged block that outlives the tier would touch unmapped memory.
  const TierUsage now = usage();
  BANYAN_CHECK(now.staged_bytes == 0 && now.pinned_bytes == 0);
}

uint64_t HostTier::block_bytes_max() const { return arena_->bytes().size(); }

absl::Span<std::byte> HostTier::Payload(const Slot& slot,
                                        uint64_t payload_bytes) const {
  return arena_->bytes().subspan(slot.offset_bytes, payload_bytes);
}

uint64_t HostTier::NextGeneration() {
  const uint64_t count = ++generation_count_;
  BANYAN_CHECK(count >> kBootShift == 0);
  return boot_bits_ | count;
}

void HostTier::HoldSlabs(const Slot& slot) {
  const SlabRange slabs = SlabsOf(slot, slab_bytes_);
  for (uint32_t i = 0; i < slabs.count; ++i) ++held_slots_[slabs.first + i];
}

void HostTier::ReleaseSlabs(const Slot& slot) {
  const SlabRange slabs = SlabsOf(slot, slab_bytes_);
  for (uint32_t i = 0; i < slabs.count; ++i) --held_slots_[slabs.first + i];
}

void HostTier::FreeSlot(const Slot& slot) {
  const MutexLock lock(space_mutex_);
  allocator_.Free(slot);
}

void HostTier::DiscardStaged(const Slot& slot) {
  ReleaseSlabs(slot);
  FreeSlot(slot);
}

absl::StatusOr<std::unique_ptr<StagedBlock>> HostTier::Stage(
    uint64_t payload_bytes) {
  BANYAN_CHECK(payload_bytes > 0);
  if (payload_bytes > block_bytes_max()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "BLOCK_SIZE",
        absl::StrCat("payload_bytes: larger than the tier (got ", payload_bytes,
                     " B, limit ", block_bytes_max(),
                     " B). Use smaller blocks or a larger tier."));
  }
  std::optional<std::vector<TakenSlot>> to_move;
  std::optional<Slot> slot = AllocateOrBeginVacate(payload_bytes, to_move);
  if (to_move.has_value()) {
    for (const TakenSlot& taken : *to_move) {
      if (!Move(taken)) break;
    }
    slot = FinishVacate(payload_bytes);
  }
  if (!slot.has_value()) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TIER_FULL",
                     absl::StrCat("host tier: no room for ", payload_bytes,
                                  " B. Evict a block and retry."));
  }
  return std::make_unique<HostStagedBlock>(*this, *slot, payload_bytes);
}

absl::Status HostTier::Store(const BlockId& id, BlockHeader header,
                             std::unique_ptr<StagedBlock> staged) {
  return StoreRecord(id, header, *staged, 0).status();
}

absl::StatusOr<std::unique_ptr<BlockPin>> HostTier::StorePinned(
    const BlockId& id, BlockHeader header,
    std::unique_ptr<StagedBlock>& staged) {
  BANYAN_ASSIGN_OR_RETURN(Record* const record,
                          StoreRecord(id, header, *staged, 1));
  staged = nullptr;
  return std::make_unique<HostPin>(*this, record, std::move(header));
}

absl::StatusOr<HostTier::Record*> HostTier::StoreRecord(const BlockId& id,
                                                        BlockHeader& header,
                                                        StagedBlock& staged,
                                                        uint32_t pins) {
  auto* const block = dynamic_cast<HostStagedBlock*>(&staged);
  BANYAN_CHECK(block != nullptr && &block->tier() == this);
  BANYAN_CHECK(header.payload_bytes == block->payload_bytes());
  header.generation = NextGeneration();
  auto record = std::make_unique<Record>();
  record->id = id;
  record->slot = block->slot();
  record->payload_bytes = header.payload_bytes;
  record->generation = header.generation;
  record->header = SerializeBlockHeader(header);
  record->pin_count = pins;

  const Slot slot = block->slot();
  {
    // Before the block can be found, so that whoever finds it may free it.
    const MutexLock lock(space_mutex_);
    allocator_.Commit(slot, header.payload_bytes, id);
  }
  Record* const stored = record.get();
  bool is_new = false;
  {
    Shard& shard = ShardOf(id);
    const MutexLock lock(shard.mutex);
    is_new = shard.records.try_emplace(id, std::move(record)).second;
    if (is_new) ++block_count_;
    if (is_new && pins > 0) {
      HoldSlabs(slot);
      pinned_bytes_ += slot.bytes;
    }
  }
  if (is_new) {
    block->MarkStored();
    ReleaseSlabs(slot);
    return stored;
  }
  const MutexLock lock(space_mutex_);
  allocator_.Uncommit(slot);
  return absl::Status(absl::StatusCode::kAlreadyExists, "");
}

absl::StatusOr<std::unique_ptr<BlockPin>> HostTier::Pin(
    const BlockId& id, const BlockIdentity& identity) {
  Record* record = nullptr;
  {
    Shard& shard = ShardOf(id);
    const MutexLock lock(shard.mutex);
    const auto it = shard.records.find(id);
    // A miss is normal and frequent: no message, no allocation.
    if (it == shard.records.end()) {
      return absl::Status(absl::StatusCode::kNotFound, "");
    }
    record = it->second.get();
    if (record->pin_count++ == 0) {
      HoldSlabs(record->slot);
      pinned_bytes_ += record->slot.bytes;
    }
  }
  // From here on the record keeps its header and its slot.
  absl::StatusOr<BlockHeader> header =
      ParseBlockHeaderOf(record->header, identity);
  absl::Status status = header.status();
  if (status.ok()) {
    status = CheckRecord(*header, record->generation, record->payload_bytes);
  }
  if (!status.ok()) {
    Unpin(record);
    return status;
  }
  return std::make_unique<HostPin>(*this, record, *std::move(header));
}

absl::StatusOr<BlockHeader> HostTier::ReadHeader(const BlockId& id) const {
  std::vector<std::byte> bytes;
  uint64_t generation = 0;
  uint64_t payload_bytes = 0;
  {
    const Shard& shard = ShardOf(id);
    const MutexLock lock(shard.mutex);
    const auto it = shard.records.find(id);
    if (it == shard.records.end()) {
      return absl::Status(absl::StatusCode::kNotFound, "");
    }
    bytes = it->second->header;
    generation = it->second->generation;
    payload_bytes = it->second->payload_bytes;
  }
  BANYAN_ASSIGN_OR_RETURN(BlockHeader header, ParseBlockHeader(bytes));
  BANYAN_RETURN_IF_ERROR(CheckRecord(header, generation, payload_bytes));
  return header;
}

void HostTier::Unpin(Record* record) {
  const Slot slot = record->slot;
  std::unique_ptr<Record> gone;
  {
    Shard& shard = ShardOf(record->id);
    const MutexLock lock(shard.mutex);
    if (--record->pin_count > 0) return;
    ReleaseSlabs(slot);
    pinned_bytes_ -= slot.bytes;
    if (!record->is_erased || record->is_moving) return;
    gone = std::move(shard.leaving.extract(record).mapped());
  }
  FreeSlot(slot);
}

void HostTier::Erase(const BlockId& id) {
  std::unique_ptr<Record> gone;
  {
    Shard& shard = ShardOf(id);
    const MutexLock lock(shard.mutex);
    const auto it = shard.records.find(id);
    if (it == shard.records.end()) return;
    gone = std::move(it->second);
    shard.records.erase(it);
    --block_count_;
    gone->is_erased = true;
    if (gone->pin_count > 0 || gone->is_moving) {
      const Record* const key = gone.get();
      shard.leaving.emplace(key, std::move(gone));
      return;
    }
  }
  FreeSlot(gone->slot);
}

bool HostTier::IsPinned(const BlockId& id) const {
  const Shard& shard = ShardOf(id);
  const MutexLock lock(shard.mutex);
  const auto it = shard.records.find(id);
  return it != shard.records.end() && it->second->pin_count > 0;
}

TierUsage HostTier::usage() const {
  TierUsage usage;
  {
    const MutexLock lock(space_mutex_);
    usage = allocator_.usage();
  }
  usage.blocks = block_count_;
  // Read a moment later: must not exceed its whole.
  usage.pinned_bytes = std::min<uint64_t>(pinned_bytes_, usage.used_bytes);
  return usage;
}

absl::Status HostTier::AddSizeClass(uint64_t block_bytes) {
  const MutexLock lock(space_mutex_);
  return allocator_.AddSizeClass(block_bytes);
}

double HostTier::UnusableShare(uint64_t block_bytes) const {
  const MutexLock lock(space_mutex_);
  return allocator_.UnusableShare(block_bytes);
}

Slot HostTier::SlotOf(const BlockPin& pin) const {
  const auto* const host_pin = dynamic_cast<const HostPin*>(&pin);
  BANYAN_CHECK(host_pin != nullptr && &host_pin->tier() == this);
  return host_pin->slot();
}

}  // namespace banyan::tiers
