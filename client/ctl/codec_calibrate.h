// The command `banyanctl codec calibrate`: what a codec must know of a model, as
// the file that a namespace takes, from what the model's keys and values are
// while it reads a text.
//
// Format: docs/formats/codec_calibration.md.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/ctl/model/loaded_model.h"
#include "kernels/codec/plane.h"

namespace banyan::ctl {

struct CodecCalibrateOptions {
  std::string spec;  // Of a codec that wants a calibration.
  uint32_t window_tokens = 1024;
  uint32_t tokens = 8192;  // Of the text, at most; whole windows.
  codec::ElementType type = codec::ElementType::kFp16;  // Or kBf16.
};

struct CodecCalibration {
  std::string model;
  std::string spec;
  uint64_t tokens = 0;
  std::string bytes;
};

// Errors: kInvalidArgument reason CODEC or CALIBRATION: no such codec, or one
//         that wants no calibration; reason EVAL: a text that fills no window.
absl::StatusOr<CodecCalibration> CalibrateCodec(
    const LoadedModel& model, absl::string_view text,
    const CodecCalibrateOptions& options);

std::string CodecCalibrationText(const CodecCalibration& made);
std::string CodecCalibrationJson(const CodecCalibration& made);

}  // namespace banyan::ctl
