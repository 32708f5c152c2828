// All codecs, by their spec.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/codec/codec_spec.h"
#include "kernels/codec/plane_codec.h"

namespace banyan::codec {

// The codec for planes of this shape.
// Errors: kInvalidArgument reason CODEC if it cannot encode such planes.
absl::StatusOr<std::unique_ptr<PlaneCodec>> MakePlaneCodec(
    const PlaneSpec& spec, const PlaneShape& shape);

}  // namespace banyan::codec
