// The writing half of the BlockStore: rooms, eviction, commit.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"

namespace banyan::engine {
namespace {

using server::Add;

absl::Status Invalid(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

absl::Status ValidateSize(uint64_t bytes, uint64_t piece_bytes,
                          uint64_t bytes_max) {
  if (bytes == 0)
    return Invalid("SIZE", "size: 0. Blocks hold at least 1 byte.");
  if (bytes > bytes_max) {
    return Invalid("SIZE",
                   absl::StrCat("size: ", FormatBytes(bytes), ", limit ",
                                FormatBytes(bytes_max), " (max-block-bytes)."));
  }
  if (piece_bytes != 0 &&
      PieceCount(bytes, std::min(bytes, piece_bytes)) == 0) {
    return Invalid("PIECES",
                   absl::StrCat("piece_bytes: ", piece_bytes, " makes over ",
                                kPiecesMax, " pieces. Use larger ones."));
  }
  return absl::OkStatus();
}

absl::Status ValidateSizes(const KeyRun& run, absl::Span<const uint64_t> sizes,
                           uint64_t piece_bytes, uint64_t block_bytes_max,
                           uint64_t write_bytes_max) {
  if (sizes.size() != 1 && sizes.size() != run.size()) {
    return Invalid("SIZE",
                   absl::StrCat("payload_bytes: ", sizes.size(), " sizes for ",
                                run.size(), " keys. Send one, or one a key."));
  }
  uint64_t total = 0;
  for (const uint64_t size : sizes) {
    BANYAN_RETURN_IF_ERROR(ValidateSize(size, piece_bytes, block_bytes_max));
    total += size;
  }
  if (sizes.size() == 1) total *= run.size();
  if (total > write_bytes_max) {
    return Invalid("SIZE", absl::StrCat("payload_bytes: ", FormatBytes(total),
                                        " in one write, limit ",
                                        FormatBytes(write_bytes_max),
                                        ". Split the batch."));
  }
  return absl::OkStatus();
}

absl::Status ValidateDistinct(const ChainIds& chain) {
  absl::flat_hash_map<BlockId, size_t> seen;
  for (size_t i = 0; i < chain.size(); ++i) {
    const auto [it, is_new] = seen.emplace(chain[i], i);
    if (!is_new) {
      return Invalid("KEYS",
                     absl::StrCat("blocks[", i, "]: same key as blocks[",
                                  it->second, "]."));
    }
  }
  return absl::OkStatus();
}

Checksum128 ContentDigest(absl::Span<const OpenWrite::Claim> claims) {
  Checksum128 digest;
  for (const OpenWrite::Claim& claim : claims) {
    std::vector<std::byte> text(claim.checksums.size() * kChecksumBytes);
    for (size_t i = 0; i < claim.checksums.size(); ++i) {
      StoreChecksum(claim.checksums[i], &text[i * kChecksumBytes]);
    }
    const Checksum128 one = Xxh3_128(text, digest.low + claim.ordinal);
    digest = {.low = one.low, .high = digest.high * 31 + one.high};
  }
  return digest;
}

// In a write by layers a block is what the namespace's layout says, and a piece
// is a layer.
absl::Status ValidateLayers(const KvLayout& layout,
                            absl::Span<const uint64_t> sizes,
                            uint64_t piece_bytes) {
  const auto bad = [&](absl::string_view field, uint64_t got, uint64_t want) {
    return Invalid("LAYERS",
                   absl::StrCat(field, ": ", got, " in a write by layers, but ",
                                "the layout of the namespace has ", want, "."));
  };
  for (const uint64_t size : sizes) {
    if (size != layout.block_bytes()) {
      return bad("payload_bytes", size, layout.block_bytes());
    }
  }
  if (piece_bytes == layout.layer_bytes()) return absl::OkStatus();
  return bad("piece_bytes", piece_bytes, layout.layer_bytes());
}

}  // namespace

bool BlockStore::EvictOne(const tiers::IncomingRun& incoming,
                          const tiers::RequestFacts& facts) {
  // Each candidate is tried once; what cannot go now counts as in use.
  for (size_t tries = policy_->size() + 1; tries > 0; --tries) {
    // With an SSD below, what comes in is not weighed against what is here:
    // refused it would be lost, and let in it is moved on if it is worth less.
    const std::optional<tiers::BlockRef> victim =
        cold_ != nullptr ? policy_->TakeVictim()
                         : policy_->TakeVictimFor(incoming, facts);
    if (!victim.has_value()) return false;
    const std::optional<BlockId> id = index_.IdOf(*victim);
    if (!id.has_value()) continue;  // Gone already.
    if (host_.IsPinned(*id)) {
      policy_->Retain(*victim);
      continue;
    }
    if (cold_ != nullptr && cold_->Contains(*id)) {
      host_.Erase(*id);
      Add(counters_.evicted_clean);
      return true;
    }
    const std::optional<BlockId> removed = index_.UnpublishLeaf(*victim);
    if (!removed.has_value()) {
      policy_->Retain(*victim);
      continue;
    }
    host_.Erase(*removed);
    Add(counters_.evictions);
    return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<tiers::StagedBlock>>
BlockStore::StageWithEviction(uint64_t payload_bytes,
                              const tiers::IncomingRun& incoming,
                              const tiers::RequestFacts& facts) {
  while (true) {
    auto staged = host_.Stage(payload_bytes);
    if (staged.ok() || !absl::IsResourceExhausted(staged.status())) {
      return staged;
    }
    if (!EvictOne(incoming, facts)) return staged;
  }
}

absl::StatusOr<BlockStore::Reserved> BlockStore::Reserve(
    absl::string_view session_id, uint64_t request_id, const Target& target,
    absl::Span<const uint64_t> payload_bytes, uint64_t piece_bytes,
    Durability durability, const tiers::ReuseHint& hint, WriteOrder order) {
  BANYAN_RETURN_IF_ERROR(sessions_.Touch(session_id));
  if (durability == Durability::kDurable) {
    BANYAN_RETURN_IF_ERROR(CanMakeDurable());
  }
  if (const auto record = writes_.FindRequest(session_id, request_id)) {
    return Reserved{.write_id = record->id,
                    .verdicts = record->verdicts,
                    .piece_bytes = record->piece_bytes,
                    .layers = record->layers};
  }
  BANYAN_ASSIGN_OR_RETURN(Resolved resolved, Resolve(target));
  uint32_t layers = 0;
  uint64_t block_bytes = 0;
  if (order == WriteOrder::kLayers) {
    BANYAN_ASSIGN_OR_RETURN(const KvLayout layout,
                            KvLayout::Of(resolved.ns->fingerprint));
    layers = layout.shape().layers;
    block_bytes = layout.block_bytes();
    if (payload_bytes.empty()) payload_bytes = {&block_bytes, 1};
    if (piece_bytes == 0) piece_bytes = layout.layer_bytes();
    BANYAN_RETURN_IF_ERROR(ValidateLayers(layout, payload_bytes, piece_bytes));
  }
  BANYAN_RETURN_IF_ERROR(ValidateSizes(target.run, payload_bytes, piece_bytes,
                                       options_.block_bytes_max,
                                       options_.write_bytes_max));
  BANYAN_RETURN_IF_ERROR(ValidateDistinct(resolved.chain));

  auto record = std::make_shared<WriteRecord>();
  record->id = RandomId();
  record->session_id = std::string(session_id);
  record->request_id = request_id;
  record->durability = durability;
  record->piece_bytes = piece_bytes;
  record->layers = layers;
  record->ns = resolved.ns;
  record->hint = hint;
  // Claim first, then ask what exists: a commit publishes before it unclaims,
  // so no block can slip in between.
  const std::vector<bool> claimed = writes_.Claim(resolved.chain.ids());
  std::vector<tiers::BlockRef> refs;
  index_.Find(resolved.chain.Run(), &refs);
  // What the new blocks hang on must not go to make room for them.
  const auto missing =
      std::find(refs.begin(), refs.end(), tiers::kNoBlock) - refs.begin();
  tiers::RequestFacts facts = FactsOf(resolved, target.run.first_block);
  policy_->Touch(absl::MakeConstSpan(refs).first(missing), facts);
  facts.first_block += static_cast<uint32_t>(missing);
  facts.hint = hint;
  tiers::IncomingRun incoming{
      .ids = resolved.chain.ids().subspan(missing),
      .parent = missing == 0 ? ParentOf(resolved.chain, 0) : refs[missing - 1]};
  std::vector<OpenWrite::Room> rooms;
  std::vector<BlockId> unclaimed;
  bool has_room = true;
  for (size_t i = 0; i < resolved.chain.size(); ++i) {
    const uint64_t size =
        payload_bytes.size() == 1 ? payload_bytes[0] : payload_bytes[i];
    incoming.next = i < static_cast<size_t>(missing) ? 0 : i - missing;
    WriteVerdict verdict = WriteVerdict::kWrite;
    if (refs[i] != tiers::kNoBlock) {
      verdict = WriteVerdict::kExists;
    } else if (!claimed[i]) {
      verdict = WriteVerdict::kInProgress;
    } else if (size > host_.block_bytes_max()) {
      verdict = WriteVerdict::kTooLarge;
    } else if (!has_room) {
      // No prefix reaches a block behind one that is not there.
      verdict = WriteVerdict::kNoCapacity;
    } else if (auto staged = StageWithEviction(size, incoming, facts);
               !staged.ok()) {
      verdict = WriteVerdict::kNoCapacity;
      has_room = false;
    } else {
      rooms.push_back(
          {.ordinal = static_cast<uint32_t>(i),
           .identity = IdentityOf(resolved, target, i),
           .payload_bytes = size,
           .piece_bytes = piece_bytes == 0 ? size : std::min(size, piece_bytes),
           .staged = *std::move(staged)});
    }
    if (verdict != WriteVerdict::kWrite && claimed[i]) {
      unclaimed.push_back(resolved.chain[i]);
    }
    record->verdicts.push_back(verdict);
  }
  writes_.Unclaim(unclaimed);
  record->chain = std::move(resolved.chain);
  Reserved reserved{.verdicts = record->verdicts,
                    .piece_bytes = piece_bytes,
                    .layers = layers};
  if (rooms.empty()) {
    BANYAN_RETURN_IF_ERROR(MakeExistingDurable(*record));
    return reserved;
  }
  record->write = std::make_shared<OpenWrite>(std::move(rooms), order);
  reserved.write_id = record->id;
  absl::Status status = writes_.Add(record);
  if (!status.ok()) {
    EndWrite(*record);
    return status;
  }
  // The session may have ended in between, after its writes were taken.
  status = sessions_.Touch(session_id);
  if (status.ok()) status = MakeExistingDurable(*record);
  if (!status.ok()) {
    Abort(session_id, record->id);
    return status;
  }
  return reserved;
}

absl::Status BlockStore::CanMakeDurable() {
  if (cold_ != nullptr) return cold_->CanMakeDurable();
  return MakeError(absl::StatusCode::kFailedPrecondition, "DURABILITY",
                   "durability: this node has no SSD. Start it with --ssd-dir, "
                   "or ask for memory.");
}

absl::Status BlockStore::MakeExistingDurable(const WriteRecord& record) {
  if (record.durability == Durability::kMemory) return absl::OkStatus();
  std::vector<uint32_t> existing;
  for (uint32_t i = 0; i < record.verdicts.size(); ++i) {
    if (record.verdicts[i] == WriteVerdict::kExists) existing.push_back(i);
  }
  if (existing.empty()) return absl::OkStatus();
  return cold_->MakeDurable(record.chain, existing);
}

bool BlockStore::IsDurable(absl::string_view session_id,
                           absl::string_view write_id) {
  const WriteRecordPtr record = writes_.Find(session_id, write_id);
  return record != nullptr && record->durability == Durability::kDurable;
}

void BlockStore::EndBadWrite(absl::string_view session_id,
                             absl::string_view write_id,
                             const absl::Status& status) {
  CountBadWrite(status);
  if (absl::IsDataLoss(status)) Abort(session_id, write_id);
}

void BlockStore::CountBadWrite(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  if (reason == "CHECKSUM") {
    Add(counters_.write_checksum);
  } else if (reason == "SIZE") {
    Add(counters_.write_size);
  } else if (reason == "OFFSET" || reason == "LENGTH" || reason == "ORDINAL" ||
             reason == "PIECE") {
    Add(counters_.write_order);
  } else if (reason == "FRAME" || reason == "CHECKSUMS") {
    Add(counters_.write_frame);
  } else if (reason == "WRITE") {
    Add(counters_.write_unknown);
  }
}

absl::StatusOr<std::shared_ptr<OpenWrite>> BlockStore::FindWrite(
    absl::string_view session_id, absl::string_view write_id) {
  const WriteRecordPtr record = writes_.Find(session_id, write_id);
  if (record == nullptr) return UnknownWrite();
  return record->write;
}

void BlockStore::NoteWriting(absl::string_view session_id,
                             absl::string_view write_id) {
  if (writes_.Find(session_id, write_id) == nullptr) return;
  sessions_.Touch(session_id).IgnoreError();
}

void BlockStore::EndWrite(const WriteRecord& record) {
  record.write->Drop();
  const std::vector<BlockId> ids = record.RoomIds();
  writes_.Unclaim(ids);
  Add(counters_.write_aborted, ids.size());
}

void BlockStore::Abort(absl::string_view session_id,
                       absl::string_view write_id) {
  const WriteRecordPtr record = writes_.Take(session_id, write_id);
  if (record != nullptr) EndWrite(*record);
}

tiers::BlockRef BlockStore::ParentOf(const ChainIds& chain,
                                     int64_t block) const {
  if (!chain.HasParent(block)) return tiers::kNoBlock;
  std::vector<tiers::BlockRef> found;
  index_.Find(chain.Run(block - 1, block), &found);
  return found[0];
}

void BlockStore::PublishRuns(const WriteRecord& record,
                             absl::Span<const uint32_t> ordinals) {
  size_t begin = 0;
  while (begin < ordinals.size()) {
    size_t end = begin + 1;
    while (end < ordinals.size() && ordinals[end] == ordinals[end - 1] + 1) {
      ++end;
    }
    const int64_t first = ordinals[begin];
    const tiers::BlockRef parent = ParentOf(record.chain, first);
    const index::IdRun run =
        record.chain.Run(first, ordinals[end - 1] + int64_t{1});
    std::vector<tiers::BlockRef> refs;
    index_.Publish(run, record.ns->number, NowTick(), &refs);
    const uint32_t prompt_blocks = run.first_block - ordinals[begin] +
                                   static_cast<uint32_t>(record.chain.size());
    policy_->Insert({.blocks = refs, .ids = run.ids, .parent = parent},
                    {.now = clock_.Now(),
                     .first_block = run.first_block,
                     .prompt_blocks = prompt_blocks,
                     .owner = record.ns->number});
    begin = end;
  }
}

void BlockStore::HintCommitted(const WriteRecord& record,
                               const tiers::ReuseHint& hint) {
  if (hint.is_empty()) return;
  std::vector<tiers::BlockRef> refs;
  index_.Find(record.chain.Run(), &refs);
  refs.erase(std::remove(refs.begin(), refs.end(), tiers::kNoBlock),
             refs.end());
  policy_->Hint(
      refs, {.now = clock_.Now(), .owner = record.ns->number, .hint = hint});
  Add(counters_.hints);
}

absl::StatusOr<BlockStore::Committed> BlockStore::Commit(
    absl::string_view session_id, absl::string_view write_id,
    absl::Span<const OpenWrite::Claim> claims, const tiers::ReuseHint& hint) {
  const Checksum128 content = ContentDigest(claims);
  const WriteRecordPtr record = writes_.Take(session_id, write_id);
  if (record == nullptr) {
    const auto outcome = writes_.FindOutcome(write_id);
    if (!outcome.has_value()) {
      CountBadWrite(UnknownWrite());
      return UnknownWrite();
    }
    if (outcome->content != content) {
      return MakeError(absl::StatusCode::kAlreadyExists, "CONTENT",
                       absl::StrCat("write: committed with different content "
                                    "(checksum ",
                                    ToHex(outcome->content).substr(0, 8),
                                    " vs ", ToHex(content).substr(0, 8), ")."));
    }
    return Committed{.outcomes = outcome->outcomes,
                     .is_repeat = true,
                     .durability = outcome->durability};
  }
  const absl::Status dropped = namespaces_.FindById(record->ns->id).status();
  if (!dropped.ok()) {
    EndWrite(*record);
    return dropped;
  }
  auto written = record->write->Finish(claims);
  if (!written.ok()) {
    CountBadWrite(written.status());
    EndWrite(*record);
    return written.status();
  }
  Committed committed{.durability = record->durability};
  std::vector<uint32_t> stored;
  std::vector<uint32_t> claimed;
  for (WrittenBlock& block : *written) {
    claimed.push_back(block.ordinal);
    const uint64_t bytes = block.header.payload_bytes;
    const std::vector<Checksum128> pieces = block.header.pieces;
    auto pin = host_.StorePinned(record->chain[block.ordinal],
                                 std::move(block.header), block.staged);
    committed.outcomes.push_back(pin.ok() ? WriteOutcome::kCommitted
                                          : WriteOutcome::kLostRace);
    if (pin.ok()) {
      block.growing->SetStored(pieces, *std::move(pin));
    } else {
      block.growing->Withdraw(std::move(block.staged));
      Add(counters_.publish_lost);
      continue;
    }
    stored.push_back(block.ordinal);
    Add(counters_.publish_blocks);
    Add(counters_.publish_bytes, bytes);
  }
  std::sort(stored.begin(), stored.end());
  PublishRuns(*record, stored);
  HintCommitted(*record, hint.is_empty() ? record->hint : hint);
  // Dropped while we published: nobody else will look for these blocks.
  if (!namespaces_.FindById(record->ns->id).ok()) {
    RemoveNamespaceBlocks(*record->ns);
  }
  absl::Status durable;
  if (record->durability == Durability::kDurable) {
    durable = cold_->MakeDurable(record->chain, claimed);
  }
  // A repeat must not be told OK where the first answer was that the blocks
  // are not durable.
  if (durable.ok()) {
    writes_.RememberOutcome(write_id, {.content = content,
                                       .outcomes = committed.outcomes,
                                       .durability = record->durability});
  }
  writes_.Unclaim(record->RoomIds());
  BANYAN_RETURN_IF_ERROR(durable);
  return committed;
}

}  // namespace banyan::engine
