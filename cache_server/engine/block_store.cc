#include "cache_server/engine/block_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::engine {
namespace {

using server::Add;

constexpr absl::Duration kTtlMin = absl::Milliseconds(100);
constexpr absl::Duration kTtlMax = absl::Hours(24);
constexpr size_t kSaltBytesMax = 256;
constexpr absl::string_view kColdReason = "COLD";

absl::Status Invalid(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

absl::Status ValidateSalt(absl::string_view salt) {
  if (salt.size() > kSaltBytesMax) {
    return Invalid("SALT", absl::StrCat("cache_salt: ", salt.size(),
                                        " bytes, limit ", kSaltBytesMax, "."));
  }
  for (const unsigned char c : salt) {
    if (c < 0x20 || c == 0x7f) {
      return Invalid("SALT",
                     "cache_salt: has a control byte. Use printable bytes.");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateKeys(const KeyRun& run, uint32_t keys_max) {
  if (run.keys.empty()) {
    return Invalid("KEYS",
                   absl::StrCat("keys: empty. Send 1 to ", keys_max, " keys."));
  }
  if (run.key_bytes == 0 || run.key_bytes > kKeyBytesMax) {
    return Invalid("KEYS", absl::StrCat("key_bytes: ", run.key_bytes,
                                        ", need 1 to ", kKeyBytesMax, "."));
  }
  if (run.keys.size() % run.key_bytes != 0) {
    return Invalid("KEYS", absl::StrCat("keys: ", run.keys.size(),
                                        " bytes are no multiple of key_bytes ",
                                        run.key_bytes, "."));
  }
  if (run.size() > keys_max) {
    return Invalid("KEYS", absl::StrCat("keys: ", run.size(), " given, limit ",
                                        keys_max, ". Split the batch."));
  }
  return absl::OkStatus();
}

absl::Status ValidateLead(const KeyRun& run, uint32_t group_blocks) {
  if (run.first_block > UINT32_MAX - run.size()) {
    return Invalid("KEYS", "first_block: first_block + keys overflows.");
  }
  const size_t need =
      run.first_block == 0 ? 0 : (run.first_block - 1) % group_blocks + 1;
  if (run.lead.size() == need * run.key_bytes) return absl::OkStatus();
  return Invalid("KEYS",
                 absl::StrCat("lead: ", run.lead.size(), " bytes, need ", need,
                              " keys before block ", run.first_block,
                              " (groups have ", group_blocks, " blocks)."));
}

absl::Status ValidateTtl(absl::Duration ttl) {
  if (ttl >= kTtlMin && ttl <= kTtlMax) return absl::OkStatus();
  return Invalid("TTL", absl::StrCat("ttl: ", absl::FormatDuration(ttl),
                                     "; allowed 100ms to 24h."));
}

// Keeps blocks 0, 1, 2 ... up to the first that is missing.
void CutAtFirstGap(std::vector<lease::PinnedBlock>& pinned) {
  size_t count = 0;
  while (count < pinned.size() && pinned[count].ordinal == count) ++count;
  pinned.erase(pinned.begin() + count, pinned.end());
}

}  // namespace

bool IsDeferred(const absl::Status& status) {
  return absl::IsUnavailable(status) && ErrorReason(status) == kColdReason;
}

BlockStore::BlockStore(const Options& options, tiers::Tier& host,
                       std::unique_ptr<tiers::EvictionPolicy> policy,
                       const Clock& clock, const Cold& cold)
    : options_(options),
      host_(host),
      policy_(std::move(policy)),
      clock_(clock),
      index_(options.index),
      namespaces_(options.namespaces),
      sessions_(options.sessions, clock),
      leases_(options.leases, clock),
      writes_(options.writes, clock),
      cold_(cold.ssd == nullptr
                ? nullptr
                : std::make_unique<ColdStore>(
                      cold.options,
                      ColdStore::Parts{.ssd = *cold.ssd,
                                       .host = host_,
                                       .index = index_,
                                       .policy = *policy_,
                                       .admission = *cold.admission,
                                       .namespaces = namespaces_,
                                       .drops = *cold.drops,
                                       .counters = counters_,
                                       .clock = clock_,
                                       .forget = [this](tiers::BlockRef ref) {
                                         RemoveSubtree(ref);
                                       }})) {}

BlockStore::~BlockStore() = default;

uint32_t BlockStore::NowTick() const {
  return static_cast<uint32_t>(absl::ToInt64Milliseconds(clock_.Now()) * 16 /
                               1000);
}

absl::StatusOr<std::string> BlockStore::OpenSession(
    absl::string_view client_id) {
  BANYAN_ASSIGN_OR_RETURN(const auto opened, sessions_.Open(client_id));
  Add(counters_.sessions_opened);
  if (!opened.fenced_id.empty()) {
    Add(counters_.sessions_fenced);
    EndSession(opened.fenced_id);
  }
  return opened.id;
}

absl::Status BlockStore::TouchSession(absl::string_view session_id) {
  return sessions_.Touch(session_id);
}

void BlockStore::EndSession(absl::string_view session_id) {
  if (sessions_.End(session_id)) Add(counters_.sessions_ended);
  leases_.ReleaseSession(session_id);
  for (const WriteRecordPtr& record : writes_.TakeSession(session_id)) {
    EndWrite(*record);
  }
}

absl::StatusOr<NamespaceRegistry::Opened> BlockStore::OpenNamespace(
    absl::string_view name, const Fingerprint& fingerprint,
    const SsdPolicy& ssd_policy, absl::string_view calibration) {
  auto opened = namespaces_.Open(name, fingerprint, ssd_policy, calibration);
  if (!opened.ok()) return opened;
  Add(counters_.near_misses, opened->near_misses.size());
  if (opened->is_created && cold_ != nullptr) {
    cold_->NoteNamespace(opened->ns);
  }
  return opened;
}

absl::StatusOr<BlockStore::Resolved> BlockStore::Resolve(
    const Target& target) const {
  BANYAN_RETURN_IF_ERROR(ValidateSalt(target.salt));
  BANYAN_RETURN_IF_ERROR(ValidateKeys(target.run, options_.keys_max));
  BANYAN_RETURN_IF_ERROR(ValidateLead(target.run, index_.group_blocks()));
  BANYAN_ASSIGN_OR_RETURN(NamespacePtr ns,
                          namespaces_.FindById(target.namespace_id));
  const BlockIdHasher hasher = namespaces_.HasherFor(*ns, target.salt);
  ChainIds chain(target.run, hasher, index_.group_blocks());
  std::string salt_digest =
      target.salt.empty() ? ns->empty_salt_digest : SaltDigest(target.salt);
  return Resolved{.ns = std::move(ns),
                  .hasher = hasher,
                  .salt_digest = std::move(salt_digest),
                  .chain = std::move(chain)};
}

tiers::RequestFacts BlockStore::FactsOf(const Resolved& resolved,
                                        uint32_t first_block) const {
  const size_t blocks = first_block + resolved.chain.size();
  return {.now = clock_.Now(),
          .first_block = first_block,
          .prompt_blocks = static_cast<uint32_t>(blocks),
          .owner = resolved.ns->number};
}

BlockIdentity BlockStore::IdentityOf(const Resolved& resolved,
                                     const Target& target, size_t i) const {
  return {.namespace_id = resolved.ns->id,
          .salt_digest = resolved.salt_digest,
          .key = *BlockKey::FromBytes(target.run.key(i))};
}

absl::StatusOr<uint32_t> BlockStore::Match(const Target& target) {
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  std::vector<tiers::BlockRef> refs;
  const uint32_t hits =
      index_.LongestPrefix(resolved.chain.Run(), NowTick(), &refs);
  policy_->Touch(refs, FactsOf(resolved, target.run.first_block));
  Add(counters_.lookup_hit, hits);
  Add(counters_.lookup_miss, resolved.chain.size() - hits);
  return hits;
}

absl::StatusOr<std::vector<bool>> BlockStore::Exists(const Target& target) {
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  std::vector<tiers::BlockRef> refs;
  index_.Find(resolved.chain.Run(), &refs);
  std::vector<bool> exists(refs.size());
  for (size_t i = 0; i < refs.size(); ++i) {
    exists[i] = refs[i] != tiers::kNoBlock;
  }
  return exists;
}

std::unique_ptr<tiers::BlockPin> BlockStore::PinOne(
    const BlockId& id, const BlockIdentity& identity) {
  auto pin = host_.Pin(id, identity);
  if (pin.ok()) return *std::move(pin);
  if (absl::IsDataLoss(pin.status())) ReportCorrupt(id, pin.status());
  return nullptr;
}

bool BlockStore::IsGoodEnough(const Resolved& resolved, const Target& target,
                              const BlockHeader& header) {
  return target.quality.Admits(resolved.ns->ErrorClassOf(header));
}

absl::StatusOr<lease::PinSet> BlockStore::PinBlocks(
    const Resolved& resolved, const Target& target, AcquireMode mode,
    ColdReads cold, absl::Duration cold_timeout) {
  const bool is_prefix = mode != AcquireMode::kEach;
  std::vector<tiers::BlockRef> refs;
  if (is_prefix) {
    index_.LongestPrefix(resolved.chain.Run(), NowTick(), &refs);
    policy_->Touch(refs, FactsOf(resolved, target.run.first_block));
  } else {
    index_.Find(resolved.chain.Run(), &refs);
  }
  std::vector<lease::PinnedBlock> pinned;
  std::vector<BlockId> from_memory;
  std::vector<ColdStore::Wanted> wanted;
  uint64_t below_quality = 0;
  for (size_t i = 0; i < refs.size(); ++i) {
    if (refs[i] == tiers::kNoBlock) continue;
    const auto ordinal = static_cast<uint32_t>(i);
    const BlockId& id = resolved.chain[i];
    BlockIdentity identity = IdentityOf(resolved, target, i);
    if (auto pin = PinOne(id, identity)) {
      if (!IsGoodEnough(resolved, target, pin->header())) {
        ++below_quality;
        if (is_prefix) break;
        continue;
      }
      pinned.push_back({.ordinal = ordinal,
                        .id = id,
                        .ref = refs[i],
                        .owner = resolved.ns->number,
                        .pin = std::move(pin)});
      if (cold_ != nullptr) from_memory.push_back(id);
      continue;
    }
    bool is_cold = cold_ != nullptr && cold_->Contains(id);
    if (is_cold && !cold_->Answers()) {
      Add(counters_.cold_unasked);
      is_cold = false;
    }
    if (is_cold && cold == ColdReads::kDefer) {
      return MakeError(absl::StatusCode::kUnavailable, kColdReason,
                       "blocks: on the SSD. Read them where that may block.");
    }
    if (is_cold && cold == ColdReads::kRead) {
      wanted.push_back({.ordinal = ordinal,
                        .id = id,
                        .identity = std::move(identity),
                        .block = target.run.first_block + ordinal});
      continue;
    }
    if (is_cold) Add(counters_.cold_refused);
    if (is_prefix) break;  // The prefix ends where the bytes are gone.
  }
  if (!from_memory.empty()) cold_->TouchLater(from_memory);
  if (!wanted.empty()) {
    const auto admits = [&](const BlockHeader& header) {
      const bool is_good = IsGoodEnough(resolved, target, header);
      if (!is_good) ++below_quality;
      return is_good;
    };
    for (lease::PinnedBlock& block :
         cold_->Read(wanted, cold_timeout, admits)) {
      block.ref = refs[block.ordinal];
      block.owner = resolved.ns->number;
      pinned.push_back(std::move(block));
    }
    std::sort(pinned.begin(), pinned.end(), [](const auto& a, const auto& b) {
      return a.ordinal < b.ordinal;
    });
  }
  Add(counters_.below_quality, below_quality);
  if (is_prefix) CutAtFirstGap(pinned);
  const bool is_short = pinned.size() < resolved.chain.size();
  if (mode == AcquireMode::kAllOrNone && is_short) pinned.clear();
  auto pins = std::make_shared<const std::vector<lease::PinnedBlock>>(
      std::move(pinned));
  if (!wanted.empty()) {
    cold_->PromoteLater(pins, std::move(refs), target.run.first_block);
  }
  return pins;
}

absl::StatusOr<BlockStore::Granted> BlockStore::Acquire(
    absl::string_view session_id, uint64_t request_id, const Target& target,
    AcquireMode mode, absl::Duration ttl, ColdReads cold,
    absl::Duration cold_timeout) {
  BANYAN_RETURN_IF_ERROR(ValidateTtl(ttl));
  BANYAN_RETURN_IF_ERROR(sessions_.Touch(session_id));
  const absl::Duration granted_ttl = std::min(ttl, options_.lease_ttl_max);
  const auto repeated = leases_.FindRequest(session_id, request_id);
  if (!repeated.id.empty()) {
    return Granted{
        .lease_id = repeated.id, .pins = repeated.pins, .ttl = granted_ttl};
  }
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  BANYAN_ASSIGN_OR_RETURN(lease::PinSet pins, PinBlocks(resolved, target, mode,
                                                        cold, cold_timeout));
  if (pins->empty()) return Granted{.pins = std::move(pins)};
  BANYAN_ASSIGN_OR_RETURN(
      auto lease,
      leases_.Grant(session_id, request_id, std::move(pins), granted_ttl));
  // The session may have ended in between, after its leases were released.
  if (absl::Status alive = sessions_.Touch(session_id); !alive.ok()) {
    leases_.ReleaseSession(session_id);
    return alive;
  }
  Add(counters_.leases_granted);
  return Granted{.lease_id = std::move(lease.id),
                 .pins = std::move(lease.pins),
                 .ttl = granted_ttl};
}

absl::StatusOr<std::vector<std::string>> BlockStore::Renew(
    absl::string_view session_id, absl::Span<const std::string> lease_ids,
    absl::Duration& ttl) {
  BANYAN_RETURN_IF_ERROR(ValidateTtl(ttl));
  BANYAN_RETURN_IF_ERROR(sessions_.Touch(session_id));
  ttl = std::min(ttl, options_.lease_ttl_max);
  std::vector<std::string> unknown;
  for (const std::string& id : lease_ids) {
    if (!leases_.Renew(session_id, id, ttl)) unknown.push_back(id);
  }
  return unknown;
}

void BlockStore::Release(absl::string_view session_id,
                         absl::Span<const std::string> lease_ids,
                         const tiers::ReuseHint& hint) {
  for (const std::string& id : lease_ids) {
    if (!hint.is_empty()) {
      const auto pins = leases_.Pins(session_id, id);
      if (pins.ok()) HintPinned(**pins, hint);
    }
    leases_.Release(session_id, id);
  }
}

void BlockStore::HintPinned(const std::vector<lease::PinnedBlock>& pins,
                            const tiers::ReuseHint& hint) {
  std::vector<tiers::BlockRef> refs;
  for (const lease::PinnedBlock& block : pins) {
    // The block may have been dropped, and its number given again.
    if (index_.IdOf(block.ref) == block.id) refs.push_back(block.ref);
  }
  if (refs.empty()) return;
  policy_->Hint(
      refs, {.now = clock_.Now(), .owner = pins.front().owner, .hint = hint});
  Add(counters_.hints);
}

absl::StatusOr<uint32_t> BlockStore::Hint(const Target& target,
                                          const tiers::ReuseHint& hint) {
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  std::vector<tiers::BlockRef> refs;
  index_.Find(resolved.chain.Run(), &refs);
  refs.erase(std::find(refs.begin(), refs.end(), tiers::kNoBlock), refs.end());
  if (hint.is_empty() || refs.empty()) {
    return static_cast<uint32_t>(refs.size());
  }
  tiers::RequestFacts facts = FactsOf(resolved, target.run.first_block);
  facts.hint = hint;
  policy_->Hint(refs, facts);
  Add(counters_.hints);
  return static_cast<uint32_t>(refs.size());
}

absl::StatusOr<lease::PinSet> BlockStore::Read(const Target& target,
                                               AcquireMode mode, ColdReads cold,
                                               absl::Duration cold_timeout) {
  BANYAN_ASSIGN_OR_RETURN(const Resolved resolved, Resolve(target));
  return PinBlocks(resolved, target, mode, cold, cold_timeout);
}

absl::StatusOr<lease::PinSet> BlockStore::ReadLease(
    absl::string_view session_id, absl::string_view lease_id) {
  return leases_.Pins(session_id, lease_id);
}

void BlockStore::CountRead(tiers::TierKind tier, uint64_t blocks,
                           uint64_t bytes) {
  const bool is_cold = tier == tiers::TierKind::kSsd;
  Add(is_cold ? counters_.cold_blocks : counters_.read_blocks, blocks);
  Add(is_cold ? counters_.cold_bytes : counters_.read_bytes, bytes);
}

void BlockStore::ReportCorrupt(const lease::PinnedBlock& block,
                               const absl::Status& status) {
  const auto stored = host_.ReadHeader(block.id);
  if (block.tier == tiers::TierKind::kHost && stored.ok() &&
      stored->generation != block.pin->header().generation) {
    return;  // It was dropped before, and another one was written.
  }
  ReportCorrupt(block.id, status);
}

void BlockStore::ReportCorrupt(const BlockId& id, const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  Add(reason == "HEADER"       ? counters_.corrupt_header
      : reason == "IDENTITY"   ? counters_.corrupt_identity
      : reason == "GENERATION" ? counters_.corrupt_generation
                               : counters_.corrupt_checksum);
  const tiers::BlockRef ref = index_.FindAnywhere(id);
  if (cold_ != nullptr && cold_->Contains(id)) {
    // The copy on the SSD is another one, and is verified when it is read.
    policy_->Remove(ref);
    host_.Erase(id);
  } else if (ref != tiers::kNoBlock) {
    RemoveSubtree(ref);
  } else {
    host_.Erase(id);
  }
}

void BlockStore::Erase(const BlockId& id) {
  host_.Erase(id);
  if (cold_ != nullptr) cold_->Erase(id);
}

uint64_t BlockStore::StoredBytes() const {
  const uint64_t cold_bytes =
      cold_ == nullptr ? 0 : cold_->tier().usage().payload_bytes;
  return host_.usage().payload_bytes + cold_bytes;
}

uint64_t BlockStore::RemoveSubtree(tiers::BlockRef ref) {
  // The policy forgets a block before the index does, so that a number that is
  // reused is never forgotten by mistake.
  const std::vector<BlockId> removed = index_.UnpublishSubtree(
      ref, [this](absl::Span<const tiers::BlockRef> refs) {
        for (const tiers::BlockRef r : refs) policy_->Remove(r);
      });
  for (const BlockId& id : removed) Erase(id);
  return removed.size();
}

void BlockStore::Tick() {
  for (const std::string& session : sessions_.Expire()) EndSession(session);
  Add(counters_.leases_expired, leases_.Expire());
  for (const WriteRecordPtr& record : writes_.TakeIdle()) EndWrite(*record);
  if (cold_ != nullptr) cold_->Watch();
}

}  // namespace banyan::engine
