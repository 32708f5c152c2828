#include "cache_server/engine/cold_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::engine {
namespace {

using server::Add;
using tiers::BlockRef;
using tiers::kNoBlock;
using tiers::SsdTier;

// One batch of copies: large enough to keep the disk busy, small enough to
// stay well below the tier's staging memory, and to leave the policy victims
// for those who need room at once.
constexpr uint64_t kBatchBytes = 16 * kMiB;
constexpr uint64_t kBatchesInMemory = 16;
constexpr size_t kBatchBlocks = 256;
// Victims that cannot go now, in a row, before a batch gives up.
constexpr int kRefusalsMax = 64;
constexpr absl::Duration kRetryInterval = absl::Seconds(1);

absl::Status NotDurable(const absl::Status& cause) {
  return MakeError(
      absl::StatusCode::kUnavailable, "DURABILITY",
      absl::StrCat("durability: stored in memory, not on disk (",
                   cause.message(), "). Send again, or ask for memory."));
}

}  // namespace

ColdStore::ColdStore(const Options& options, Parts parts)
    : options_(options),
      parts_(std::move(parts)),
      decoded_bytes_(options.decoded_bytes_max) {}

// --- Reading.

std::vector<lease::PinnedBlock> ColdStore::Read(
    absl::Span<const Wanted> wanted, absl::Duration timeout,
    absl::FunctionRef<bool(const BlockHeader&)> admits) {
  std::vector<SsdTier::PinRequest> requests;
  for (const Wanted& block : wanted) {
    requests.push_back({.id = block.id, .identity = block.identity});
  }
  auto results =
      parts_.ssd.PinBatch(requests, std::min(options_.read_timeout, timeout));
  std::vector<lease::PinnedBlock> pinned;
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) {
      if (!admits((*results[i])->header())) continue;
      results[i] = Decoded(wanted[i], *std::move(results[i]));
    }
    if (results[i].ok()) {
      pinned.push_back({.ordinal = wanted[i].ordinal,
                        .id = wanted[i].id,
                        .tier = tiers::TierKind::kSsd,
                        .pin = *std::move(results[i])});
    } else if (absl::IsDeadlineExceeded(results[i].status())) {
      Add(parts_.counters.cold_late);
    } else if (absl::IsResourceExhausted(results[i].status())) {
      Add(parts_.counters.cold_refused);
    } else {
      Add(parts_.counters.cold_failed);
    }
  }
  return pinned;
}

absl::StatusOr<std::unique_ptr<tiers::BlockPin>> ColdStore::Decoded(
    const Wanted& block, std::unique_ptr<tiers::BlockPin> pin) {
  const bool is_encoded = Representation::Of(pin->header().codec).is_encoded;
  if (!is_encoded || !block.block.has_value()) return pin;
  BANYAN_ASSIGN_OR_RETURN(
      const NamespacePtr ns,
      parts_.namespaces.FindById(block.identity.namespace_id));
  if (ns->ssd_coding == nullptr) {
    return MakeError(absl::StatusCode::kDataLoss, "CODEC",
                     "block: encoded, in a namespace without a codec.");
  }
  ByteBudget::Hold hold = decoded_bytes_.Take(ns->ssd_coding->block_bytes());
  if (hold == nullptr) {
    return MakeError(absl::StatusCode::kResourceExhausted, "DECODED",
                     "block: too many are being decoded.");
  }
  auto decoded = ns->ssd_coding->Decode(*pin, *block.block, std::move(hold));
  if (!decoded.ok()) {
    Add(parts_.counters.cold_undecodable);
    Erase(block.id);
    parts_.drops.OnDropped({block.id});
  }
  return decoded;
}

void ColdStore::TouchLater(absl::Span<const BlockId> ids) {
  MutexLock lock(mutex_);
  // More come before the mover's next step only if it is held up by the disk.
  if (touches_.size() + ids.size() > options_.touches_max) return;
  touches_.insert(touches_.end(), ids.begin(), ids.end());
}

