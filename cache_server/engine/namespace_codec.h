// Whether the blocks of a namespace can be encoded as its fingerprint says. The
// node neither encodes nor decodes them: clients do.
//
// Errors: kInvalidArgument reason CODEC or CALIBRATION.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/fingerprint.h"

namespace banyan::engine {

// Enough for weighted cold of 126 layers of 8 heads of 128.
inline constexpr size_t kCalibrationBytesMax = size_t{64} << 20;

// Of one that is longer: kInvalidArgument reason CALIBRATION.
absl::Status TooLongCalibration(uint64_t bytes);

// Of the fingerprint by itself; OK if it names no codec. That a calibration fits is
// for CheckCalibration.
// Requires: the fingerprint is valid (ValidateFingerprint).
absl::Status CheckCodec(const Fingerprint& fingerprint);

// Whether these bytes are the calibration that the fingerprint names, and fit
// its codec. Empty where it names none.
// Requires: CheckCodec.
absl::Status CheckCalibration(const Fingerprint& fingerprint,
                              absl::string_view calibration);

// A payload of this length is a block that was not encoded; all others are as
// far off as their writer says, or by an error that nobody knows. 0 where
// blocks are always what was written.
// Requires: CheckCodec.
uint64_t RawBytesOfLossy(const Fingerprint& fingerprint);

}  // namespace banyan::engine
