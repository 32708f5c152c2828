// How UCX is set up, by kind of network: the only place with names and values of
// its settings. What the environment says of them (UCX_...) does not count.
//
// tcp   The sender pushes with eager messages, of which each fits a segment;
//       no memory key of anybody leaves a process.
// rdma  For rc and ud: what rendezvous needs, in which the sender writes into the
//       memory of the receiver. Nothing picks it, and it never ran on hardware: our
//       messages are sent eagerly with it, too, and who sends others is cut.
//
// Both ask UCX for active messages and wake-ups and for nothing else: whoever
// asks for remote memory access serves it unchecked (docs/adr/0011-ucx-by-push.md).
#pragma once

#include <ucp/api/ucp.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace banyan::transport {

inline constexpr uint64_t kUcxFeatures = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
static_assert((kUcxFeatures &
               (UCP_FEATURE_RMA | UCP_FEATURE_AMO32 | UCP_FEATURE_AMO64 |
                UCP_FEATURE_TAG | UCP_FEATURE_STREAM)) == 0);

enum class UcxNetwork { kTcp, kRdma };

// Settings by name, without "UCX_". `device` is an interface, or "all".
using UcxSettings = std::vector<std::pair<std::string, std::string>>;
UcxSettings UcxProfile(UcxNetwork network, absl::string_view device);

// How UCX begins to warn of settings that it took and does not know.
inline constexpr absl::string_view kUcxUnknownSettings =
    "invalid configuration";

// What we rely on was found out with 1.13: kFailedPrecondition reason
// UCX_VERSION for any other.
absl::Status CheckUcxVersion(unsigned major, unsigned minor);
absl::Status CheckUcxVersion();

}  // namespace banyan::transport
