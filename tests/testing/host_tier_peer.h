// Damages a HostTier on purpose: reaches stored headers and payload bytes, which
// nobody else may.
//
// Threads: one; nothing else may use the block meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tiers/host/host_tier.h"

namespace banyan::tiers {

class HostTierPeer {
 public:
  explicit HostTierPeer(HostTier& tier) : tier_(tier) {}

  std::vector<std::byte>& Header(const BlockId& id) { return Of(id).header; }
  absl::Span<std::byte> Payload(const BlockId& id) {
    return tier_.Payload(Of(id).slot, Of(id).payload_bytes);
  }
  uint64_t& PayloadBytes(const BlockId& id) { return Of(id).payload_bytes; }

 private:
  // Records do not move in memory.
  HostTier::Record& Of(const BlockId& id) {
    HostTier::Shard& shard = tier_.ShardOf(id);
    const MutexLock lock(shard.mutex);
    return *shard.records.at(id);
  }

  HostTier& tier_;
};

}  // namespace banyan::tiers
