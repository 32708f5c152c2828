// The administrative half of the BlockStore.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/engine/block_store.h"

namespace banyan::engine {
namespace {

using server::Add;

constexpr size_t kPageBlocks = 4096;

}  // namespace

absl::StatusOr<uint64_t> BlockStore::DropNamespace(absl::string_view name) {
  BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns, namespaces_.Remove(name));
  if (cold_ != nullptr) cold_->ForgetNamespace(*ns);
  return RemoveNamespaceBlocks(*ns);
}

uint64_t BlockStore::RemoveNamespaceBlocks(const Namespace& ns) {
  uint64_t removed = 0;
  while (true) {
    const auto refs = index_.ListNamespace(ns.number, 0, kPageBlocks);
    if (refs.empty()) break;
    for (const tiers::BlockRef ref : refs) removed += RemoveSubtree(ref);
  }
  Add(counters_.deleted, removed);
  return removed;
}

absl::StatusOr<uint64_t> BlockStore::Delete(absl::string_view ns_name,
                                            absl::string_view salt,
                                            absl::Span<const BlockKey> keys) {
  BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns,
                          namespaces_.FindByName(ns_name));
  const BlockIdHasher hasher = namespaces_.HasherFor(*ns, salt);
  uint64_t removed = 0;
  for (const BlockKey& key : keys) {
    const tiers::BlockRef ref = index_.FindAnywhere(hasher(key.bytes()));
    if (ref != tiers::kNoBlock) removed += RemoveSubtree(ref);
  }
  Add(counters_.deleted, removed);
  return removed;
}

absl::StatusOr<std::vector<BlockStore::BlockFacts>> BlockStore::Stat(
    absl::string_view ns_name, absl::string_view salt,
    absl::Span<const BlockKey> keys) {
  BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns,
                          namespaces_.FindByName(ns_name));
  const BlockIdHasher hasher = namespaces_.HasherFor(*ns, salt);
  std::vector<BlockFacts> facts(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const BlockId id = hasher(keys[i].bytes());
    const auto heat = index_.Heat(index_.FindAnywhere(id));
    if (!heat.has_value()) continue;
    facts[i].is_pinned = host_.IsPinned(id);
    const BlockIdentity identity{.namespace_id = ns->id,
                                 .salt_digest = SaltDigest(salt),
                                 .key = keys[i]};
    std::shared_ptr<const tiers::BlockPin> pin = PinOne(id, identity);
    if (pin == nullptr && cold_ != nullptr) {
      auto read = cold_->Read({{.id = id, .identity = identity}});
      if (read.empty()) continue;
      pin = std::move(read[0].pin);
      facts[i].tier = tiers::TierKind::kSsd;
    }
    if (pin == nullptr) continue;
    facts[i].is_stored = true;
    facts[i].heat = *heat;
    facts[i].idle = absl::Seconds(NowTick() - heat->last_touch) / 16;
    facts[i].header = pin->header();
    facts[i].error_class = ns->ErrorClassOf(pin->header());
  }
  return facts;
}

absl::StatusOr<BlockStore::BlockPage> BlockStore::ListBlocks(
    absl::string_view ns_name, tiers::BlockRef from, size_t limit) {
  BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns,
                          namespaces_.FindByName(ns_name));
  const auto refs = index_.ListNamespace(ns->number, from, limit);
  BlockPage page;
  if (refs.size() == limit) page.next = refs.back() + 1;
  for (const tiers::BlockRef ref : refs) {
    const auto id = index_.IdOf(ref);
    const auto heat = index_.Heat(ref);
    if (!id.has_value() || !heat.has_value()) continue;
    auto header = host_.ReadHeader(*id);
    const bool is_cold = absl::IsNotFound(header.status()) && cold_ != nullptr;
    if (is_cold) header = cold_->tier().ReadHeader(*id);
    if (absl::IsDataLoss(header.status())) ReportCorrupt(*id, header.status());
    // The ref may name a block of another namespace by now.
    if (!header.ok() || header->identity.namespace_id != ns->id) continue;
    page.blocks.push_back(
        {.header = *std::move(header),
         .heat = *heat,
         .idle = absl::Seconds(NowTick() - heat->last_touch) / 16,
         .tier = is_cold ? tiers::TierKind::kSsd : tiers::TierKind::kHost,
         .is_pinned = host_.IsPinned(*id)});
  }
  return page;
}

absl::StatusOr<BlockStore::Trimmed> BlockStore::Trim(
    absl::string_view ns_name, std::optional<uint64_t> to_bytes,
    absl::Duration older_than) {
  std::vector<NamespacePtr> chosen = namespaces_.All();
  if (!ns_name.empty()) {
    BANYAN_ASSIGN_OR_RETURN(const NamespacePtr ns,
                            namespaces_.FindByName(ns_name));
    chosen = {ns};
  }
  struct Candidate {
    tiers::BlockRef ref;
    index::BlockHeat heat;
  };
  std::vector<Candidate> candidates;
  for (const NamespacePtr& ns : chosen) {
    for (const auto ref :
         index_.ListNamespace(ns->number, 0, index_.blocks())) {
      const auto heat = index_.Heat(ref);
      if (heat.has_value()) candidates.push_back({ref, *heat});
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) {
              if (a.heat.last_touch != b.heat.last_touch) {
                return a.heat.last_touch < b.heat.last_touch;
              }
              return a.heat.depth > b.heat.depth;  // Deeper ones first.
            });
  const uint64_t before = StoredBytes();
  const uint32_t now = NowTick();
  Trimmed trimmed;
  // A block can be older than those below it, and goes only after them: so
  // once more, for as long as that frees something.
  uint64_t trimmed_before = 0;
  do {
    trimmed_before = trimmed.blocks;
    for (const Candidate& candidate : candidates) {
      const absl::Duration idle =
          absl::Seconds(now - candidate.heat.last_touch) / 16;
      const bool is_over = to_bytes.has_value() && StoredBytes() > *to_bytes;
      if (!is_over && idle <= older_than) break;
      const auto id = index_.IdOf(candidate.ref);
      if (!id.has_value() || host_.IsPinned(*id)) continue;
      if (!index_.IsLeaf(candidate.ref)) continue;
      policy_->Remove(candidate.ref);
      if (const auto removed = index_.UnpublishLeaf(candidate.ref)) {
        Erase(*removed);
        ++trimmed.blocks;
      } else {
        policy_->Retain(candidate.ref);
      }
    }
  } while (trimmed.blocks > trimmed_before);
  const uint64_t after = StoredBytes();
  trimmed.bytes = before > after ? before - after : 0;
  Add(counters_.trimmed, trimmed.blocks);
  return trimmed;
}

}  // namespace banyan::engine
