#include "kernels/codec/calibration.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "kernels/codec/half.h"
#include "kernels/codec/spec_bytes.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kMagic = 0x514E5942;  // "BYNQ"
constexpr uint16_t kVersion = 1;
constexpr size_t kHeadBytes = 48;
constexpr size_t kChecksumBytes = 16;
constexpr uint32_t kLayersMax = 4096;

absl::Status Unfit(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                   absl::StrCat("calibration: ", what, "."));
}

absl::Status Damaged() {
  return MakeError(absl::StatusCode::kDataLoss, "CALIBRATION",
                   "calibration: bytes that are no calibration, or damaged.");
}

bool IsNuq(const PlaneSpec& spec) { return spec.id == CodecId::kNuq; }

uint64_t ChannelsOf(const PlaneSpec& spec, uint32_t width) {
  return spec.axis == Axis::kChannel ? width : 0;
}

uint64_t TableBytes(const PlaneSpec& spec, uint32_t width) {
  if (!IsNuq(spec)) return 0;
  return (uint64_t{4} << spec.bits) + 8 + 4 * ChannelsOf(spec, width);
}

bool IsHalf(float x) {
  return std::fabs(x) <= 65504 && HalfValue(HalfBits(x)) == x;
}

absl::Status CheckTables(const PlaneSpec& spec, uint32_t width,
                         const NuqTables& tables) {
  if (!IsNuq(spec)) {
    return tables == NuqTables() ? absl::OkStatus()
                                 : Unfit("tables for what is not nuq");
  }
  const uint64_t channels = ChannelsOf(spec, width);
  if (tables.levels.size() != size_t{1} << spec.bits ||
      tables.lower.size() != channels || tables.upper.size() != channels) {
    return Unfit("tables of another size than the spec's");
  }
  for (size_t i = 0; i < tables.levels.size(); ++i) {
    if (!(std::fabs(tables.levels[i]) <= 16) ||
        (i > 0 && !(tables.levels[i - 1] < tables.levels[i]))) {
      return Unfit("levels must rise, and be numbers up to 16");
    }
  }
  if (!(tables.norm_scale > 0 && tables.norm_scale <= 16) ||
      !(std::fabs(tables.norm_shift) <= 16)) {
    return Unfit("the norm must be numbers up to 16, its scale above 0");
  }
  for (size_t i = 0; i < channels; ++i) {
    if (!(IsHalf(tables.lower[i]) && IsHalf(tables.upper[i]) &&
          tables.lower[i] < tables.upper[i])) {
      return Unfit("ranges must be fp16, and lower below upper");
    }
  }
  return absl::OkStatus();
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& to) : to_(to) {}

  void Float(float x) { StoreLe32(std::bit_cast<uint32_t>(x), Add(4)); }
  void Half(float x) { StoreLe16(HalfBits(x), Add(2)); }
  std::byte* Add(size_t bytes) {
    to_.resize(to_.size() + bytes);
    return to_.data() + to_.size() - bytes;
  }

 private:
  std::vector<std::byte>& to_;
};

void Write(const PlaneSpec& spec, const NuqTables& tables, Writer& writer) {
  if (!IsNuq(spec)) return;
  for (const float level : tables.levels) writer.Float(level);
  writer.Float(tables.norm_scale);
  writer.Float(tables.norm_shift);
  for (const float x : tables.lower) writer.Half(x);
  for (const float x : tables.upper) writer.Half(x);
}

NuqTables Read(const PlaneSpec& spec, uint32_t width, const std::byte* from) {
  NuqTables tables;
  if (!IsNuq(spec)) return tables;
  const auto next_float = [&] {
    from += 4;
    return std::bit_cast<float>(LoadLe32(from - 4));
  };
  const auto next_half = [&] {
    from += 2;
    return HalfValue(LoadLe16(from - 2));
  };
  for (int i = 0; i < 1 << spec.bits; ++i) {
    tables.levels.push_back(next_float());
  }
  tables.norm_scale = next_float();
  tables.norm_shift = next_float();
  for (auto* const ends : {&tables.lower, &tables.upper}) {
    for (uint64_t i = 0; i < ChannelsOf(spec, width); ++i) {
      ends->push_back(next_half());
    }
  }
  return tables;
}

std::vector<std::byte> HeadOf(const Calibration::Shape& shape) {
  std::vector<std::byte> head(kHeadBytes);
  StoreLe32(kMagic, &head[0]);
  StoreLe16(kVersion, &head[4]);
  StoreLe32(shape.layers, &head[8]);
  StoreLe32(shape.width, &head[12]);
  StoreSpec(shape.keys, &head[16]);
  StoreSpec(shape.values, &head[24]);
  StoreLe64(shape.rope_digest, &head[32]);
  return head;
}

