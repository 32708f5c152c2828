// All codecs, by their spec.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

// The codec for planes of this shape. `tables` are wanted by
// what wants a calibration, fit the spec
// and the shape, and are copied.
// Errors: kInvalidArgument reason CODEC if it cannot encode such planes, reason
// CALIBRATION if it wants tables.
absl::StatusOr<std::unique_ptr<PlaneCodec>> MakePlaneCodec(
    const PlaneSpec& spec, const PlaneShape& shape,
    const PlaneTables* tables = nullptr);

}  // namespace banyan::codec
