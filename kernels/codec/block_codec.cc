#include "kernels/codec/block_codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/codec_errors.h"
#include "kernels/codec/codec_table.h"
#include "kernels/codec/spec_bytes.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kMagic = 0x434E5942;  // "BYNC"
constexpr uint16_t kVersion = 1;
constexpr size_t kPositionAt = 24;
constexpr size_t kSinkAt = 20;

// Until SetLayer.
constexpr uint32_t kNoLayer = UINT32_MAX;

// Encoded bytes that are summed and decoded while they are in the first cache.
constexpr uint64_t kStepBytes = 16 * 1024;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CODEC", message);
}

// Tokens of one step: whole units, and one only where each has its own size.
uint32_t StepTokens(const PlaneCodec& codec) {
  if (!codec.has_fixed_size()) return codec.unit_tokens();
  const uint64_t units = kStepBytes / codec.UnitBytes(codec.unit_tokens());
  return static_cast<uint32_t>(std::max<uint64_t>(units, 1)) *
         codec.unit_tokens();
}

}  // namespace

// Hands out encoded bytes in order. With a sum, they are copied first and then
// summed and handed out from the copy.
class BlockCodec::Reader {
 public:
  Reader(absl::Span<const std::byte> encoded, Xxh3Sum* sum)
      : left_(encoded), sum_(sum) {}

  uint64_t left_bytes() const { return left_.size(); }

  // Requires: that many bytes are left, and the room is no smaller.
  absl::Span<const std::byte> Take(uint64_t bytes, std::byte* room) {
    absl::Span<const std::byte> taken = left_.first(bytes);
    left_.remove_prefix(bytes);
    if (sum_ == nullptr || taken.empty()) return taken;
    std::memcpy(room, taken.data(), bytes);
    taken = {room, bytes};
    sum_->Add(taken);
    return taken;
  }

 private:
  absl::Span<const std::byte> left_;
  Xxh3Sum* sum_;
};

absl::StatusOr<std::unique_ptr<BlockCodec>> BlockCodec::Make(
    const Options& options) {
  const KvLayout::Shape& shape = options.layout.shape();
  if (ElementBytes(options.type) != shape.element_bytes) {
    return Bad(absl::StrCat("codec: elements of ", ElementBytes(options.type),
                            " bytes do not fit a layout of ",
                            shape.element_bytes, "."));
  }
  if (options.spec.values.is_pre_rope) {
    return Bad("codec: values have no rotary embedding; pre is for keys.");
  }
  auto codec = absl::WrapUnique(new BlockCodec(options));
  if (options.spec.keys.is_pre_rope) {
    if (!options.rope.has_value()) {
      return Bad("codec: pre wants the rotary embedding of the model.");
    }
    if (options.rope->rotary_dim > shape.head_dim) {
      return Bad("rope.rotary_dim: more than the layout's head_dim.");
    }
    BANYAN_ASSIGN_OR_RETURN(codec->rope_,
                            Rope::Make(*options.rope, shape.block_tokens));
  }
  BANYAN_RETURN_IF_ERROR(codec->CheckCalibration());
  BANYAN_RETURN_IF_ERROR(codec->MakePlanes());
  codec->options_.calibration = nullptr;
  return codec;
}

// Whether the calibration, if there is one, is for what wants one.
absl::Status BlockCodec::CheckCalibration() const {
  if (options_.calibration == nullptr) return absl::OkStatus();
  const Calibration::Shape& shape = options_.calibration->shape();
  const KvLayout::Shape& layout = options_.layout.shape();
  const uint64_t width = uint64_t{layout.kv_heads} * layout.head_dim;
  const uint64_t rope_digest = rope_ == nullptr ? 0 : rope_->spec().Digest();
  const bool wants_rope = options_.spec.keys.wants_calibration();
  if (!options_.calibration->Fits(options_.spec, layout.planes, width) ||
      (wants_rope && rope_digest != shape.rope_digest)) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CALIBRATION",
        absl::StrCat("calibration: made for k=", ToString(shape.keys),
                     ",v=", ToString(shape.values), " of ", shape.width,
                     " channels; want ", ToString(options_.spec), " of ", width,
                     ", and the same rotary embedding."));
  }
  return absl::OkStatus();
}

