// Between the client's values and the messages of banyan.v1.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "banyan/v1/cache.pb.h"
#include "base/block_header.h"
#include "base/fingerprint.h"
#include "client/cpp/client.h"

namespace banyan::client {

void SetFingerprint(const Fingerprint& in, banyan::v1::Fingerprint* out);

// Blocks [first, first + count) of a chain given from its root.
void SetRun(std::string_view chain_keys, size_t key_bytes, uint32_t first,
            uint32_t count, uint32_t group_blocks, banyan::v1::KeyRun* out);

// Identity of block i of the run.
BlockIdentity IdentityOf(std::string_view namespace_id, std::string_view salt,
                         const banyan::v1::KeyRun& run, size_t i);

// The packed checksums of a payload's pieces.
std::string Checksums(const BlockIdentity& identity,
                      std::span<const std::byte> payload, uint64_t piece_bytes);

void SetHint(const ReuseHint& hint, banyan::v1::ReuseHint* out);

WriteResult WriteResultOf(int verdict);

}  // namespace banyan::client