void ColdStore::TouchSome() {
  std::vector<BlockId> ids;
  {
    MutexLock lock(mutex_);
    ids.swap(touches_);
  }
  // In parts, so that no reader waits long for the tier's lock.
  constexpr size_t kAtOnce = 256;
  absl::Span<const BlockId> left = ids;
  while (!left.empty()) {
    parts_.ssd.Touch(left.first(std::min(kAtOnce, left.size())));
    left.remove_prefix(std::min(kAtOnce, left.size()));
  }
}

void ColdStore::PromoteLater(lease::PinSet pins, std::vector<BlockRef> refs,
                             uint32_t first_block) {
  MutexLock lock(mutex_);
  if (promotions_.size() >= options_.promotions_max) return;
  promotions_.push_back({.pins = std::move(pins),
                         .refs = std::move(refs),
                         .first_block = first_block});
}

uint64_t ColdStore::PromoteSome() {
  Promotion promotion;
  {
    MutexLock lock(mutex_);
    if (promotions_.empty()) return 0;
    promotion = std::move(promotions_.front());
    promotions_.pop_front();
  }
  uint64_t bytes = 0;
  std::vector<bool> is_promoted(promotion.refs.size());
  for (const lease::PinnedBlock& block : *promotion.pins) {
    if (block.tier != tiers::TierKind::kSsd) continue;
    const uint64_t moved = PromoteOne(block);
    is_promoted[block.ordinal] = moved > 0;
    bytes += moved;
  }
  TrackPromoted(promotion, is_promoted);
  return bytes;
}

// Only into room that is free: what is in memory was asked for more recently
// than anybody knows of this block.
uint64_t ColdStore::PromoteOne(const lease::PinnedBlock& block) {
  const BlockHeader& header = block.pin->header();
  auto staged = parts_.host.Stage(header.payload_bytes);
  if (!staged.ok()) return 0;
  for (uint32_t piece = 0; piece < header.piece_count(); ++piece) {
    const auto verified = block.pin->ReadPiece(piece);
    if (!verified.ok()) return 0;
    std::memcpy((*staged)->bytes().data() + header.PieceOffset(piece),
                verified->bytes().data(), verified->bytes().size());
  }
  if (!parts_.host.Store(block.id, header, *std::move(staged)).ok()) return 0;
  Add(parts_.counters.promotions);
  return header.payload_bytes;
}

void ColdStore::TrackPromoted(const Promotion& promotion,
                              const std::vector<bool>& is_promoted) {
  absl::flat_hash_map<uint32_t, BlockId> ids;
  for (const lease::PinnedBlock& block : *promotion.pins) {
    ids[block.ordinal] = block.id;
  }
  size_t begin = 0;
  while (begin < is_promoted.size()) {
    size_t end = begin;
    std::vector<BlockRef> run;
    std::vector<BlockId> run_ids;
    // A ref that names another block by now ends the run: the block is gone.
    while (end < is_promoted.size() && is_promoted[end] &&
           parts_.index.IdOf(promotion.refs[end]) == ids[end]) {
      run.push_back(promotion.refs[end]);
      run_ids.push_back(ids[end]);
      ++end;
    }
    if (end == begin) {
      if (is_promoted[begin]) parts_.host.Erase(ids[begin]);
      ++begin;
      continue;
    }
    parts_.policy.Insert(
        {.blocks = run,
         .ids = run_ids,
         .parent = begin == 0 ? kNoBlock : promotion.refs[begin - 1]},
        {.now = parts_.clock.Now(),
         .first_block = promotion.first_block + static_cast<uint32_t>(begin)});
    begin = end;
  }
}

// --- Durability.

absl::Status ColdStore::CanMakeDurable() {
  absl::Status status = parts_.ssd.CanWrite();
  if (!status.ok()) Add(parts_.counters.durable_refused);
  return status;
}

index::BlockPlace ColdStore::PlaceIn(const ChainIds& chain, uint32_t ordinal) {
  const index::IdRun run = chain.Run(ordinal, ordinal + int64_t{1});
  index::BlockPlace place{.head = run.ids[0], .depth = run.first_block};
  if (!chain.StartsGroup(ordinal)) {
    place.head = run.lead[0];
    place.parent = run.lead.back();
  }
  return place;
}

