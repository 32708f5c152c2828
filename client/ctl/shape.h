// A layout as one writes it on the command line.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/fingerprint.h"

namespace banyan::ctl {

// Sets the layout of the fingerprint, nhd with K and V, to
// LAYERSxKV_HEADSxHEAD_DIM[:DTYPE]; without DTYPE bf16.
// Errors: kInvalidArgument reason SHAPE.
absl::Status SetShape(const std::string& shape, uint32_t block_tokens,
                      Fingerprint& fingerprint);

}  // namespace banyan::ctl
