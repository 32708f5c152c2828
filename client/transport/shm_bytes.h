// What the parsers of messages in shared memory share.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace banyan::transport {

// kInvalidArgument, reason FRAME.
absl::Status MalformedShm(absl::string_view what);

// The whole of an answer, or the error that it is. Its body begins at byte 8.
absl::StatusOr<absl::Span<const std::byte>> AnswerBody(
    absl::Span<const std::byte> bytes);

inline std::byte* BytesOf(std::string& text) {
  return reinterpret_cast<std::byte*>(text.data());
}

}  // namespace banyan::transport
