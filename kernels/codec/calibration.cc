#include "kernels/codec/calibration.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "kernels/codec/cold_basis.h"
#include "kernels/codec/half.h"
#include "kernels/codec/spec_bytes.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kMagic = 0x514E5942;  // "BYNQ"
constexpr uint16_t kVersion = 1;
constexpr size_t kHeadBytes = 48;
constexpr size_t kChecksumBytes = 16;
constexpr uint32_t kLayersMax = 4096;
constexpr uint32_t kColdBitsMax = 8;
constexpr uint32_t kColdDimMax = 1024;

absl::Status Unfit(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                   absl::StrCat("calibration: ", what, "."));
}

absl::Status Damaged() {
  return MakeError(absl::StatusCode::kDataLoss, "CALIBRATION",
                   "calibration: bytes that are no calibration, or damaged.");
}

uint64_t ChannelsOf(const PlaneSpec& spec, uint32_t width) {
  return spec.axis == Axis::kChannel ? width : 0;
}

uint64_t TableBytes(const PlaneSpec& spec, uint32_t width, uint32_t dim) {
  if (spec.is_weighted) return 2 + 2 * uint64_t{width} * (1 + uint64_t{dim});
  if (spec.id != CodecId::kNuq) return 0;
  return (uint64_t{4} << spec.bits) + 8 + 4 * ChannelsOf(spec, width);
}

bool IsHalf(float x) {
  return std::fabs(x) <= 65504 && HalfValue(HalfBits(x)) == x;
}

bool HasInverses(uint32_t dim, const std::vector<float>& basis) {
  const size_t size = size_t{dim} * dim;
  for (size_t at = 0; at < basis.size(); at += size) {
    std::vector<double> head(&basis[at], &basis[at] + size);
    if (!Invert(dim, absl::MakeSpan(head))) return false;
  }
  return true;
}

absl::Status CheckCold(uint32_t width, uint32_t dim, const ColdTables& tables) {
  if (tables.means.size() != width ||
      tables.basis.size() != uint64_t{width} * dim) {
    return Unfit("want a mean a channel, and a square basis a head");
  }
  if (tables.bits == 0 || tables.bits > kBitPart * kColdBitsMax) {
    return Unfit("want bits up to 8");
  }
  for (const auto* const numbers : {&tables.means, &tables.basis}) {
    if (!std::all_of(numbers->begin(), numbers->end(), IsHalf)) {
      return Unfit("means and basis must be fp16");
    }
  }
  return HasInverses(dim, tables.basis) ? absl::OkStatus()
                                        : Unfit("a basis lacks directions");
}

absl::Status CheckNuq(const PlaneSpec& spec, uint32_t width,
                      const NuqTables& tables) {
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

absl::Status CheckTables(const Calibration::Shape& shape, const PlaneSpec& spec,
                         const PlaneTables& tables) {
  const bool is_nuq = spec.id == CodecId::kNuq;
  if ((!is_nuq && tables.nuq != NuqTables()) ||
      (!spec.is_weighted && tables.cold != ColdTables())) {
    return Unfit("tables for what wants none");
  }
  if (spec.is_weighted) {
    return CheckCold(shape.width, shape.dim, tables.cold);
  }
  return is_nuq ? CheckNuq(spec, shape.width, tables.nuq) : absl::OkStatus();
}

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& to) : to_(to) {}

  void Float(float x) { StoreLe32(std::bit_cast<uint32_t>(x), Add(4)); }
  void Number(uint16_t x) { StoreLe16(x, Add(2)); }
  void Half(float x) { StoreLe16(HalfBits(x), Add(2)); }
  std::byte* Add(size_t bytes) {
    to_.resize(to_.size() + bytes);
    return to_.data() + to_.size() - bytes;
  }

 private:
  std::vector<std::byte>& to_;
};

