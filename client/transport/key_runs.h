// Cutting a run of keys into questions that fit a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block_key.h"
#include "client/transport/transport.h"

namespace banyan::transport {

// kInvalidArgument reason KEYS: what no message can carry.
absl::Status CheckKeys(const Blocks& blocks);

// The run from block `skip` of this one on. `lead` holds what it points to.
KeyRun Advance(const KeyRun& run, size_t skip, uint32_t group_blocks,
               std::string& lead);

// As many leading keys as have room in `room_bytes` beside the lead; one at
// least. With long groups what leads to them may take all the room: then gRPC is
// to carry the question, kUnavailable reason QUESTION.
absl::StatusOr<KeyRun> Fitting(const KeyRun& run, size_t room_bytes,
                               size_t keys_max);

}  // namespace banyan::transport
