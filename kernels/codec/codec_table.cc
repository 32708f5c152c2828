#include "kernels/codec/codec_table.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "kernels/codec/cold_codec.h"
#include "kernels/codec/fp8_codec.h"
#include "kernels/codec/int_codec.h"
#include "kernels/codec/kvarn_codec.h"
#include "kernels/codec/lossless_codec.h"
#include "kernels/codec/nuq_codec.h"
#include "kernels/codec/raw_codec.h"
#include "kernels/codec/rotlm_codec.h"

namespace banyan::codec {

absl::StatusOr<std::unique_ptr<PlaneCodec>> MakePlaneCodec(
    const PlaneSpec& spec, const PlaneShape& shape, const PlaneTables* tables) {
  const bool is_float =
      shape.type == ElementType::kFp16 || shape.type == ElementType::kBf16;
  if (!spec.is_lossless() && !is_float) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                     absl::StrCat("codec: ", ToString(spec),
                                  " encodes fp16 and bf16 only. Use raw."));
  }
  if (spec.id == CodecId::kRotLm && shape.dim > kRotLmDimMax) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CODEC",
        absl::StrCat("codec: ", ToString(spec), " takes rows of ", kRotLmDimMax,
                     " at most, got ", shape.dim, "."));
  }
  if (spec.id == CodecId::kLossless &&
      shape.token_elements() > kLosslessTokenMax) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CODEC",
        absl::StrCat("codec: lossless takes tokens of ", kLosslessTokenMax,
                     " elements at most, got ", shape.token_elements(), "."));
  }
  if (spec.id == CodecId::kCold && shape.token_elements() > kColdTokenMax) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CODEC",
        absl::StrCat("codec: ", ToString(spec), " takes tokens of ",
                     kColdTokenMax, " elements at most, got ",
                     shape.token_elements(), "."));
  }
  if (spec.wants_calibration() && tables == nullptr) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CALIBRATION",
        absl::StrCat(
            "codec: ", ToString(spec),
            " wants a calibration of the model. rotlm wants none, nor does "
            "cold without weighted."));
  }
  if (spec.is_weighted &&
      tables->cold.basis.size() != shape.token_elements() * shape.dim) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                     "codec: the calibration is for heads of another size.");
  }
  switch (spec.id) {
    case CodecId::kRaw:
      return std::make_unique<RawCodec>(shape);
    case CodecId::kFp8:
      return std::make_unique<Fp8Codec>(shape);
    case CodecId::kInt:
      return std::make_unique<IntCodec>(spec, shape);
    case CodecId::kRotLm:
      return std::make_unique<RotLmCodec>(spec, shape);
    case CodecId::kLossless:
      return std::make_unique<LosslessCodec>(shape);
    case CodecId::kNuq:
      return std::make_unique<NuqCodec>(spec, shape, tables->nuq);
    case CodecId::kCold:
      return std::make_unique<ColdCodec>(
          spec.bits, shape, spec.is_weighted ? &tables->cold : nullptr);
    case CodecId::kKvarn:
      return std::make_unique<KvarnCodec>(spec, shape);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "CODEC",
                   "codec: unknown number.");
}

}  // namespace banyan::codec
