#include "client/ctl/codec_calibrate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/ctl/codec_eval.h"
#include "client/ctl/model/calibrate_model.h"
#include "kernels/codec/calibrated_codec.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::ctl {
namespace {

// Blocks that the model's keys and values are handed over in. What is made does
// not depend on it.
constexpr uint32_t kBlockTokens = 64;

std::string DigestOf(const CodecCalibration& made) {
  return absl::BytesToHexString(AsText(Sha256({made.bytes})));
}

}  // namespace

absl::StatusOr<CodecCalibration> CalibrateCodec(
    const LoadedModel& model, absl::string_view text,
    const CodecCalibrateOptions& options) {
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(options.spec));
  if (!codec::WantsCalibration(spec)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                     absl::StrCat("codec: ", options.spec,
                                  " works without a calibration. Those that "
                                  "want one are nuq, and cold with weighted."));
  }
  const uint32_t window =
      std::min(options.window_tokens, model.llama.shape().positions) /
      kBlockTokens * kBlockTokens;
  const CalibrationText read{
      .sequences = window == 0 ? std::vector<std::vector<uint32_t>>()
                               : TextWindows(*model.tokenizer, text, window,
                                             options.tokens),
      .block_tokens = kBlockTokens};
  if (read.sequences.empty()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "EVAL",
        absl::StrCat("text: no window of ", window, " tokens, in blocks of ",
                     kBlockTokens, ". Give more text, or more tokens of it."));
  }
  BANYAN_ASSIGN_OR_RETURN(
      const std::vector<codec::Calibration> made,
      CalibrateModel(model.llama, read, {spec}, options.type));
  return CodecCalibration{
      .model = model.name,
      .spec = codec::ToString(spec),
      .tokens = read.sequences.size() * window,
      .bytes = std::string(AsText(made.front().Serialize()))};
}

std::string CodecCalibrationText(const CodecCalibration& made) {
  return absl::StrFormat("%s of %s, from %d tokens: %s, SHA-256 %s\n",
                         made.spec, made.model, made.tokens,
                         FormatBytes(made.bytes.size()), DigestOf(made));
}

std::string CodecCalibrationJson(const CodecCalibration& made) {
  const nlohmann::ordered_json json = {{"model", made.model},
                                       {"codec", made.spec},
                                       {"tokens", made.tokens},
                                       {"bytes", made.bytes.size()},
                                       {"sha256", DigestOf(made)}};
  return json.dump(2) + "\n";
}

}  // namespace banyan::ctl
