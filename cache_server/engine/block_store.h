// The BlockStore is the node's only orchestrator: it asks the index which
// blocks exist, the tier for their bytes, the policy who has to go, and grants
// leases. It knows no protobuf and no gRPC.
//
// Put:  Reserve -> Write... -> Commit (verify, store, publish: then visible)
// Get:  Match -> Acquire or Read (pin; bytes leave verified, piece by piece)
//
// Invariant: a block that can be found has its bytes stored, or the read that
//            finds it missing reports a miss. Nothing is visible before Commit.
//            When a session ends, its leases and open writes end.
// Threads:   thread-safe. No call blocks on I/O, except reads with
//            ColdReads::kRead and durable writes. Tick is called by one thread.
// Lifetime:  tiers and clock outlive it. Destroy all pins first.
// Errors:    those named in proto/banyan/v1/cache.proto.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/block_key.h"
#include "base/clock.h"
#include "base/representation.h"
#include "cache_server/engine/cold_store.h"
#include "cache_server/engine/layered_read.h"
#include "cache_server/engine/namespace_registry.h"
#include "cache_server/engine/write_table.h"
#include "cache_server/index/prefix_index.h"
#include "cache_server/lease/lease_table.h"
#include "cache_server/lease/session_table.h"
#include "cache_server/runtime/counters.h"
#include "tiers/placement/eviction_policy.h"
#include "tiers/tier.h"

namespace banyan::engine {

// The blocks a call is about.
struct Target {
  absl::string_view namespace_id;
  absl::string_view salt;
  KeyRun run;
  // Of reads: what is worse is missing. Match and the like do not look at it.
  QualityFloor quality = {};
};

enum class AcquireMode { kLongestPrefix, kAllOrNone, kEach };

// What to do about blocks that are on the SSD only.
enum class ColdReads {
  kDefer,  // Nothing: answer with a status for which IsDeferred holds.
  kRead,   // Read them; waits for the disk.
  kSkip,   // Take them for misses.
};

// The call met blocks on the SSD: repeat it where it may block.
bool IsDeferred(const absl::Status& status);

class BlockStore {
 public:
  struct Options {
    uint32_t keys_max = 65536;
    uint64_t block_bytes_max = 64ull << 20;
    uint64_t write_bytes_max = 1ull << 30;  // Of one Reserve.
    absl::Duration lease_ttl_max = absl::Minutes(10);
    index::PrefixIndex::Options index;
    NamespaceRegistry::Options namespaces;
    lease::LeaseTable::Options leases;
    lease::SessionTable::Options sessions;
    WriteTable::Options writes;
  };

  // The SSD side of the node; all outlive the store. No tier: no SSD.
  struct Cold {
    tiers::SsdTier* ssd = nullptr;
    const tiers::AdmissionPolicy* admission = nullptr;
    DropQueue* drops = nullptr;
    ColdStore::Options options;
  };

  BlockStore(const Options& options, tiers::Tier& host,
             std::unique_ptr<tiers::EvictionPolicy> policy, const Clock& clock,
             const Cold& cold);
  BlockStore(const Options& options, tiers::Tier& host,
             std::unique_ptr<tiers::EvictionPolicy> policy, const Clock& clock)
      : BlockStore(options, host, std::move(policy), clock, Cold()) {}
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  // --- Sessions.
  absl::StatusOr<std::string> OpenSession(absl::string_view client_id);
  absl::Status TouchSession(absl::string_view session_id);
  bool IsSessionOpen(absl::string_view session_id) const {
    return sessions_.IsOpen(session_id);
  }
  void SetSessionNote(absl::string_view session_id,
                      lease::SessionTable::Note note) {
    sessions_.SetNote(session_id, std::move(note));
  }
  std::vector<lease::SessionTable::Listed> ListSessions() const {
    return sessions_.List();
  }
  void EndSession(absl::string_view session_id);

  // --- Lookup.
  NamespaceRegistry& namespaces() { return namespaces_; }
  absl::StatusOr<NamespaceRegistry::Opened> OpenNamespace(
      absl::string_view name, const Fingerprint& fingerprint,
      const SsdPolicy& ssd_policy = {}, absl::string_view calibration = {});
  absl::StatusOr<uint32_t> Match(const Target& target);
  absl::StatusOr<std::vector<bool>> Exists(const Target& target);

  // --- Reading. What the disk did not bring within `cold_timeout` is missing.
  static constexpr absl::Duration kNoLimit = absl::InfiniteDuration();
  struct Granted {
    std::string lease_id;  // Empty if nothing was granted.
    lease::PinSet pins;
    absl::Duration ttl;
  };
  absl::StatusOr<Granted> Acquire(absl::string_view session_id,
                                  uint64_t request_id, const Target& target,
                                  AcquireMode mode, absl::Duration ttl,
                                  ColdReads cold = ColdReads::kRead,
                                  absl::Duration cold_timeout = kNoLimit);
  // The unknown ones of lease_ids.
  absl::StatusOr<std::vector<std::string>> Renew(
      absl::string_view session_id, absl::Span<const std::string> lease_ids,
      absl::Duration& ttl);
  // `hint` is about the blocks of the leases.
  void Release(absl::string_view session_id,
               absl::Span<const std::string> lease_ids,
               const tiers::ReuseHint& hint = {});