absl::StatusOr<std::optional<SsdCoding::Encoded>> ColdStore::EncodedByPolicy(
    const tiers::BlockPin& pin, uint32_t block) {
  const auto ns =
      parts_.namespaces.FindById(pin.header().identity.namespace_id);
  // Dropped meanwhile, or it has no policy.
  if (!ns.ok() || (*ns)->ssd_coding == nullptr) return std::nullopt;
  BANYAN_ASSIGN_OR_RETURN(auto encoded, (*ns)->ssd_coding->Encode(pin, block));
  Add(encoded.has_value() ? parts_.counters.encoded_blocks
                          : parts_.counters.unencoded_blocks);
  return encoded;
}

absl::StatusOr<SsdTier::StoreRequest> ColdStore::CopyToStage(
    const BlockId& id, const index::BlockPlace& place, Form form) {
  BANYAN_ASSIGN_OR_RETURN(const BlockHeader stored, parts_.host.ReadHeader(id));
  const PlaceRecord record{
      .namespace_id = stored.identity.namespace_id,
      .group_blocks = static_cast<uint16_t>(parts_.index.group_blocks()),
      .place = place};
  BANYAN_ASSIGN_OR_RETURN(const auto pin, parts_.host.Pin(id, stored.identity));
  if (form == Form::kByPolicy) {
    BANYAN_ASSIGN_OR_RETURN(auto encoded, EncodedByPolicy(*pin, place.depth));
    if (encoded.has_value()) {
      const absl::Span<const std::byte> payload = encoded->payload();
      BANYAN_ASSIGN_OR_RETURN(auto staged, parts_.ssd.Stage(payload.size()));
      std::memcpy(staged->bytes().data(), payload.data(), payload.size());
      return SsdTier::StoreRequest{.id = id,
                                   .header = std::move(encoded->header),
                                   .staged = std::move(staged),
                                   .annotation = SerializePlaceRecord(record)};
    }
  }
  const BlockHeader& header = pin->header();
  BANYAN_ASSIGN_OR_RETURN(auto staged, parts_.ssd.Stage(header.payload_bytes));
  for (uint32_t piece = 0; piece < header.piece_count(); ++piece) {
    BANYAN_ASSIGN_OR_RETURN(const auto verified, pin->ReadPiece(piece));
    std::memcpy(staged->bytes().data() + header.PieceOffset(piece),
                verified.bytes().data(), verified.bytes().size());
  }
  return SsdTier::StoreRequest{.id = id,
                               .header = header,
                               .staged = std::move(staged),
                               .annotation = SerializePlaceRecord(record)};
}

absl::Status ColdStore::StoreMissing(const ChainIds& chain,
                                     absl::Span<const uint32_t> ordinals) {
  std::vector<SsdTier::StoreRequest> requests;
  uint64_t bytes = 0;
  const auto flush = [&]() -> absl::Status {
    bytes = 0;
    for (const absl::Status& status : parts_.ssd.StoreBatch(
             std::exchange(requests, {}), SsdTier::Durability::kWritten)) {
      if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
    }
    return absl::OkStatus();
  };
  for (const uint32_t ordinal : ordinals) {
    if (Contains(chain[ordinal])) continue;
    BANYAN_ASSIGN_OR_RETURN(
        auto request,
        CopyToStage(chain[ordinal], PlaceIn(chain, ordinal), Form::kAsItIs));
    bytes += request.header.payload_bytes;
    requests.push_back(std::move(request));
    if (bytes >= kBatchBytes) BANYAN_RETURN_IF_ERROR(flush());
  }
  return flush();
}

absl::Status ColdStore::MakeDurable(const ChainIds& chain,
                                    absl::Span<const uint32_t> ordinals) {
  absl::Status status = WriteNotesNow();
  if (status.ok()) status = StoreMissing(chain, ordinals);
  if (status.ok()) status = parts_.ssd.Sync();
  // Somebody may have removed the blocks meanwhile; see FinishLeaving.
  for (const uint32_t ordinal : ordinals) {
    const BlockId& id = chain[ordinal];
    if (parts_.index.FindAt(id, PlaceIn(chain, ordinal)) == kNoBlock) {
      Erase(id);
    }
  }
  if (!status.ok()) {
    Add(parts_.counters.durable_refused);
    return NotDurable(status);
  }
  Add(parts_.counters.durable_blocks, ordinals.size());
  return absl::OkStatus();
}

