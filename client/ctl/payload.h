// Self-describing payloads: bytes that follow from (namespace, key) alone, and
// say so. Any reader can verify any part of any block without having the
// original, and name the block whose bytes it wrongly got.
//
// Layout: pages of 4 KiB from the start of the payload. Each page holds a label
// of 128 bytes (magic, page number, namespace, key), then a pseudo-random
// stream seeded with namespace, key and page number. A last page shorter than a
// label is all stream, so that even a payload of one byte depends on its key.
//
// For load generators and tests; nothing in the store looks at payloads.
//
// Threads: thread-safe.
// Cost:    filling and verifying run at several GB/s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::ctl {

inline constexpr size_t kPayloadPageBytes = 4096;
inline constexpr size_t kPayloadLabelBytes = 128;

// Longest namespace text that a label shows; longer ones are cut there, but
// count in full in the stream.
inline constexpr size_t kLabelNamespaceBytesMax = 38;

// Writes the payload of (space, key) into `out`.
// Requires: key has at most 64 bytes.
void FillPayload(absl::string_view space, absl::string_view key,
                 absl::Span<std::byte> out);

// Checks that `bytes` are those of the payload of (space, key) from
// `offset_bytes` on; `payload_bytes` is the length of the whole payload.
// Errors: kDataLoss; the message names the first wrong byte and whose bytes
//         these are instead.
absl::Status VerifyPayload(absl::string_view space, absl::string_view key,
                           absl::Span<const std::byte> bytes,
                           uint64_t offset_bytes, uint64_t payload_bytes);

// For people: the blocks whose labels are found in `bytes`, at most four.
std::string DescribePayload(absl::Span<const std::byte> bytes);

}  // namespace banyan::ctl