absl::Status BlockCodec::MakePlanes() {
  const KvLayout::Shape& shape = options_.layout.shape();
  const PlaneShape plane{
      .type = options_.type, .heads = shape.kv_heads, .dim = shape.head_dim};
  BANYAN_ASSIGN_OR_RETURN(raw_, MakePlaneCodec(PlaneSpec(), plane));
  const auto spec_of = [&](uint32_t i) -> const PlaneSpec& {
    return i == 0 ? options_.spec.keys : options_.spec.values;
  };
  const Calibration* calibration = nullptr;
  for (uint32_t i = 0; i < shape.planes; ++i) {
    if (spec_of(i).wants_calibration()) calibration = options_.calibration;
  }
  const uint32_t layers =
      calibration == nullptr ? 1 : calibration->shape().layers;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    for (uint32_t i = 0; i < shape.planes; ++i) {
      BANYAN_ASSIGN_OR_RETURN(
          auto codec, MakePlaneCodec(spec_of(i), plane,
                                     calibration == nullptr
                                         ? nullptr
                                         : &calibration->layer(layer)[i]));
      planes_.push_back(std::move(codec));
    }
    if (calibration == nullptr) continue;
    calibration_digests_.push_back(calibration->digest(layer));
  }
  return absl::OkStatus();
}

BlockCodec::Workspace BlockCodec::MakeWorkspace() const {
  const uint32_t tokens = options_.layout.shape().block_tokens;
  uint64_t floats = 0;
  uint64_t prefix_bytes = 0;
  uint64_t step_bytes = kLayerHeadBytes;
  const auto add = [&](const PlaneCodec& codec) {
    floats = std::max(floats, codec.ScratchFloats(tokens));
    prefix_bytes = std::max(prefix_bytes, codec.PrefixBytes(tokens));
    step_bytes = std::max(step_bytes, codec.UnitsBytes(StepTokens(codec)));
  };
  add(*raw_);
  for (const auto& plane : planes_) add(*plane);
  Workspace work;
  work.scratch_.resize(floats);
  work.prefix_.resize(prefix_bytes);
  work.step_.resize(step_bytes);
  if (rope_ != nullptr) work.rope_ = rope_->MakeTable();
  return work;
}

uint32_t BlockCodec::SinkTokens(uint64_t first_position) const {
  const uint64_t sink = options_.spec.sink_tokens;
  if (first_position >= sink) return 0;
  return static_cast<uint32_t>(std::min<uint64_t>(
      sink - first_position, options_.layout.shape().block_tokens));
}

uint64_t BlockCodec::EncodedLayerBytes(uint64_t first_position) const {
  const uint32_t tokens = options_.layout.shape().block_tokens;
  const uint32_t sink_tokens = SinkTokens(first_position);
  const uint32_t planes = options_.layout.shape().planes;
  uint64_t most = 0;
  for (size_t first = 0; first < planes_.size(); first += planes) {
    uint64_t bytes = 0;
    for (size_t i = first; i < first + planes; ++i) {
      bytes += planes_[i]->EncodedBytes(tokens - sink_tokens);
    }
    most = std::max(most, bytes);
  }
  return kLayerHeadBytes + planes * raw_->EncodedBytes(sink_tokens) + most;
}

bool BlockCodec::has_fixed_size() const {
  return std::all_of(planes_.begin(), planes_.end(),
                     [](const auto& plane) { return plane->has_fixed_size(); });
}

absl::Status BlockCodec::StartEncoding(uint64_t first_position,
                                       Workspace& work) const {
  return Start(first_position, Rope::Direction::kTakeOff, work);
}

absl::Status BlockCodec::StartDecoding(uint64_t first_position,
                                       Workspace& work) const {
  return Start(first_position, Rope::Direction::kPutOn, work);
}

absl::Status BlockCodec::Start(uint64_t first_position,
                               Rope::Direction direction,
                               Workspace& work) const {
  work.first_position_ = first_position;
  work.layer_ = calibration_digests_.size() > 1 ? kNoLayer : 0;
  if (rope_ == nullptr) return absl::OkStatus();
  const uint64_t tokens = options_.layout.shape().block_tokens;
  if (first_position > kRopePositionEnd - 2 * tokens) {
    return MakeError(absl::StatusCode::kInvalidArgument, "ROPE",
                     absl::StrCat("position: ", first_position,
                                  " is too close to ", kRopePositionEnd, "."));
  }
  // Rows that are kept as they are come first, and need no table.
  rope_->Fill(first_position + SinkTokens(first_position), direction,
              work.rope_);
  return absl::OkStatus();
}