// --- Moving to the SSD.

bool ColdStore::IsMemoryShort() const {
  const tiers::TierUsage usage = parts_.host.usage();
  const auto taken = static_cast<double>(usage.used_bytes + usage.staged_bytes +
                                         usage.waste_bytes);
  return taken >
         options_.demote_above * static_cast<double>(usage.capacity_bytes);
}

bool ColdStore::TakeLeaving(Batch& batch) {
  const auto victim = parts_.policy.TakeVictim();
  if (!victim.has_value()) return false;
  const auto id = parts_.index.IdOf(*victim);
  if (!id.has_value()) return true;  // Gone already.
  if (parts_.host.IsPinned(*id)) {
    parts_.policy.Retain(*victim);
    return false;
  }
  if (Contains(*id)) {
    parts_.host.Erase(*id);
    Add(parts_.counters.evicted_clean);
    return true;
  }
  const auto heat = parts_.index.Heat(*victim);
  const auto place = parts_.index.PlaceOf(*victim);
  const bool is_admitted =
      heat.has_value() && place.has_value() &&
      parts_.admission.Admits({.touches = heat->touches, .depth = heat->depth});
  if (is_admitted) {
    return CopyLeaving({.ref = *victim,
                        .id = *id,
                        .place = *place,
                        .last_touch = heat->last_touch},
                       batch);
  }
  if (const auto removed = parts_.index.UnpublishLeaf(*victim)) {
    parts_.host.Erase(*removed);
    Add(parts_.counters.evictions);
    return true;
  }
  parts_.policy.Retain(*victim);
  return false;
}

bool ColdStore::CopyLeaving(Leaving leaving, Batch& batch) {
  auto request = CopyToStage(leaving.id, leaving.place, Form::kByPolicy);
  if (request.ok()) {
    leaving.bytes = request->header.payload_bytes;
    batch.bytes += leaving.bytes;
    batch.leaving.push_back(std::move(leaving));
    batch.requests.push_back(*std::move(request));
    return true;
  }
  if (absl::IsDataLoss(request.status())) {
    Add(parts_.counters.corrupt_checksum);
    parts_.forget(leaving.ref);
    return true;
  }
  parts_.policy.Retain(leaving.ref);
  Add(parts_.counters.demotions_failed);
  batch.is_refused = true;
  return false;
}

bool ColdStore::FinishLeaving(const Leaving& leaving,
                              const absl::Status& stored) {
  const bool has_copy = stored.ok() || absl::IsAlreadyExists(stored);
  // Whoever removes a block takes it from the index first and from the tiers
  // after that. So a block that is gone from the index now was maybe removed
  // before its copy was there; and one that is not will be erased in full.
  if (parts_.index.FindAt(leaving.id, leaving.place) == kNoBlock) {
    Erase(leaving.id);
    return has_copy;
  }
  const auto heat = parts_.index.Heat(leaving.ref);
  const bool was_asked_for =
      heat.has_value() && heat->last_touch != leaving.last_touch;
  if (!has_copy) Add(parts_.counters.demotions_failed);
  if (!has_copy || was_asked_for) {
    parts_.policy.Retain(leaving.ref);
    return has_copy;
  }
  parts_.host.Erase(leaving.id);
  Add(parts_.counters.demotions);
  Add(parts_.counters.demoted_bytes, leaving.bytes);
  return true;
}

uint64_t ColdStore::DemoteSome() {
  const bool is_due = parts_.clock.Now() >= retry_at_ && IsMemoryShort();
  if (!is_due || !parts_.ssd.CanWrite().ok()) return 0;
  return DemoteBatch(While::kMemoryIsShort);
}

