// A BlockKey names one block. It is opaque, 1 to 64 bytes, and chained: it
// covers every token up to the block's end. Engines bring their own hashes;
// ChainKey derives one for callers that have token ids only.
//
// Format: docs/formats/block_key.md, vectors in docs/formats/block_key.json.
// Domain: any bytes, NUL included; hex is for people.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan {

inline constexpr size_t kKeyBytesMax = 64;

class BlockKey {
 public:
  BlockKey() = default;  // Empty: names nothing.

  // Errors: kInvalidArgument unless bytes.size() is in [1, kKeyBytesMax].
  static absl::StatusOr<BlockKey> FromBytes(absl::string_view bytes);
  static absl::StatusOr<BlockKey> FromHex(absl::string_view hex);

  absl::string_view bytes() const {
    return {reinterpret_cast<const char*>(bytes_.data()), size_};
  }
  bool empty() const { return size_ == 0; }
  std::string hex() const;

  friend bool operator==(const BlockKey& a, const BlockKey& b) {
    return a.bytes() == b.bytes();
  }
  template <typename H>
  friend H AbslHashValue(H h, const BlockKey& key) {
    return H::combine(std::move(h), key.bytes());
  }

 private:
  uint8_t size_ = 0;
  std::array<std::byte, kKeyBytesMax> bytes_{};
};

// A run of consecutive keys of one chain, packed: key i is
// keys[i * key_bytes, (i + 1) * key_bytes). A view; it owns nothing.
//
// A chain is cut into groups of `group_blocks` consecutive keys, counted from
// the root; a group's blocks live together. A run that starts inside a chain
// brings `lead`, so that the store finds the group without asking elsewhere.
struct KeyRun {
  absl::string_view keys;
  size_t key_bytes = 0;

  // Position in the chain of the first key; 0 is the root.
  uint32_t first_block = 0;

  // Packed keys before the run: those of the group that holds block
  // first_block - 1, from that group's first block on. Empty if and only if
  // first_block is 0.
  absl::string_view lead;

  size_t size() const { return key_bytes == 0 ? 0 : keys.size() / key_bytes; }
  size_t lead_size() const {
    return key_bytes == 0 ? 0 : lead.size() / key_bytes;
  }
  absl::string_view key(size_t i) const {
    return keys.substr(i * key_bytes, key_bytes);
  }
  absl::string_view lead_key(size_t i) const {
    return lead.substr(i * key_bytes, key_bytes);
  }
};

inline constexpr size_t kChainKeyBytes = 32;
inline constexpr size_t kFingerprintBytes = 16;

// SHA-256 over (fingerprint, parent key, token ids, extra keys). `parent` is
// empty for the first block of a chain. `extra` is whatever else changes the
// block's bytes (LoRA name, image digest, salt), already serialised.
//
// Requires: fingerprint.size() == kFingerprintBytes.
BlockKey ChainKey(absl::string_view fingerprint, const BlockKey& parent,
                  absl::Span<const uint32_t> tokens, absl::string_view extra);

}  // namespace banyan
