// How the calls of a Transport become questions of shared memory.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/transport/shm_messages.h"
#include "client/transport/transport.h"

namespace banyan::transport {

// kInternal, reason PROTOCOL.
absl::Status ShmBrokeProtocol(absl::string_view what);

// A view of both. `run` is part of the blocks'.
ShmBlocksQuestion QuestionOf(ShmKind kind, const Blocks& blocks,
                             const KeyRun& run);

std::string ReleaseOf(const std::string& lease_id);

}  // namespace banyan::transport