void WriteLayer(const Calibration::Shape& shape,
                const Calibration::Layer& layer, std::vector<std::byte>& to) {
  Writer writer(to);
  Write(shape.keys, layer[0], writer);
  Write(shape.values, layer[1], writer);
}

}  // namespace

Calibration::Calibration(const Shape& shape, std::vector<Layer> layers)
    : shape_(shape), layers_(std::move(layers)) {
  Shape one = shape_;
  one.layers = 0;  // The digest of a layer does not say how many there are.
  for (const Layer& layer : layers_) {
    std::vector<std::byte> bytes = HeadOf(one);
    WriteLayer(shape_, layer, bytes);
    digests_.push_back(LoadLe64(Sha256({AsText(bytes)}).data()));
  }
}

absl::Status Calibration::Validate(const Shape& shape) {
  if (shape.layers == 0 || shape.layers > kLayersMax || shape.width == 0 ||
      shape.width > kNuqWidthMax) {
    return Unfit("want 1 to 4096 layers of 1 to 65535 channels");
  }
  if (!IsNuq(shape.keys) && !IsNuq(shape.values)) {
    return Unfit("neither keys nor values are nuq");
  }
  if (shape.keys.has_q_norm || shape.values.has_q_norm) {
    return Unfit("qnorm is for the codec to choose");
  }
  if ((shape.rope_digest != 0) != shape.keys.is_pre_rope) {
    return Unfit("pre and the rotary embedding belong together");
  }
  return absl::OkStatus();
}

absl::StatusOr<Calibration> Calibration::Make(const Shape& shape,
                                              std::vector<Layer> layers) {
  BANYAN_RETURN_IF_ERROR(Validate(shape));
  if (layers.size() != shape.layers) return Unfit("not that many layers");
  for (const Layer& layer : layers) {
    BANYAN_RETURN_IF_ERROR(CheckTables(shape.keys, shape.width, layer[0]));
    BANYAN_RETURN_IF_ERROR(CheckTables(shape.values, shape.width, layer[1]));
  }
  return Calibration(shape, std::move(layers));
}

std::vector<std::byte> Calibration::Serialize() const {
  std::vector<std::byte> bytes = HeadOf(shape_);
  for (const Layer& layer : layers_) WriteLayer(shape_, layer, bytes);
  const Sha256Digest sum = Sha256({AsText(bytes)});
  bytes.insert(bytes.end(), sum.begin(), sum.begin() + kChecksumBytes);
  return bytes;
}

absl::StatusOr<Calibration> Calibration::Parse(
    absl::Span<const std::byte> bytes) {
  if (bytes.size() < kHeadBytes + kChecksumBytes) return Damaged();
  const auto body = bytes.first(bytes.size() - kChecksumBytes);
  const Sha256Digest sum = Sha256({AsText(body)});
  if (std::memcmp(sum.data(), &bytes[body.size()], kChecksumBytes) != 0) {
    return Damaged();
  }
  Shape shape{.layers = LoadLe32(&body[8]),
              .width = LoadLe32(&body[12]),
              .rope_digest = LoadLe64(&body[32])};
  if (!LoadSpec(&body[16], shape.keys) || !LoadSpec(&body[24], shape.values) ||
      !Validate(shape).ok() ||
      std::memcmp(HeadOf(shape).data(), body.data(), kHeadBytes) != 0) {
    return Damaged();
  }
  const uint64_t keys_bytes = TableBytes(shape.keys, shape.width);
  const uint64_t layer_bytes =
      keys_bytes + TableBytes(shape.values, shape.width);
  if (body.size() != kHeadBytes + shape.layers * layer_bytes) return Damaged();
  std::vector<Layer> layers;
  for (uint32_t i = 0; i < shape.layers; ++i) {
    const std::byte* const from = &body[kHeadBytes] + i * layer_bytes;
    layers.push_back({Read(shape.keys, shape.width, from),
                      Read(shape.values, shape.width, from + keys_bytes)});
  }
  auto made = Make(shape, std::move(layers));
  if (!made.ok()) return Damaged();
  return made;
}

bool Calibration::Fits(const BlockSpec& spec, uint32_t planes,
                       uint64_t width) const {
  const auto fits = [](PlaneSpec wanted, const PlaneSpec& calibrated) {
    wanted.has_q_norm = false;
    return wanted.id != CodecId::kNuq || wanted == calibrated;
  };
  return width == shape_.width && fits(spec.keys, shape_.keys) &&
         (planes == 1 || fits(spec.values, shape_.values));
}

}  // namespace banyan::codec