uint64_t ColdStore::DemoteEverything(absl::Duration timeout) {
  const absl::Duration end = parts_.clock.Now() + timeout;
  uint64_t bytes = 0;
  // What cannot go, because it is pinned or the disk refuses, stays tracked.
  size_t left = parts_.policy.size() + 1;
  while (parts_.policy.size() < left && parts_.clock.Now() < end &&
         parts_.ssd.CanWrite().ok()) {
    left = parts_.policy.size();
    bytes += DemoteBatch(While::kThereIsSome);
  }
  return bytes;
}

ColdStore::Batch ColdStore::CollectLeaving(While condition) {
  Batch batch;
  uint64_t freed = 0;
  int refusals = 0;
  const uint64_t bytes_max = std::min(
      kBatchBytes, parts_.host.usage().capacity_bytes / kBatchesInMemory);
  while (batch.bytes <= bytes_max && freed < kBatchBlocks &&
         batch.leaving.size() < kBatchBlocks && refusals < kRefusalsMax) {
    const size_t before = batch.leaving.size();
    if (!TakeLeaving(batch)) {
      ++refusals;
      if (batch.is_refused || parts_.policy.size() == 0) break;
    } else if (batch.leaving.size() == before) {
      ++freed;
      if (condition == While::kMemoryIsShort && !IsMemoryShort()) break;
    }
  }
  return batch;
}

uint64_t ColdStore::DemoteBatch(While condition) {
  Batch batch = CollectLeaving(condition);
  const std::vector<absl::Status> stored = parts_.ssd.StoreBatch(
      std::move(batch.requests), SsdTier::Durability::kWritten);
  bool has_failed = batch.is_refused;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!FinishLeaving(batch.leaving[i], stored[i])) has_failed = true;
  }
  // A disk that is full or in trouble is not asked again at once.
  if (has_failed) retry_at_ = parts_.clock.Now() + kRetryInterval;
  return has_failed ? 0 : batch.bytes;
}

void ColdStore::Tick() {
  for (const BlockId& id : parts_.drops.Take()) {
    // It may be in memory, or may have been stored again since.
    if (parts_.host.ReadHeader(id).ok() || Contains(id)) continue;
    const BlockRef ref = parts_.index.FindAnywhere(id);
    if (ref == kNoBlock) continue;
    Add(parts_.counters.evicted_cold);
    parts_.forget(ref);
  }
}

// --- Namespaces.

void ColdStore::NoteNamespace(NamespacePtr ns) {
  MutexLock lock(mutex_);
  std::string id = ns->id;
  notes_.push_back({.id = std::move(id), .ns = std::move(ns)});
}

void ColdStore::ForgetNamespace(const Namespace& ns) {
  MutexLock lock(mutex_);
  // A disk that does not take notes must not keep calibrations in memory.
  for (Note& note : notes_) {
    if (note.id == ns.id) note.ns = nullptr;
  }
  notes_.push_back({.id = ns.id,
                    .is_gone = true,
                    .parts = PartsOf(ns.calibration_bytes()).size()});
}

// The parts of a calibration first, and last: no note of a namespace lacks them.
absl::Status ColdStore::WriteNote(const Note& note) {
  tiers::SsdTier& ssd = parts_.ssd;
  if (note.is_gone) {
    BANYAN_RETURN_IF_ERROR(ssd.PutNote(note.id, ""));
    for (size_t i = 0; i < note.parts; ++i) {
      BANYAN_RETURN_IF_ERROR(ssd.PutNote(PartKey(note.id, i), ""));
    }
  }
  if (note.ns == nullptr) return absl::OkStatus();
  NamespaceNote text{.name = note.ns->name,
                     .fingerprint = note.ns->fingerprint,
                     .ssd_policy = note.ns->ssd_policy};
  SetCalibration(note.ns->calibration_bytes(), text);
  const auto parts = PartsOf(note.ns->calibration_bytes());
  for (size_t i = 0; i < parts.size(); ++i) {
    BANYAN_RETURN_IF_ERROR(ssd.PutNote(PartKey(note.id, i), parts[i]));
  }
  return ssd.PutNote(note.id, SerializeNamespaceNote(text));
}