  // Tells the policy what will become of the target's leading stored blocks;
  // returns how many there are. Not a use of them.
  absl::StatusOr<uint32_t> Hint(const Target& target,
                                const tiers::ReuseHint& hint);

  // Pins for the length of one call.
  absl::StatusOr<lease::PinSet> Read(const Target& target, AcquireMode mode,
                                     ColdReads cold = ColdReads::kRead,
                                     absl::Duration cold_timeout = kNoLimit);
  absl::StatusOr<lease::PinSet> ReadLease(absl::string_view session_id,
                                          absl::string_view lease_id);

  // Leading blocks, to be read layer by layer. With `follower`, a session, also
  // those that are being written, from the first on that is not stored.
  // Errors: kFailedPrecondition reason LAYOUT (the namespace has no layers),
  // reason PIECES (a block was not written in pieces of a layer), or reason
  // SESSION; kOutOfRange reason RANGE.
  struct LayersWanted {
    uint32_t first = 0;
    uint32_t count = 0;  // 0: to the last.
    absl::string_view follower = {};
  };
  absl::StatusOr<std::unique_ptr<LayeredRead>> ReadLayers(
      const Target& target, const LayersWanted& wanted,
      ColdReads cold = ColdReads::kRead,
      absl::Duration cold_timeout = kNoLimit);

  // A reader's pin failed verification: counts it and drops the block.
  // Of what a reader pinned: what was written since stays.
  void ReportCorrupt(const lease::PinnedBlock& block,
                     const absl::Status& status);
  void ReportCorrupt(const BlockId& id, const absl::Status& status);
  void CountRead(tiers::TierKind tier, uint64_t blocks, uint64_t bytes);

  // --- Writing.
  struct Reserved {
    std::string write_id;  // Empty if there is nothing to write.
    std::vector<WriteVerdict> verdicts;
    uint64_t piece_bytes = 0;  // Of a write by layers, as is the next.
    uint32_t layers = 0;
  };
  // `payload_bytes` has one size for all blocks, or one a key. With kDurable
  // the verdict EXISTS, too, means that the block is on disk. `hint` is about
  // the blocks once they are committed. In a write by layers, pieces are the
  // layers of the namespace's layout; the sizes say the same, or nothing.
  // Errors of that: kFailedPrecondition reason LAYOUT: it has none;
  // kInvalidArgument reason LAYERS.
  absl::StatusOr<Reserved> Reserve(absl::string_view session_id,
                                   uint64_t request_id, const Target& target,
                                   absl::Span<const uint64_t> payload_bytes,
                                   uint64_t piece_bytes,
                                   Durability durability = Durability::kMemory,
                                   const tiers::ReuseHint& hint = {},
                                   WriteOrder order = WriteOrder::kBlocks);
  // What was sent for a write cannot be stored: counts it by reason.
  void CountBadWrite(const absl::Status& status);
  // The same, and ends the write if its bytes cannot be trusted.
  void EndBadWrite(absl::string_view session_id, absl::string_view write_id,
                   const absl::Status& status);

  // For a series of chunks: holds the write open. A sign of life of the write;
  // in a series that takes longer NoteWriting is another, of the session, too.
  absl::StatusOr<std::shared_ptr<OpenWrite>> FindWrite(
      absl::string_view session_id, absl::string_view write_id);
  void NoteWriting(absl::string_view session_id, absl::string_view write_id);
  // True if Commit will block until the write is on disk.
  bool IsDurable(absl::string_view session_id, absl::string_view write_id);
  struct Committed {
    std::vector<WriteOutcome> outcomes;
    bool is_repeat = false;
    Durability durability = Durability::kMemory;  // What was reached.
  };
  absl::StatusOr<Committed> Commit(absl::string_view session_id,
                                   absl::string_view write_id,
                                   absl::Span<const OpenWrite::Claim> claims,
                                   const tiers::ReuseHint& hint = {});
  void Abort(absl::string_view session_id, absl::string_view write_id);

