// Who a node is over restarts: its id, which its directories carry, and the
// secret that keys its block ids. Kept in one small file, `node.json`, that
// only its owner may read. Without the secret nobody, this node included, can
// find a block that is on disk: keep the file with the data.
//
// Errors: kFailedPrecondition reason NODE_FILE: it cannot be read or made, or is
//         no node file; the process exits with 3.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace banyan::server {

struct NodeIdentity {
  std::string node_id;  // 32 hex digits.
  std::string secret;   // 32 bytes.

  friend bool operator==(const NodeIdentity&, const NodeIdentity&) = default;
};

// A new one, for a node that keeps nothing.
NodeIdentity MakeNodeIdentity();

// The one in `directory`; made, durably, if there is none.
absl::StatusOr<NodeIdentity> LoadNodeIdentity(const std::string& directory);

}  // namespace banyan::server
