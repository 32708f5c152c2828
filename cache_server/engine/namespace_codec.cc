#include "cache_server/engine/namespace_codec.h"

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "kernels/codec/calibrated_codec.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane.h"

namespace banyan::engine {
namespace {

absl::Status Bad(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

bool WantsCalibration(const codec::BlockSpec& spec,
                      const Fingerprint& fingerprint) {
  return codec::WantsCalibration(spec, fingerprint.planes);
}

}  // namespace

absl::Status TooLongCalibration(uint64_t bytes) {
  return Bad("CALIBRATION",
             absl::StrCat("calibration: ", bytes, " bytes, limit ",
                          kCalibrationBytesMax,
                          ". Use a codec that must know less of the model."));
}

absl::Status CheckCodec(const Fingerprint& fingerprint) {
  if (fingerprint.kv_codec.empty()) return absl::OkStatus();
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(fingerprint.kv_codec));
  // One text for one spec: otherwise equal blocks lie in two namespaces.
  if (const std::string text = ToString(spec); text != fingerprint.kv_codec) {
    return Bad("CODEC", absl::StrCat("fingerprint.kv_codec: send its shortest "
                                     "form, \"",
                                     text, "\"."));
  }
  const bool wants_one = WantsCalibration(spec, fingerprint);
  if (wants_one != fingerprint.calibration_digest.empty()) {
    return absl::OkStatus();
  }
  return Bad("CALIBRATION",
             wants_one
                 ? absl::StrCat(
                       "fingerprint.calibration_digest: ", fingerprint.kv_codec,
                       " wants a calibration of the model. Name it.")
                 : absl::StrCat(
                       "fingerprint.calibration_digest: ", fingerprint.kv_codec,
                       " works without. Leave it out."));
}

absl::Status CheckCalibration(const Fingerprint& fingerprint,
                              absl::string_view calibration) {
  if (fingerprint.kv_codec.empty()) return absl::OkStatus();
  if (!fingerprint.calibration_digest.empty() && calibration.empty()) {
    return Bad("CALIBRATION",
               "calibration: missing, and this node does not know it yet. Send "
               "it with the namespace.");
  }
  if (!calibration.empty() &&
      AsText(Sha256({calibration})) != fingerprint.calibration_digest) {
    return Bad("CALIBRATION",
               "calibration: not the one that fingerprint.calibration_digest "
               "names. Send that, or its own digest.");
  }
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(fingerprint.kv_codec));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout, KvLayout::Of(fingerprint));
  BANYAN_ASSIGN_OR_RETURN(const codec::ElementType type,
                          codec::ParseElementType(fingerprint.data_type));
  return codec::CheckBlockCodec(spec, layout, type, AsBytes(calibration));
}

uint64_t RawBytesOfLossy(const Fingerprint& fingerprint) {
  const auto spec = codec::ParseBlockSpec(fingerprint.kv_codec);
  const auto layout = KvLayout::Of(fingerprint);
  if (fingerprint.kv_codec.empty() || !spec.ok() || !layout.ok() ||
      (spec->keys.is_lossless() && spec->values.is_lossless())) {
    return 0;
  }
  return layout->block_bytes();
}

}  // namespace banyan::engine
