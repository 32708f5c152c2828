// A BlockStore on a small HostTier with a fake clock, and the steps of a writer
// and of a reader with self-describing payloads: the bytes of a block follow
// from namespace, salt and key, so a wrong byte is recognised as whose.
//
// Threads: thread-safe but for construction.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/bytes.h"
#include "base/units.h"
#include "cache_server/engine/block_store.h"
#include "client/ctl/payload.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/ssd_cases.h"
#include "tiers/host/host_tier.h"

namespace banyan::testing {

inline constexpr size_t kTestKeyBytes = 16;

// Keys of a chain. Chains of one `family` share their first `shared` blocks.
inline std::string ChainKeys(uint32_t family, uint32_t branch, uint32_t blocks,
                             uint32_t shared = 0) {
  std::string keys(blocks * kTestKeyBytes, '\0');
  for (uint32_t i = 0; i < blocks; ++i) {
    auto* const out =
        reinterpret_cast<std::byte*>(keys.data() + i * kTestKeyBytes);
    StoreLe32(family, out);
    StoreLe32(i < shared ? 0 : branch + 1, out + 4);
    StoreLe64(i, out + 8);
  }
  return keys;
}

// Blocks [begin, end) of the chain, with their lead.
inline KeyRun RunOf(absl::string_view keys, uint32_t begin, uint32_t end,
                    uint32_t group_blocks) {
  const uint32_t lead = begin == 0 ? 0 : (begin - 1) % group_blocks + 1;
  return {
      .keys = keys.substr(begin * kTestKeyBytes, (end - begin) * kTestKeyBytes),
      .key_bytes = kTestKeyBytes,
      .first_block = begin,
      .lead =
          keys.substr((begin - lead) * kTestKeyBytes, lead * kTestKeyBytes)};
}

class StoreDriver {
 public:
  struct Options {
    uint64_t capacity_bytes = 4 * kMiB;
    engine::BlockStore::Options store;
    // With directories: the store has an SSD tier.
    tiers::SsdTier::Options ssd;
    std::string admission = "all";
    engine::ColdStore::Options cold;
    // Null: LRU.
    std::function<std::unique_ptr<tiers::EvictionPolicy>()> make_policy;
  };

  explicit StoreDriver(Options options)
      : group_blocks_(options.store.index.group_blocks) {
    options.store.namespaces.node_secret = "a secret for tests";
    host_ = *tiers::HostTier::Open({.capacity_bytes = options.capacity_bytes,
                                    .prefault = false,
                                    .huge_pages = false});
    admission_ = *tiers::MakeAdmissionPolicy(options.admission);
    engine::RecoveredBlocks recovered;
    if (!options.ssd.directories.empty()) {
      options.ssd.drop_sink = &drops_;
      options.ssd.found_sink = &recovered;
      ssd_ = OpenSsd(options.ssd);
    }
    store_ = std::make_unique<engine::BlockStore>(
        options.store, *host_,
        options.make_policy ? options.make_policy()
                            : *tiers::MakeEvictionPolicy("lru"),
        clock_,
        engine::BlockStore::Cold{.ssd = ssd_.get(),
                                 .admission = admission_.get(),
                                 .drops = &drops_,
                                 .options = options.cold});
    if (ssd_ != nullptr) {
      EXPECT_EQ(store_->cold()->Recover(recovered), absl::OkStatus());
    }
    ns_ = OpenNamespace("first");
  }

  engine::BlockStore& store() { return *store_; }
  tiers::HostTier& host() { return *host_; }
  tiers::SsdTier& ssd() { return *ssd_; }
  engine::ColdStore& cold() { return *store_->cold(); }
  FakeClock& clock() { return clock_; }
  const engine::Namespace& ns() const { return *ns_; }

  engine::NamespacePtr OpenNamespace(absl::string_view name) {
    return store_->OpenNamespace(name, {.model = "m", .layout = "opaque"})->ns;
  }

  std::string OpenSession(absl::string_view client) {
    return *store_->OpenSession(client);
  }

  engine::Target On(absl::string_view keys, uint32_t begin, uint32_t end,
                    absl::string_view salt = "") const {
    return {.namespace_id = ns_->id,
            .salt = salt,
            .run = RunOf(keys, begin, end, group_blocks_)};
  }
  engine::Target On(absl::string_view keys) const {
    return On(keys, 0, static_cast<uint32_t>(keys.size() / kTestKeyBytes));
  }

  // The one right content of a block.
  static std::vector<std::byte> Payload(const engine::Target& target, size_t i,
                                        uint64_t payload_bytes) {
    std::vector<std::byte> payload(payload_bytes);
    ctl::FillPayload(Space(target), target.run.key(i), absl::MakeSpan(payload));
    return payload;
  }

  static BlockIdentity Identity(const engine::Target& target, size_t i) {
    return {.namespace_id = std::string(target.namespace_id),
            .salt_digest = SaltDigest(target.salt),
            .key = *BlockKey::FromBytes(target.run.key(i))};
  }

