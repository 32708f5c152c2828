// Whether the blocks of a namespace can be encoded as its fingerprint says. The
// node neither encodes nor decodes them: clients do.
#pragma once

#include "absl/status/status.h"
#include "base/fingerprint.h"

namespace banyan::engine {

// OK if it says nothing.
// Requires: the fingerprint is valid (ValidateFingerprint).
// Errors: kInvalidArgument reason CODEC.
absl::Status CheckCodec(const Fingerprint& fingerprint);

}  // namespace banyan::engine