  // --- Administration.
  absl::StatusOr<uint64_t> DropNamespace(absl::string_view name);
  absl::StatusOr<uint64_t> Delete(absl::string_view ns_name,
                                  absl::string_view salt,
                                  absl::Span<const BlockKey> keys);
  struct BlockFacts {
    bool is_stored = false;
    bool is_pinned = false;
    index::BlockHeat heat;
    absl::Duration idle;
    tiers::TierKind tier = tiers::TierKind::kHost;
    BlockHeader header;
    std::optional<uint8_t> error_class;  // None: not measured.
  };
  absl::StatusOr<std::vector<BlockFacts>> Stat(absl::string_view ns_name,
                                               absl::string_view salt,
                                               absl::Span<const BlockKey> keys);
  struct ListedBlock {
    BlockHeader header;
    index::BlockHeat heat;
    absl::Duration idle;
    tiers::TierKind tier = tiers::TierKind::kHost;
    bool is_pinned = false;
  };
  struct BlockPage {
    std::vector<ListedBlock> blocks;
    tiers::BlockRef next = tiers::kNoBlock;  // kNoBlock: the last page.
  };
  // Up to `limit` blocks of the namespace, from this ref on. Blocks that vanish
  // meanwhile are left out.
  absl::StatusOr<BlockPage> ListBlocks(absl::string_view ns_name,
                                       tiers::BlockRef from, size_t limit);
  struct Trimmed {
    uint64_t blocks = 0;
    uint64_t bytes = 0;
  };
  // Of one namespace, or of all if ns_name is empty.
  absl::StatusOr<Trimmed> Trim(absl::string_view ns_name,
                               std::optional<uint64_t> to_bytes,
                               absl::Duration older_than);

  // --- Facts.
  uint64_t BlocksOf(const Namespace& ns) const {
    return index_.blocks(ns.number);
  }
  tiers::TierUsage HostUsage() const { return host_.usage(); }
  // The SSD side; nullptr if there is none.
  ColdStore* cold() { return cold_.get(); }
  const ColdStore* cold() const { return cold_.get(); }
  uint64_t host_block_bytes_max() const { return host_.block_bytes_max(); }
  // Counters, then gauges (the flag).
  struct Reading {
    std::string name;
    uint64_t value = 0;
    bool is_gauge = false;
  };
  std::vector<Reading> Stats() const;
  server::Counters& counters() { return counters_; }
  const Options& options() const { return options_; }

  // Expires leases, sessions and idle writes. Call a few times a second.
  void Tick();

 private:
  struct Resolved {
    NamespacePtr ns;
    BlockIdHasher hasher;
    std::string salt_digest;
    ChainIds chain;
  };
  absl::StatusOr<Resolved> Resolve(const Target& target) const;
  BlockIdentity IdentityOf(const Resolved& resolved, const Target& target,
                           size_t i) const;
  // Of a run that starts at `first_block` of its chain.
  tiers::RequestFacts FactsOf(const Resolved& resolved,
                              uint32_t first_block) const;
  uint32_t NowTick() const;  // Coarse time for heat: 1/16 s.

  // Pins, and where that takes reading the SSD, brings back to memory.
  absl::StatusOr<lease::PinSet> PinBlocks(const Resolved& resolved,
                                          const Target& target,
                                          AcquireMode mode, ColdReads cold,
                                          absl::Duration cold_timeout);
  // Block i of the target: being written, or in memory by now. False: neither.
  bool FollowOne(const Resolved& resolved, const Target& target, size_t i,
                 LayeredRead::Block& block);
  void HintPinned(const std::vector<lease::PinnedBlock>& pins,
                  const tiers::ReuseHint& hint);
  std::unique_ptr<tiers::BlockPin> PinOne(const BlockId& id,
                                          const BlockIdentity& identity);
  // Whether the block is as good as the target wants it.
  static bool IsGoodEnough(const Resolved& resolved, const Target& target,
                           const BlockHeader& header);
  void Erase(const BlockId& id);  // In all tiers.
  uint64_t RemoveSubtree(tiers::BlockRef ref);
  uint64_t StoredBytes() const;  // In all tiers.
  uint64_t RemoveNamespaceBlocks(const Namespace& ns);

  // Evicts until there is room for incoming.ids[next], or until the policy
  // holds on to what is there.
  absl::StatusOr<std::unique_ptr<tiers::StagedBlock>> StageWithEviction(
      uint64_t payload_bytes, const tiers::IncomingRun& incoming,
      const tiers::RequestFacts& facts);
  bool EvictOne(const tiers::IncomingRun& incoming,
                const tiers::RequestFacts& facts);
  void PublishRuns(const WriteRecord& record,
                   absl::Span<const uint32_t> ordinals);
  // The block before block `block` of the chain; kNoBlock if it is not stored.
  tiers::BlockRef ParentOf(const ChainIds& chain, int64_t block) const;
  void HintCommitted(const WriteRecord& record, const tiers::ReuseHint& hint);
  void EndWrite(const WriteRecord& record);
  absl::Status CanMakeDurable();
  absl::Status MakeExistingDurable(const WriteRecord& record);

  const Options options_;
  tiers::Tier& host_;
  const std::unique_ptr<tiers::EvictionPolicy> policy_;
  const Clock& clock_;
  server::Counters counters_;
  index::PrefixIndex index_;
  NamespaceRegistry namespaces_;
  lease::SessionTable sessions_;
  lease::LeaseTable leases_;
  WriteTable writes_;
  const std::unique_ptr<ColdStore> cold_;  // Last: it uses the above.
};

}  // namespace banyan::engine
