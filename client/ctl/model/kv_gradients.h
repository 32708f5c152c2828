// How much what a llama model says next depends on its keys and values: the
// gradients of the log likelihood of next tokens that are drawn from what the
// model says itself. The mean of their squares is the Fisher information: half
// of it times a squared error is what that error costs in KL, as long as it is
// small.
//
// Method:  back-propagation; of each layer only its input is kept, and the rest
//          computed again.
// Cost:    about four passes forward, and 4 bytes for each element of the
//          stream of each layer.
// Threads: thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/ctl/model/llama.h"

namespace banyan::ctl {

// Of a layer, [token, kv_head, head_dim].
struct KvGradient {
  std::vector<float> keys;
  std::vector<float> bare_keys;  // Before their rotary embedding.
  std::vector<float> values;
};

// Called for each layer once, from the last to the first.
using KvGradientSink =
    absl::FunctionRef<absl::Status(uint32_t layer, const KvGradient&)>;

// Of a sequence from position 0 on, the sum over its tokens. Returns the tokens
// that were drawn, one behind each; equal seeds draw equal ones.
// Requires: tokens that Llama::Forward takes.
// Errors:   those of the sink.
absl::StatusOr<std::vector<uint32_t>> KvGradients(
    const Llama& llama, absl::Span<const uint32_t> tokens, uint64_t seed,
    KvGradientSink sink);

}  // namespace banyan::ctl
