// The blocks that a replay writes, and what it must read: payloads that follow
// from the block's identity; in a namespace with a codec numbers made of them,
// and what the codec makes of those.
//
// Threads: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fingerprint.h"
#include "client/cpp/block_coding.h"

namespace banyan::ctl {

class ReplayPayload {
 public:
  // For blocks of this space and length.
  // Errors: kInvalidArgument reason CODEC: none for such blocks.
  static absl::StatusOr<std::unique_ptr<ReplayPayload>> Make(
      std::string space, const Fingerprint& fingerprint, uint64_t block_bytes);

  // Writes the block with this key.
  // Requires: out.size() is the block's length.
  void Fill(std::string_view key, std::span<std::byte> out) const;

  // Whether these bytes are that block, which is number `block` of its chain.
  // Errors: kDataLoss, naming the first wrong byte.
  absl::Status Verify(std::string_view key, uint32_t block,
                      std::span<const std::byte> bytes) const;

  // Of a block as the node stores it, if it is none of the first.
  uint64_t stored_bytes() const;

 private:
  ReplayPayload(std::string space, uint64_t block_bytes, bool is_bf16,
                std::unique_ptr<client::BlockCoding> coding)
      : space_(std::move(space)),
        block_bytes_(block_bytes),
        is_bf16_(is_bf16),
        coding_(std::move(coding)) {}

  const std::string space_;
  const uint64_t block_bytes_;
  const bool is_bf16_;
  const std::unique_ptr<client::BlockCoding> coding_;  // Null: no codec.
};

}  // namespace banyan::ctl
