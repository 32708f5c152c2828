#include "kernels/codec/device_codec.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/codec_errors.h"
#include "kernels/codec/cold_basis.h"
#include "kernels/codec/cold_codec.h"
#include "kernels/codec/cold_matrix.h"
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

// Where a kernel looks for them: see kColdCosines.
void FillColdCosines(uint32_t tokens, float* to) {
  std::vector<float> cosines(size_t{tokens} * tokens);
  FillCosines(tokens, cosines.data());
  for (uint32_t f = 1; f < tokens; ++f) {
    for (uint32_t t = 0; t < tokens; ++t) {
      to[(2 * t + 1) * f % (4 * tokens)] = cosines[size_t{f} * tokens + t];
    }
  }
  to[4 * tokens] = cosines[0];
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

uint64_t ColdTableFloats(const PlaneSpec& spec, const PlaneShape& shape) {
  const uint64_t width = shape.token_elements();
  return kColdMeansAt + (spec.is_weighted ? width * (1 + 2 * shape.dim) : 0);
}

void FillColdTable(const PlaneSpec& spec, const PlaneShape& shape,
                   uint32_t tokens, const ColdTables* tables,
                   absl::Span<float> to) {
  const uint32_t unit_tokens = ColdCodec(spec.bits, shape).unit_tokens();
  std::fill_n(to.begin(), kColdMeansAt, 0.0f);
  for (uint32_t i = 0; i < kColdOctaveSteps; ++i) {
    to[i] = ColdStepOf(static_cast<int>(i));
  }
  to[kColdBitsAt] = static_cast<float>(tables == nullptr ? spec.bits * kBitPart
                                                         : tables->bits);
  FillColdCosines(unit_tokens, &to[kColdCosinesAt]);
  if (const uint32_t last = tokens % unit_tokens; last > 0) {
    FillColdCosines(last, &to[kColdLastCosinesAt]);
  }
  for (uint32_t i = 0; i < kColdOctaveSteps; ++i) {
    std::memcpy(&to[kColdPartsAt + 2 * i], &kColdOctaveParts[i], 8);
  }
  if (tables == nullptr) return;
  auto next = to.begin() + kColdMeansAt;
  for (const auto& floats :
       {tables->means, tables->basis, InverseBases(shape.dim, tables->basis)}) {
    next = std::copy(floats.begin(), floats.end(), next);
  }
}

uint64_t ColdScratchFloats(const PlaneSpec& spec, const PlaneShape& shape,
                           uint32_t planes, uint32_t tokens) {
  const uint64_t unit_tokens = ColdCodec(spec.bits, shape).unit_tokens();
  const uint64_t width = shape.token_elements();
  const uint64_t units = (tokens + unit_tokens - 1) / unit_tokens;
  return planes * units *
         ColdUnitFloats(unit_tokens, width, ColdFactorsMax(unit_tokens, width),
                        spec.is_weighted);
}

uint64_t ColdEncodeScratchFloats(const PlaneSpec& spec, const PlaneShape& shape,
                                 uint32_t planes, uint32_t tokens) {
  const uint64_t unit_tokens = ColdCodec(spec.bits, shape).unit_tokens();
  const uint64_t width = shape.token_elements();
  const uint64_t units = (tokens + unit_tokens - 1) / unit_tokens;
  return planes * units *
         ColdEncodeFloats(unit_tokens, width,
                          ColdFactorsMax(unit_tokens, width));
}

absl::Status VerdictStatus(uint32_t verdict) {
  if (verdict & kVerdictBadChecksum) return BadChecksum();
  if (verdict & kVerdictUnfitValue) return UnfitValue();
  if (verdict & kVerdictBadCode) return BadCode();
  return absl::OkStatus();
}

}  // namespace banyan::codec
