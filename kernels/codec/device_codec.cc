#include "kernels/codec/device_codec.h"

#include <algorithm>

#include "kernels/codec/codec_errors.h"
#include "kernels/codec/launch_codec.h"
#include "kernels/codec/nuq_simd.h"

namespace banyan::codec {
namespace {

// Channels of heads one behind the other, without what pads them.
void CopyChannels(const NuqShape& shape, const std::vector<float>& padded,
                  float* to) {
  for (uint32_t head = 0; head < shape.plane.heads; ++head) {
    const auto row = padded.begin() + size_t{head} * shape.padded_dim;
    to = std::copy_n(row, shape.plane.dim, to);
  }
}

}  // namespace

uint64_t NuqTableFloats(const PlaneSpec& spec, const PlaneShape& shape) {
  const auto width = static_cast<uint32_t>(shape.token_elements());
  const uint64_t channels =
      spec.axis == Axis::kChannel ? NuqChannelFloats(width) : 0;
  return 2 * kNuqLevelFloats + 3 * channels;
}

void FillNuqTable(const PlaneSpec& spec, const PlaneShape& plane,
                  const NuqTables& tables, absl::Span<float> to) {
  const NuqShape shape(spec, plane, tables);
  std::fill(to.begin(), to.end(), 0.0f);
  std::copy(shape.levels.begin(), shape.levels.end(), to.begin());
  std::copy(shape.thresholds.begin(), shape.thresholds.end(),
            to.begin() + kNuqLevelFloats);
  if (shape.axis == Axis::kDim) return;
  float* channels = to.data() + 2 * kNuqLevelFloats;
  for (const auto* const padded :
       {&shape.centres, &shape.scales, &shape.inverses}) {
    CopyChannels(shape, *padded, channels);
    channels += NuqChannelFloats(shape.width());
  }
}

absl::Status VerdictStatus(uint32_t verdict) {
  if (verdict & kVerdictBadChecksum) return BadChecksum();
  if (verdict & kVerdictUnfitValue) return UnfitValue();
  if (verdict & kVerdictBadCode) return BadCode();
  return absl::OkStatus();
}

}  // namespace banyan::codec