absl::Status BlockCodec::SetLayer(uint32_t layer, Workspace& work) const {
  if (calibration_digests_.empty()) return absl::OkStatus();
  if (layer >= calibration_digests_.size()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "LAYER",
        absl::StrCat("layer: the calibration has ", calibration_digests_.size(),
                     " layers, got ", layer, "."));
  }
  work.layer_ = layer;
  return absl::OkStatus();
}

absl::Status BlockCodec::CheckLayer(const Workspace& work) const {
  if (work.layer_ != kNoLayer) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "LAYER",
                   "layer: SetLayer must say which one it is.");
}

const PlaneCodec& BlockCodec::PlaneOf(uint32_t plane,
                                      const Workspace& work) const {
  return *planes_[size_t{work.layer_} * options_.layout.shape().planes + plane];
}

const RopeTable* BlockCodec::RopeOf(uint32_t plane,
                                    const Workspace& work) const {
  return plane == 0 && rope_ != nullptr ? &work.rope_ : nullptr;
}

template <typename Byte>
PlaneRows<Byte> BlockCodec::RowsOf(uint32_t plane,
                                   absl::Span<Byte> layer) const {
  const KvLayout& layout = options_.layout;
  return {layer.data() + plane * layout.plane_bytes(),
          layout.token_stride_bytes(), layout.head_stride_bytes(),
          layout.shape().block_tokens};
}

void BlockCodec::WriteHead(uint64_t first_position, uint32_t layer,
                           std::byte* head) const {
  const KvLayout::Shape& shape = options_.layout.shape();
  std::memset(head, 0, kLayerHeadBytes);
  StoreLe32(kMagic, head);
  StoreLe16(kVersion, head + 4);
  head[6] = static_cast<std::byte>(options_.type);
  head[7] = static_cast<std::byte>(shape.planes);
  StoreLe32(shape.block_tokens, head + 8);
  StoreLe32(shape.kv_heads, head + 12);
  StoreLe32(shape.head_dim, head + 16);
  StoreLe32(SinkTokens(first_position), head + kSinkAt);
  StoreLe64(first_position, head + kPositionAt);
  StoreSpec(options_.spec.keys, head + 32);
  if (shape.planes > 1) StoreSpec(options_.spec.values, head + 40);
  if (rope_ != nullptr) StoreLe64(rope_->spec().Digest(), head + 48);
  if (!calibration_digests_.empty()) {
    StoreLe64(calibration_digests_[layer], head + 56);
  }
}

// A head that this codec writes for the position that it names, of a layer that
// can be decoded at the position that is wanted.
absl::Status BlockCodec::CheckHead(const std::byte* head, const Workspace& work,
                                   uint64_t encoded_bytes,
                                   uint32_t& sink_tokens) const {
  const uint64_t first_position = work.first_position_;
  const uint64_t encoded_at = LoadLe64(head + kPositionAt);
  std::array<std::byte, kLayerHeadBytes> expected;
  WriteHead(encoded_at, work.layer_, expected.data());
  const uint64_t bytes = EncodedLayerBytes(encoded_at);
  const bool has_size =
      has_fixed_size() ? encoded_bytes == bytes : encoded_bytes <= bytes;
  if (std::memcmp(head, expected.data(), kLayerHeadBytes) != 0 || !has_size) {
    return BadCode();
  }
  sink_tokens = SinkTokens(encoded_at);
  const bool can_move =
      rope_ != nullptr && sink_tokens == 0 && SinkTokens(first_position) == 0;
  if (encoded_at != first_position && !can_move) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "POSITION",
        absl::StrCat("position: keys encoded at ", encoded_at,
                     " cannot be decoded at ", first_position, "."));
  }
  return absl::OkStatus();
}

absl::Status BlockCodec::EncodeLayer(absl::Span<const std::byte> layer,
                                     Workspace& work,
                                     absl::Span<std::byte> encoded) const {
  if (!has_fixed_size()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SIZE",
                     "codec: how long a layer gets depends on its values.");
  }
  return EncodeLayerSized(layer, work, encoded).status();
}

