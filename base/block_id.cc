#include "base/block_id.h"

#include <cstring>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "base/sha256.h"
#include "xxhash.h"

namespace banyan {

BlockIdHasher::BlockIdHasher(absl::string_view node_secret,
                             absl::string_view namespace_id,
                             absl::string_view salt, int bits) {
  BANYAN_CHECK(bits >= 1 && bits <= 128);
  if (bits < 64) low_mask_ = (uint64_t{1} << bits) - 1;
  if (bits <= 64) high_mask_ = 0;
  if (bits > 64 && bits < 128) high_mask_ = (uint64_t{1} << (bits - 64)) - 1;
  // Lengths first, so that no two inputs run into each other.
  const std::string lengths = {static_cast<char>(node_secret.size()),
                               static_cast<char>(namespace_id.size())};
  for (size_t i = 0; i < secret_.size(); i += 32) {
    const char counter = static_cast<char>(i / 32);
    const Sha256Digest digest =
        Sha256({"banyan.id.v1", absl::string_view(&counter, 1), lengths,
                node_secret, namespace_id, salt});
    std::memcpy(secret_.data() + i, digest.data(), digest.size());
  }
}

BlockId BlockIdHasher::operator()(absl::string_view key) const {
  const XXH128_hash_t hash = XXH3_128bits_withSecret(
      key.data(), key.size(), secret_.data(), secret_.size());
  return {.low = hash.low64 & low_mask_, .high = hash.high64 & high_mask_};
}

void BlockIdHasher::HashRun(const KeyRun& run,
                            std::vector<BlockId>& out) const {
  const size_t count = run.size();
  out.resize(count);
  for (size_t i = 0; i < count; ++i) out[i] = (*this)(run.key(i));
}

}  // namespace banyan
