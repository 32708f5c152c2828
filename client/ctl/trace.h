// A trace of requests in Mooncake's format: one JSON object a line with
// timestamp (ms), input_length, output_length (tokens) and hash_ids, the blocks
// of the prompt; equal ids mean equal prefixes. Plain, or compressed with zstd
// (.zst).
//
// Source of the format: Mooncake, FAST'25 release.
// Errors: kNotFound (no such file), kInvalidArgument with file and line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::ctl {

struct TraceRequest {
  uint64_t timestamp_ms = 0;
  uint64_t input_tokens = 0;
  uint64_t output_tokens = 0;  // 0: not in the trace.
  std::vector<uint64_t> blocks;
};

// `name` is for messages.
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(absl::string_view name,
                                                     const std::string& text);

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);

}  // namespace banyan::ctl