absl::Status ColdStore::WriteNotesNow() {
  MutexLock writing(notes_writing_);
  std::vector<Note> notes;
  {
    MutexLock lock(mutex_);
    notes = notes_;
  }
  for (const Note& note : notes) BANYAN_RETURN_IF_ERROR(WriteNote(note));
  MutexLock lock(mutex_);
  notes_.erase(notes_.begin(), notes_.begin() + notes.size());
  return absl::OkStatus();
}

void ColdStore::WriteNotes() {
  // The disk's troubles are counted where they are; the notes stay.
  WriteNotesNow().IgnoreError();
}

// One that this version does not understand, as a newer one may have written it,
// keeps its blocks and its note, and nobody gets or writes any. A note that cannot
// be read costs a namespace its name until it is opened again, and no block.
void ColdStore::RecoverNamespace(FoundNamespace found) {
  auto note = ParseNamespaceNote(found.text);
  if (!note.ok()) return;
  if (note->calibration_bytes > 0) {
    // Behind it may be what is left of a longer one.
    found.calibration.resize(
        std::min<uint64_t>(found.calibration.size(), note->calibration_bytes));
    note->calibration = std::move(found.calibration);
  }
  absl::Status status =
      NamespaceRegistry::IdOf(note->name, note->fingerprint) == found.id
          ? parts_.namespaces
                .Recover(note->name, note->fingerprint, note->ssd_policy,
                         note->calibration)
                .status()
          : absl::DataLossError("its note has more than is known here");
  if (status.ok()) return;
  Add(parts_.counters.namespaces_refused);
  parts_.namespaces.Refuse(note->name, found.id, status);
}

absl::StatusOr<absl::flat_hash_set<std::string>>
ColdStore::RecoverNamespaces() {
  absl::flat_hash_set<std::string> dropped;
  FoundNamespace found;
  const auto finish = [&] {
    if (found.text.empty()) {
      if (!found.id.empty()) dropped.insert(found.id);
    } else {
      RecoverNamespace(std::move(found));
    }
  };
  BANYAN_RETURN_IF_ERROR(parts_.ssd.ForEachNote(
      [&](absl::string_view key, absl::string_view text) -> absl::Status {
        if (key.size() > kNamespaceIdBytes && absl::StartsWith(key, found.id)) {
          absl::StrAppend(&found.calibration, text);
          return absl::OkStatus();
        }
        finish();
        found = {.id = std::string(key), .text = std::string(text)};
        return absl::OkStatus();
      }));
  finish();
  return dropped;
}

absl::Status ColdStore::RecoverBlocks(
    RecoveredBlocks::Found found,
    const absl::flat_hash_set<std::string>& dropped) {
  for (const uint16_t blocks : {found.group_blocks, found.other_group_blocks}) {
    if (blocks == 0 || blocks == parts_.index.group_blocks()) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition, "GROUPS",
                     absl::StrCat("group-blocks: ", parts_.index.group_blocks(),
                                  ", but the data was written with ", blocks,
                                  ". Start with that."));
  }
  constexpr uint32_t kDropped = 0;  // No namespace has this number.
  std::vector<uint32_t> numbers;
  for (const std::string& id : found.namespace_ids) {
    numbers.push_back(dropped.contains(id) ? kDropped
                                           : parts_.namespaces.NumberOf(id));
  }
  for (index::RestoredBlock& block : found.blocks) {
    block.ns = numbers[block.ns];
    if (block.ns == kDropped) found.unplaced.push_back(block.id);
  }
  std::erase_if(found.blocks, [](const index::RestoredBlock& block) {
    return block.ns == kDropped;
  });
  for (const BlockId& id : found.unplaced) Erase(id);
  parts_.index.Restore(found.blocks);
  Add(parts_.counters.recovered_blocks, found.blocks.size());
  return absl::OkStatus();
}

absl::Status ColdStore::Recover(RecoveredBlocks& recovered) {
  BANYAN_ASSIGN_OR_RETURN(const auto dropped, RecoverNamespaces());
  return RecoverBlocks(recovered.Take(), dropped);
}

}  // namespace banyan::engine
