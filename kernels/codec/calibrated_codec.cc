#include "kernels/codec/calibrated_codec.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/codec_table.h"

namespace banyan::codec {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION", message);
}

// Of the spec; empty if it wants none.
absl::StatusOr<std::optional<Calibration>> ReadCalibration(
    const BlockSpec& spec, const KvLayout& layout,
    absl::Span<const std::byte> bytes) {
  const KvLayout::Shape& shape = layout.shape();
  if (!WantsCalibration(spec, shape.planes)) {
    if (bytes.empty()) return std::nullopt;
    return Bad(absl::StrCat("calibration: ", ToString(spec),
                            " works without. Leave it out."));
  }
  if (bytes.empty()) {
    return Bad(absl::StrCat("calibration: ", ToString(spec),
                            " wants one of the model. Send it, or use rotlm, "
                            "which wants none."));
  }
  auto read = Calibration::Parse(bytes);
  if (!read.ok()) {
    return Bad(absl::StrCat("calibration: ", bytes.size(),
                            " bytes, none that are one. Send the file as it "
                            "was made."));
  }
  const Calibration::Shape& made_for = read->shape();
  const uint64_t width = uint64_t{shape.kv_heads} * shape.head_dim;
  if (made_for.layers == shape.layers &&
      read->Fits(spec, shape.planes, width)) {
    return std::optional(*std::move(read));
  }
  return Bad(absl::StrCat("calibration: made for k=", ToString(made_for.keys),
                          ",v=", ToString(made_for.values), " of ",
                          made_for.layers, " layers and ", made_for.width,
                          " channels; want ", ToString(spec), " of ",
                          shape.layers, " and ", width, "."));
}

}  // namespace

bool WantsCalibration(const BlockSpec& spec, uint32_t planes) {
  return spec.keys.wants_calibration() ||
         (planes > 1 && spec.values.wants_calibration());
}

absl::StatusOr<std::unique_ptr<BlockCodec>> MakeBlockCodec(
    BlockCodec::Options options, absl::Span<const std::byte> calibration) {
  BANYAN_ASSIGN_OR_RETURN(
      const std::optional<Calibration> read,
      ReadCalibration(options.spec, options.layout, calibration));
  options.calibration = read.has_value() ? &*read : nullptr;
  return BlockCodec::Make(options);
}

absl::Status CheckBlockCodec(const BlockSpec& spec, const KvLayout& layout,
                             ElementType type,
                             absl::Span<const std::byte> calibration) {
  BANYAN_ASSIGN_OR_RETURN(const std::optional<Calibration> read,
                          ReadCalibration(spec, layout, calibration));
  const KvLayout::Shape& shape = layout.shape();
  const PlaneShape plane{
      .type = type, .heads = shape.kv_heads, .dim = shape.head_dim};
  for (uint32_t i = 0; i < shape.planes; ++i) {
    const PlaneTables* const tables =
        read.has_value() ? &read->layer(0)[i] : nullptr;
    BANYAN_RETURN_IF_ERROR(
        MakePlaneCodec(i == 0 ? spec.keys : spec.values, plane, tables)
            .status());
  }
  return absl::OkStatus();
}

}  // namespace banyan::codec
