#include "client/ctl/model/prefix_store.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace banyan::ctl {

absl::StatusOr<PrefixStore> PrefixStore::Open(Client& client,
                                              const std::string& space,
                                              const Fingerprint& fingerprint) {
  BANYAN_ASSIGN_OR_RETURN(OpenedNamespace opened,
                          client.OpenNamespace(space, fingerprint));
  return PrefixStore(client, std::move(opened));
}

std::string PrefixStore::Keys(absl::Span<const uint32_t> tokens,
                              uint32_t blocks, uint32_t block_tokens) const {
  std::string keys;
  BlockKey key;
  for (uint32_t block = 0; block < blocks; ++block) {
    key = ChainKey(opened_.fingerprint, key,
                   tokens.subspan(block * block_tokens, block_tokens), "");
    absl::StrAppend(&keys, key.bytes());
  }
  return keys;
}

absl::StatusOr<uint32_t> PrefixStore::Fetch(absl::Span<const uint32_t> tokens,
                                            uint32_t blocks_max,
                                            KvCache& cache) {
  const uint32_t block_tokens = cache.block_tokens();
  const auto full = static_cast<uint32_t>(tokens.size() / block_tokens);
  const std::string keys =
      Keys(tokens, std::min(full, blocks_max), block_tokens);
  const KeyChain chain{.keys = keys};
  if (chain.size() == 0) return 0;
  BANYAN_ASSIGN_OR_RETURN(const uint32_t stored,
                          client_->Match(opened_.id, chain));
  if (stored == 0) return 0;
  std::vector<std::span<std::byte>> buffers;
  for (uint32_t block = 0; block < stored; ++block) {
    const absl::Span<std::byte> bytes = cache.Block(block);
    buffers.emplace_back(bytes.data(), bytes.size());
  }
  const Completion done =
      client_->Get(opened_.id, chain, 0, std::move(buffers));
  BANYAN_RETURN_IF_ERROR(done.status);
  uint32_t read = 0;
  while (read < done.hit_blocks &&
         done.read_bytes[read] == cache.layout().block_bytes()) {
    ++read;
  }
  cache.Truncate(read * block_tokens);
  return read;
}

absl::StatusOr<WriteResult> PrefixStore::Store(
    absl::Span<const uint32_t> tokens, uint32_t block, KvCache& cache) {
  const std::string keys = Keys(tokens, block + 1, cache.block_tokens());
  const absl::Span<std::byte> bytes = cache.Block(block);
  const Completion done =
      client_->Put(opened_.id, {.keys = keys}, block,
                   {std::span<const std::byte>(bytes.data(), bytes.size())},
                   {.piece_bytes = cache.layout().layer_bytes()});
  BANYAN_RETURN_IF_ERROR(done.status);
  return done.writes.at(0);
}

}  // namespace banyan::ctl