absl::StatusOr<uint64_t> BlockCodec::EncodeLayerSized(
    absl::Span<const std::byte> layer, Workspace& work,
    absl::Span<std::byte> encoded) const {
  BANYAN_CHECK(layer.size() == layer_bytes() &&
               encoded.size() == EncodedLayerBytes(work.first_position_));
  BANYAN_RETURN_IF_ERROR(CheckLayer(work));
  WriteHead(work.first_position_, work.layer_, encoded.data());
  uint64_t at = kLayerHeadBytes;
  const uint32_t sink_tokens = SinkTokens(work.first_position_);
  for (uint32_t i = 0; i < options_.layout.shape().planes; ++i) {
    const PlaneCodec& codec = PlaneOf(i, work);
    const PlaneSource plane = RowsOf(i, layer);
    const uint64_t sink_bytes = raw_->EncodedBytes(sink_tokens);
    BANYAN_RETURN_IF_ERROR(
        raw_->Encode(plane, nullptr, {}, encoded.subspan(at, sink_bytes)));
    at += sink_bytes;
    if (sink_tokens == plane.tokens) continue;
    const PlaneSource rest = plane.From(sink_tokens);
    const uint64_t room = codec.EncodedBytes(rest.tokens);
    BANYAN_ASSIGN_OR_RETURN(
        const uint64_t bytes,
        codec.EncodeSized(rest, RopeOf(i, work), absl::MakeSpan(work.scratch_),
                          encoded.subspan(at, room)));
    at += bytes;
  }
  return at;
}

absl::Status BlockCodec::DecodeLayer(absl::Span<const std::byte> encoded,
                                     Workspace& work,
                                     absl::Span<std::byte> layer) const {
  Reader reader(encoded, nullptr);
  return Decode(reader, encoded.size(), work, layer);
}

absl::Status BlockCodec::DecodeLayerVerified(
    absl::Span<const std::byte> encoded, const Check& check, Workspace& work,
    absl::Span<std::byte> layer) const {
  work.sum_.Restart(check.seed);
  Reader reader(encoded, &work.sum_);
  const absl::Status status = Decode(reader, encoded.size(), work, layer);
  // A layer that cannot be decoded here is not summed to its end.
  BANYAN_RETURN_IF_ERROR(status);
  if (work.sum_.Sum() == check.expected) return absl::OkStatus();
  return BadChecksum();
}

absl::Status BlockCodec::Decode(Reader& reader, uint64_t encoded_bytes,
                                Workspace& work,
                                absl::Span<std::byte> layer) const {
  BANYAN_CHECK(layer.size() == layer_bytes());
  BANYAN_RETURN_IF_ERROR(CheckLayer(work));
  if (encoded_bytes < kLayerHeadBytes) return BadCode();
  uint32_t sink_tokens = 0;
  BANYAN_RETURN_IF_ERROR(
      CheckHead(reader.Take(kLayerHeadBytes, work.step_.data()).data(), work,
                encoded_bytes, sink_tokens));
  for (uint32_t i = 0; i < options_.layout.shape().planes; ++i) {
    BANYAN_RETURN_IF_ERROR(DecodePlane(i, sink_tokens, reader, work, layer));
  }
  return reader.left_bytes() == 0 ? absl::OkStatus() : BadCode();
}

absl::Status BlockCodec::DecodePlane(uint32_t plane, uint32_t sink_tokens,
                                     Reader& reader, Workspace& work,
                                     absl::Span<std::byte> layer) const {
  const PlaneTarget rows = RowsOf(plane, layer);
  const auto decode = [&](const PlaneCodec& codec, const PlaneTarget& target,
                          uint32_t tokens) {
    if (reader.left_bytes() < codec.PrefixBytes(tokens)) return BadCode();
    const auto prefix =
        reader.Take(codec.PrefixBytes(tokens), work.prefix_.data());
    const uint32_t step = StepTokens(codec);
    for (uint32_t token = 0; token < tokens; token += step) {
      const uint32_t count = std::min(step, tokens - token);
      const uint64_t bytes_max = codec.UnitsBytes(count);
      const uint64_t bytes = codec.has_fixed_size()
                                 ? bytes_max
                                 : codec.SizedUnitBytes(prefix, token, count);
      if (bytes > bytes_max || bytes > reader.left_bytes()) return BadCode();
      BANYAN_RETURN_IF_ERROR(codec.Decode(
          prefix, reader.Take(bytes, work.step_.data()), token,
          RopeOf(plane, work), absl::MakeSpan(work.scratch_), target));
    }
    return absl::OkStatus();
  };
  BANYAN_RETURN_IF_ERROR(decode(*raw_, rows, sink_tokens));
  if (sink_tokens == rows.tokens) return absl::OkStatus();
  return decode(PlaneOf(plane, work), rows.From(sink_tokens),
                rows.tokens - sink_tokens);
}

}  // namespace banyan::codec
