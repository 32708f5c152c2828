// Between the client's values and the messages of banyan.v1.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "banyan/v1/cache.pb.h"
#include "base/block_key.h"
#include "base/fingerprint.h"
#include "base/representation.h"
#include "client/cpp/client.h"

namespace banyan::client {

void SetFingerprint(const Fingerprint& in, banyan::v1::Fingerprint* out);

// Blocks [first, first + count) of a chain given from its root. A view.
KeyRun RunOf(std::string_view chain_keys, size_t key_bytes, uint32_t first,
             uint32_t count, uint32_t group_blocks);

void SetRun(const KeyRun& run, banyan::v1::KeyRun* out);

void SetHint(const ReuseHint& hint, banyan::v1::ReuseHint* out);

WriteResult WriteResultOf(int verdict);

// Of an error_max; without it, any block will do.
// Errors: kInvalidArgument reason QUALITY.
absl::StatusOr<QualityFloor> FloorOf(const std::optional<double>& error_max);

}  // namespace banyan::client
