#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/device_codec.h"
#include "kernels/codec/launch_codec.h"
#include "kernels/codec/rotlm_simd.h"
#include "kernels/cuda_status.h"

namespace banyan::codec {
namespace {

// Indices of a plane's elements fit into 32 bits, with room for the tail.
constexpr uint64_t kElementsMax = uint64_t{1} << 31;

absl::Status Bad(const PlaneSpec& spec, absl::string_view what) {
  return MakeError(
      absl::StatusCode::kInvalidArgument, "CODEC",
      absl::StrCat("codec: on a device, ", ToString(spec), " ", what));
}

absl::Status Check(const PlaneSpec& spec, const PlaneShape& shape,
                   const DevicePlanes& planes, const DeviceRope& rope) {
  if (shape.type != ElementType::kFp16 && shape.type != ElementType::kBf16) {
    return Bad(spec, "encodes fp16 and bf16 only.");
  }
  if (planes.planes == 0 || planes.planes > kBatchPlanesMax) {
    return Bad(spec, absl::StrCat("takes 1 to ", kBatchPlanesMax,
                                  " planes, got ", planes.planes, "."));
  }
  const uint64_t rows = uint64_t{planes.tokens} * shape.heads;
  if (rows == 0 || shape.dim == 0 || rows >= kElementsMax / shape.dim) {
    return Bad(spec, "takes planes of 1 to 2^31 elements.");
  }
  if (spec.id == CodecId::kRotLm && shape.dim > kRotLmDimMax) {
    return Bad(spec, absl::StrCat("takes rows of ", kRotLmDimMax,
                                  " at most, got ", shape.dim, "."));
  }
  const bool has_rope = rope.pairs > 0 && rope.pairs <= shape.dim / 2;
  if (spec.is_pre_rope && !has_rope) {
    return Bad(spec, "wants a rotary embedding that fits its rows.");
  }
  return absl::OkStatus();
}

PlaneBatch BatchOf(const PlaneShape& shape, const DevicePlanes& planes) {
  return {.rows = planes.rows,
          .plane_stride = planes.plane_stride_bytes,
          .token_stride = planes.token_stride_bytes,
          .head_stride = planes.head_stride_bytes,
          .encoded = planes.encoded,
          .encoded_stride = planes.encoded_stride_bytes,
          .verdicts = planes.verdicts,
          .planes = planes.planes,
          .tokens = planes.tokens,
          .heads = shape.heads,
          .dim = shape.dim,
          .is_bf16 = shape.type == ElementType::kBf16};
}

RotLmCodes RotLmCodesOf(const PlaneSpec& spec, const DeviceRope& rope) {
  return {.bits = spec.bits,
          .centre = static_cast<uint32_t>(spec.centre),
          .cosines = rope.cosines,
          .sines = rope.sines,
          .pairs = spec.is_pre_rope ? rope.pairs : 0,
          .is_interleaved = rope.order == RopePairs::kNeighbours};
}

IntCodes IntCodesOf(const PlaneSpec& spec) {
  return {.bits = spec.bits,
          .group = spec.group,
          .is_channel = spec.axis == Axis::kChannel};
}

// One for each codec that has kernels.
struct Launchers {
  int (*fp8)(const PlaneBatch& batch, void* stream);
  int (*integer)(const PlaneBatch& batch, const IntCodes& codes, void* stream);
  int (*rotlm)(const PlaneBatch& batch, const RotLmCodes& codes, void* stream);
};

absl::Status Launch(const Launchers& launchers, absl::string_view what,
                    const PlaneSpec& spec, const PlaneShape& shape,
                    const DevicePlanes& planes, const DeviceRope& rope,
                    DeviceStream stream) {
  BANYAN_RETURN_IF_ERROR(Check(spec, shape, planes, rope));
  const PlaneBatch batch = BatchOf(shape, planes);
  void* const on = stream.handle;
  switch (spec.id) {
    case CodecId::kFp8:
      return CudaStatus(launchers.fp8(batch, on), what);
    case CodecId::kInt:
      return CudaStatus(launchers.integer(batch, IntCodesOf(spec), on), what);
    case CodecId::kRotLm:
      return CudaStatus(launchers.rotlm(batch, RotLmCodesOf(spec, rope), on),
                        what);
    default:
      return Bad(spec, "has no kernel.");
  }
}

}  // namespace

absl::Status EncodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream) {
  return Launch({LaunchFp8Encode, LaunchIntEncode, LaunchRotLmEncode},
                "encoding of planes", spec, shape, planes, rope, stream);
}

absl::Status DecodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream) {
  return Launch({LaunchFp8Decode, LaunchIntDecode, LaunchRotLmDecode},
                "decoding of planes", spec, shape, planes, rope, stream);
}

}  // namespace banyan::codec
