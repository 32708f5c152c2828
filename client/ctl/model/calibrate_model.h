// Calibrations, for the codecs that want one, from what a model's keys and values
// are while it reads a text. Those of weighted cold weigh elements by the model's gradients
// (kv_gradients.h), those of nuq by their scale only.
//
// Cost: 4 bytes for each element of each token and spec, 8 with gradients, while
//       it runs.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/ctl/model/kv_cache.h"
#include "client/ctl/model/llama.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::ctl {

// Sequences of whole blocks, each of which begins at position 0.
struct CalibrationText {
  std::vector<std::vector<uint32_t>> sequences;
  uint32_t block_tokens = 0;
};

// One for each spec, of elements that are rounded to this type. They do not
// depend on how many tokens a block has.
//
// Requires: codec::WantsCalibration; sequences that are no longer than the model's.
// Errors:   kInvalidArgument, as of Calibrator; kFailedPrecondition reason VALUE:
//           keys or values that are not finite; reason CALIBRATION: no text.
absl::StatusOr<std::vector<codec::Calibration>> CalibrateModel(
    const Llama& llama, const CalibrationText& text,
    absl::Span<const codec::BlockSpec> specs, ElementType type);

}  // namespace banyan::ctl
