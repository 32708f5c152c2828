// The blocks of one model in a Banyan namespace: the longest stored prefix of a
// sequence is read into a cache, and full blocks of a cache are stored.
//
// Threads: thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block_key.h"
#include "client/cpp/client.h"
#include "client/ctl/model/kv_cache.h"

namespace banyan::ctl {

class PrefixStore {
 public:
  // The client is not owned, and outlives the store.
  // Errors: those of OpenNamespace.
  static absl::StatusOr<PrefixStore> Open(Client& client,
                                          const std::string& space,
                                          const Fingerprint& fingerprint);

  // Reads leading blocks of these tokens into an empty cache, `blocks_max` at
  // most, up to the first that is missing or does not verify, and returns how
  // many. The cache then holds their positions.
  absl::StatusOr<uint32_t> Fetch(absl::Span<const uint32_t> tokens,
                                 uint32_t blocks_max, KvCache& cache);

  // Stores this block of the cache, which is full; `tokens` are those of the
  // sequence up to its end, or more. A block that is there already is fine.
  absl::StatusOr<WriteResult> Store(absl::Span<const uint32_t> tokens,
                                    uint32_t block, KvCache& cache);

 private:
  PrefixStore(Client& client, OpenedNamespace opened)
      : client_(&client), opened_(std::move(opened)) {}

  // Packed keys of the first so many blocks of the tokens.
  std::string Keys(absl::Span<const uint32_t> tokens, uint32_t blocks,
                   uint32_t block_tokens) const;

  Client* client_;
  OpenedNamespace opened_;
};

}  // namespace banyan::ctl
