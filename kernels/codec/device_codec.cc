#include "kernels/codec/device_codec.h"

#include "kernels/codec/codec_errors.h"
#include "kernels/codec/launch_codec.h"

namespace banyan::codec {

absl::Status VerdictStatus(uint32_t verdict) {
  if (verdict & kVerdictBadChecksum) return BadChecksum();
  if (verdict & kVerdictUnfitValue) return UnfitValue();
  if (verdict & kVerdictBadCode) return BadCode();
  return absl::OkStatus();
}

}  // namespace banyan::codec