  static engine::OpenWrite::Claim ClaimOf(const engine::Target& target,
                                          uint32_t i, uint64_t payload_bytes,
                                          uint64_t piece_bytes) {
    const std::vector<std::byte> payload = Payload(target, i, payload_bytes);
    const uint64_t seed = Identity(target, i).ChecksumSeed();
    engine::OpenWrite::Claim claim{.ordinal = i};
    for (uint64_t at = 0; at < payload_bytes; at += piece_bytes) {
      claim.checksums.push_back(
          PieceChecksum(seed, static_cast<uint32_t>(claim.checksums.size()),
                        absl::MakeConstSpan(payload).subspan(
                            at, std::min(piece_bytes, payload_bytes - at))));
    }
    return claim;
  }

  // Sends all blocks that have a WRITE verdict; the claims to commit them with.
  absl::StatusOr<std::vector<engine::OpenWrite::Claim>> Send(
      absl::string_view session, const engine::BlockStore::Reserved& reserved,
      const engine::Target& target, uint64_t payload_bytes,
      uint64_t piece_bytes) {
    std::vector<engine::OpenWrite::Claim> claims;
    auto write = store_->FindWrite(session, reserved.write_id);
    if (!write.ok()) return write.status();
    for (uint32_t i = 0; i < reserved.verdicts.size(); ++i) {
      if (reserved.verdicts[i] != engine::WriteVerdict::kWrite) continue;
      const auto payload = Payload(target, i, payload_bytes);
      const auto bytes = absl::MakeConstSpan(payload);
      const uint64_t half = payload_bytes / 2;
      absl::Status status = (*write)->Write(i, 0, bytes.first(half));
      if (status.ok()) {
        status = (*write)->Write(i, half, bytes.subspan(half));
      }
      if (!status.ok()) return status;
      claims.push_back(ClaimOf(target, i, payload_bytes, piece_bytes));
    }
    return claims;
  }

  // Reserve, send, commit. The verdicts.
  absl::StatusOr<std::vector<engine::WriteVerdict>> Put(
      absl::string_view session, const engine::Target& target,
      uint64_t payload_bytes, uint64_t piece_bytes,
      engine::Durability durability = engine::Durability::kMemory) {
    auto reserved = store_->Reserve(session, 0, target, {payload_bytes},
                                    piece_bytes, durability);
    if (!reserved.ok()) return reserved.status();
    if (reserved->write_id.empty()) return reserved->verdicts;
    auto claims = Send(session, *reserved, target, payload_bytes, piece_bytes);
    if (!claims.ok()) return claims.status();
    auto committed = store_->Commit(session, reserved->write_id, *claims);
    if (!committed.ok()) return committed.status();
    return reserved->verdicts;
  }

  // OK if each pinned block holds, verified, what its target says.
  static absl::Status CheckPins(const std::vector<lease::PinnedBlock>& pins,
                                const engine::Target& target) {
    for (const lease::PinnedBlock& block : pins) {
      const BlockHeader& header = block.pin->header();
      if (!(header.identity == Identity(target, block.ordinal))) {
        return absl::InternalError("pinned another block");
      }
      for (uint32_t piece = 0; piece < header.piece_count(); ++piece) {
        const auto bytes = block.pin->ReadPiece(piece);
        if (!bytes.ok()) return bytes.status();
        const absl::Status status = ctl::VerifyPayload(
            Space(target), target.run.key(block.ordinal), bytes->bytes(),
            header.PieceOffset(piece), header.payload_bytes);
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  // What must hold at any time, and once nothing is in flight.
  void ExpectUsageAddsUp() const {
    const tiers::TierUsage usage = host_->usage();
    EXPECT_EQ(usage.used_bytes + usage.staged_bytes + usage.free_bytes +
                  usage.waste_bytes,
              usage.capacity_bytes);
  }
  void ExpectQuiet() {
    ExpectUsageAddsUp();
    EXPECT_EQ(host_->usage().staged_bytes, 0u);
    EXPECT_EQ(host_->usage().pinned_bytes, 0u);
    EXPECT_EQ(Gauge("banyan_leases"), 0u);
    EXPECT_EQ(Gauge("banyan_leased_bytes"), 0u);
    EXPECT_EQ(Gauge("banyan_open_writes"), 0u);
  }

  // A counter or gauge by its full name.
  uint64_t Gauge(absl::string_view name) const {
    for (const auto& reading : store_->Stats()) {
      if (reading.name == name) return reading.value;
    }
    ADD_FAILURE() << "no such reading: " << name;
    return 0;
  }

 private:
  static std::string Space(const engine::Target& target) {
    return absl::StrCat(target.namespace_id, "/", target.salt);
  }

  const uint32_t group_blocks_;
  FakeClock clock_;
  std::unique_ptr<tiers::HostTier> host_;
  engine::DropQueue drops_;
  std::unique_ptr<tiers::SsdTier> ssd_;
  std::unique_ptr<tiers::AdmissionPolicy> admission_;
  std::unique_ptr<engine::BlockStore> store_;
  engine::NamespacePtr ns_;
};

}  // namespace banyan::testing