void Write(const PlaneSpec& spec, const PlaneTables& tables, Writer& writer) {
  if (spec.is_weighted) {
    writer.Number(tables.cold.bits);
    for (const float x : tables.cold.means) writer.Half(x);
    for (const float x : tables.cold.basis) writer.Half(x);
  }
  if (spec.id != CodecId::kNuq) return;
  for (const float level : tables.nuq.levels) writer.Float(level);
  writer.Float(tables.nuq.norm_scale);
  writer.Float(tables.nuq.norm_shift);
  for (const float x : tables.nuq.lower) writer.Half(x);
  for (const float x : tables.nuq.upper) writer.Half(x);
}

ColdTables ReadCold(uint32_t width, uint32_t dim, const std::byte* from) {
  ColdTables tables{.bits = LoadLe16(from)};
  const auto read = [&](uint64_t count, std::vector<float>& to) {
    for (uint64_t i = 0; i < count; ++i) {
      from += 2;
      to.push_back(HalfValue(LoadLe16(from)));
    }
  };
  read(width, tables.means);
  read(uint64_t{width} * dim, tables.basis);
  return tables;
}

NuqTables ReadNuq(const PlaneSpec& spec, uint32_t width,
                  const std::byte* from) {
  NuqTables tables;
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

PlaneTables Read(const Calibration::Shape& shape, const PlaneSpec& spec,
                 const std::byte* from) {
  PlaneTables tables;
  if (spec.is_weighted) tables.cold = ReadCold(shape.width, shape.dim, from);
  if (spec.id == CodecId::kNuq) tables.nuq = ReadNuq(spec, shape.width, from);
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
  StoreLe32(shape.dim, &head[40]);
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
  if (!shape.keys.wants_calibration() && !shape.values.wants_calibration()) {
    return Unfit("neither keys nor values want any");
  }
  const bool has_basis = shape.keys.is_weighted || shape.values.is_weighted;
  if (has_basis ? shape.dim == 0 || shape.dim > kColdDimMax ||
                      shape.width % shape.dim != 0
                : shape.dim != 0) {
    return Unfit("want heads of 1 to 1024 for a basis, else none");
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
    BANYAN_RETURN_IF_ERROR(CheckTables(shape, shape.keys, layer[0]));
    BANYAN_RETURN_IF_ERROR(CheckTables(shape, shape.values, layer[1]));
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
              .dim = LoadLe32(&body[40]),
              .rope_digest = LoadLe64(&body[32])};
  if (!LoadSpec(&body[16], shape.keys) || !LoadSpec(&body[24], shape.values) ||
      !Validate(shape).ok() ||
      std::memcmp(HeadOf(shape).data(), body.data(), kHeadBytes) != 0) {
    return Damaged();
  }
  const uint64_t keys_bytes = TableBytes(shape.keys, shape.width, shape.dim);
  const uint64_t layer_bytes =
      keys_bytes + TableBytes(shape.values, shape.width, shape.dim);
  if (body.size() != kHeadBytes + shape.layers * layer_bytes) return Damaged();
  std::vector<Layer> layers;
  for (uint32_t i = 0; i < shape.layers; ++i) {
    const std::byte* const from = &body[kHeadBytes] + i * layer_bytes;
    layers.push_back({Read(shape, shape.keys, from),
                      Read(shape, shape.values, from + keys_bytes)});
  }
  auto made = Make(shape, std::move(layers));
  if (!made.ok()) return Damaged();
  return made;
}

bool Calibration::Fits(const BlockSpec& spec, uint32_t planes,
                       uint64_t width) const {
  const auto fits = [](PlaneSpec wanted, const PlaneSpec& calibrated) {
    wanted.has_q_norm = false;
    return !wanted.wants_calibration() || wanted == calibrated;
  };
  return width == shape_.width && fits(spec.keys, shape_.keys) &&
         (planes == 1 || fits(spec.values, shape_.values));
}

}  // namespace banyan::codec
