// How calibrations travel: one that is short with its namespace, in one message; a
// longer one in parts, by OpenCalibratedNamespace and GetCalibration.
#pragma once

#include <cstddef>

namespace banyan::transport {

// A message has room for as much, and the rest of it.
inline constexpr size_t kWholeCalibrationBytesMax = size_t{3} << 20;

inline constexpr size_t kCalibrationPartBytes = size_t{1} << 20;

// No node takes longer ones, nor has any.
inline constexpr size_t kCalibrationBytesMax = size_t{64} << 20;

}  // namespace banyan::transport
