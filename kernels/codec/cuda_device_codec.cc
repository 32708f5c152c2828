#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/cold_codec.h"
#include "kernels/codec/cold_matrix.h"
#include "kernels/codec/device_codec.h"
#include "kernels/codec/kvarn_simd.h"
#include "kernels/codec/launch_codec.h"
#include "kernels/codec/lossless_codec.h"
#include "kernels/codec/nuq_simd.h"
#include "kernels/codec/rotlm_simd.h"
#include "kernels/cuda_status.h"

namespace banyan::codec {
namespace {

static_assert(kKvarnDeviceTileTokens == kKvarnTileTokens);
static_assert(kColdUnitTokensMax == kCosineTokensMax);

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
  if (spec.id == CodecId::kKvarn && shape.dim > kKvarnDeviceDimMax) {
    return Bad(spec, absl::StrCat("takes rows of ", kKvarnDeviceDimMax,
                                  " at most, got ", shape.dim, "."));
  }
  if (spec.id == CodecId::kNuq) {
    if (shape.token_elements() > kNuqDeviceWidthMax) {
      return Bad(spec, absl::StrCat("takes tokens of ", kNuqDeviceWidthMax,
                                    " elements at most, got ",
                                    shape.token_elements(), "."));
    }
    const auto tables = reinterpret_cast<uintptr_t>(planes.nuq_tables);
    if (tables == 0 || tables % 16 != 0) {
      return Bad(spec, "wants its tables, at a multiple of 16.");
    }
  }
  if (spec.id == CodecId::kLossless &&
      shape.token_elements() > kLosslessTokenMax) {
    return Bad(spec, absl::StrCat("takes tokens of ", kLosslessTokenMax,
                                  " elements at most, got ",
                                  shape.token_elements(), "."));
  }
  if (spec.id == CodecId::kCold) {
    if (shape.token_elements() > kColdTokenMax) {
      return Bad(spec, absl::StrCat("takes tokens of ", kColdTokenMax,
                                    " elements at most, got ",
                                    shape.token_elements(), "."));
    }
    if (planes.cold_tables == nullptr || planes.cold_scratch == nullptr) {
      return Bad(spec, "wants its tables, and room on the way.");
    }
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

Rotation RotationOf(const PlaneSpec& spec, const DeviceRope& rope) {
  return {.cosines = rope.cosines,
          .sines = rope.sines,
          .pairs = spec.is_pre_rope ? rope.pairs : 0,
          .is_interleaved = rope.order == RopePairs::kNeighbours};
}

RotLmCodes RotLmCodesOf(const PlaneSpec& spec, const DeviceRope& rope) {
  return {.bits = spec.bits,
          .centre = static_cast<uint32_t>(spec.centre),
          .rotation = RotationOf(spec, rope)};
}

NuqCodes NuqCodesOf(const PlaneSpec& spec, const PlaneShape& shape,
                    const DevicePlanes& planes, const DeviceRope& rope) {
  const auto width = static_cast<uint32_t>(shape.token_elements());
  return {.bits = spec.bits,
          .is_channel = spec.axis == Axis::kChannel,
          .slots_a_side = spec.is_dense ? 0 : NuqSlotsASide(width),
          .tables = planes.nuq_tables,
          .table_stride = NuqTableFloats(spec, shape),
          .rotation = RotationOf(spec, rope)};
}

IntCodes IntCodesOf(const PlaneSpec& spec) {
  return {.bits = spec.bits,
          .group = spec.group,
          .is_channel = spec.axis == Axis::kChannel};
}

KvarnCodes KvarnCodesOf(const PlaneSpec& spec) {
  return {.bits = spec.bits, .is_channel = spec.axis == Axis::kChannel};
}

LosslessUnits LosslessUnitsOf(const PlaneShape& shape,
                              const DevicePlanes& planes) {
  const LosslessCodec codec(shape);
  return {.unit_tokens = codec.unit_tokens(),
          .prefix_bytes = codec.PrefixBytes(planes.tokens),
          .begins = planes.encoded_begins,
          .counts = planes.lossless_counts,
          .sizes = planes.lossless_bytes};
}

ColdCodes ColdCodesOf(const PlaneSpec& spec, const PlaneShape& shape,
                      const DevicePlanes& planes, const DeviceRope& rope,
                      bool is_encode) {
  const uint32_t unit_tokens = ColdCodec(spec.bits, shape).unit_tokens();
  const uint64_t width = shape.token_elements();
  const uint32_t factors_max = ColdFactorsMax(unit_tokens, width);
  return {
      .unit_tokens = unit_tokens,
      .factors_max = factors_max,
      .factors_max_of_last = ColdFactorsMax(planes.tokens % unit_tokens, width),
      .is_weighted = spec.is_weighted,
      .begins = planes.encoded_begins,
      .tables = planes.cold_tables,
      .table_stride = ColdTableFloats(spec, shape),
      .scratch = planes.cold_scratch,
      .unit_floats = is_encode
                         ? ColdEncodeFloats(unit_tokens, width, factors_max)
                         : ColdUnitFloats(unit_tokens, width, factors_max,
                                          spec.is_weighted),
      .rotation = RotationOf(spec, rope),
      .sizes = planes.cold_bytes};
}

// One for each codec that has kernels.
struct Launchers {
  int (*fp8)(const PlaneBatch& batch, void* stream);
  int (*integer)(const PlaneBatch& batch, const IntCodes& codes, void* stream);
  int (*rotlm)(const PlaneBatch& batch, const RotLmCodes& codes, void* stream);
  int (*nuq)(const PlaneBatch& batch, const NuqCodes& codes, void* stream);
  int (*kvarn)(const PlaneBatch& batch, const KvarnCodes& codes, void* stream);
  int (*lossless)(const PlaneBatch& batch, const LosslessUnits& units,
                  void* stream);
  int (*cold)(const PlaneBatch& batch, const ColdCodes& codes, void* stream);
  bool is_encode;
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
    case CodecId::kNuq:
      return CudaStatus(
          launchers.nuq(batch, NuqCodesOf(spec, shape, planes, rope), on),
          what);
    case CodecId::kKvarn:
      return CudaStatus(launchers.kvarn(batch, KvarnCodesOf(spec), on), what);
    case CodecId::kLossless:
      return CudaStatus(
          launchers.lossless(batch, LosslessUnitsOf(shape, planes), on), what);
    case CodecId::kCold:
      return CudaStatus(
          launchers.cold(
              batch,
              ColdCodesOf(spec, shape, planes, rope, launchers.is_encode), on),
          what);
    default:
      break;
  }
  return Bad(spec, "has no kernel.");
}

}  // namespace

absl::Status EncodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream) {
  if (spec.id == CodecId::kKvarn && shape.dim > kKvarnDeviceEncodeDimMax) {
    return Bad(spec, absl::StrCat("encodes rows of ", kKvarnDeviceEncodeDimMax,
                                  " at most, got ", shape.dim, "."));
  }
  if (spec.id == CodecId::kLossless &&
      (planes.lossless_counts == nullptr || planes.lossless_bytes == nullptr)) {
    return Bad(spec, "wants counts, and a place for sizes.");
  }
  if (spec.id == CodecId::kCold && planes.cold_bytes == nullptr) {
    return Bad(spec, "wants a place for sizes.");
  }
  return Launch(
      {LaunchFp8Encode, LaunchIntEncode, LaunchRotLmEncode, LaunchNuqEncode,
       LaunchKvarnEncode, LaunchLosslessEncode, LaunchColdEncode, true},
      "encoding of planes", spec, shape, planes, rope, stream);
}

absl::Status DecodePlanesOnDevice(const PlaneSpec& spec,
                                  const PlaneShape& shape,
                                  const DevicePlanes& planes,
                                  const DeviceRope& rope, DeviceStream stream) {
  return Launch(
      {LaunchFp8Decode, LaunchIntDecode, LaunchRotLmDecode, LaunchNuqDecode,
       LaunchKvarnDecode, LaunchLosslessDecode, LaunchColdDecode, false},
      "decoding of planes", spec, shape, planes, rope, stream);
}

}  // namespace banyan::codec
