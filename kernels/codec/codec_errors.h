// What codecs say when values do not fit them.
#pragma once

#include "absl/status/status.h"
#include "base/error.h"

namespace banyan::codec {

inline absl::Status UnfitValue() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "VALUE",
                   "codec: a value is not finite, or beyond fp16. Keep the "
                   "raw bytes.");
}

inline absl::Status BadCode() {
  return MakeError(absl::StatusCode::kDataLoss, "CODEC",
                   "codec: encoded bytes that no encoder writes.");
}

inline absl::Status BadChecksum() {
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                   "codec: the checksum of an encoded layer does not match.");
}

}  // namespace banyan::codec
