// Blocks for tests by number: block n of a test namespace has an identity, an
// id and a payload that follow from n, so a wrong byte is recognised as whose.
// Payloads come from the same generator as those of `banyanctl replay`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/block_header.h"
#include "base/block_id.h"
#include "tiers/tier.h"

namespace banyan::testing {

// Identity, id and payload of block number `n`.
BlockIdentity IdentityNo(uint64_t n);
BlockId IdNo(uint64_t n);
std::vector<std::byte> PayloadNo(uint64_t n, uint64_t payload_bytes);
void FillPayloadNo(uint64_t n, absl::Span<std::byte> out);

// Header of block n over these payload bytes, in pieces of `piece_bytes`; 0
// makes one piece.
BlockHeader HeaderNo(uint64_t n, absl::Span<const std::byte> payload,
                     uint64_t piece_bytes = 0);

// Stages, fills and stores block n.
absl::Status StoreNo(tiers::Tier& tier, uint64_t n, uint64_t payload_bytes,
                     uint64_t piece_bytes = 0);

// Reads all pieces through the pin; OK if each is verified by the tier and is
// what block n holds. kInternal if verified bytes are wrong: never allowed.
absl::Status CheckPinNo(const tiers::BlockPin& pin, uint64_t n,
                        uint64_t payload_bytes);

// Pins block n and checks it as above. Returns the tier's own error as it is.
absl::Status ReadNo(tiers::Tier& tier, uint64_t n, uint64_t payload_bytes);

// Text about whose bytes these are.
std::string Describe(absl::Span<const std::byte> bytes);

}  // namespace banyan::testing
