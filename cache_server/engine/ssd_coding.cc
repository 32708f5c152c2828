#include "cache_server/engine/ssd_coding.h"

#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/representation.h"
#include "base/status_macros.h"
#include "kernels/codec/calibrated_codec.h"
#include "kernels/codec/layer_error.h"

namespace banyan::engine {
namespace {

// A block in memory of its own.
class DecodedPin final : public tiers::BlockPin {
 public:
  DecodedPin(BlockHeader header, std::unique_ptr<std::byte[]> bytes,
             ByteBudget::Hold hold)
      : BlockPin(std::move(header)),
        hold_(std::move(hold)),
        bytes_(std::move(bytes)) {}

 private:
  absl::Span<const std::byte> payload() const override {
    return {bytes_.get(), header().payload_bytes};
  }

  const ByteBudget::Hold hold_;
  const std::unique_ptr<std::byte[]> bytes_;
};

absl::Status Bad(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

// The header of the same block in another representation, without checksums.
BlockHeader HeaderOf(const BlockHeader& header, Representation representation,
                     uint64_t layer_bytes) {
  return {.identity = header.identity,
          .codec = representation.Packed(),
          .payload_bytes = layer_bytes * header.piece_count(),
          .piece_bytes = layer_bytes};
}

void AddChecksums(absl::Span<const std::byte> payload, BlockHeader& header) {
  const uint64_t seed = header.identity.ChecksumSeed();
  const uint32_t pieces = PieceCount(header.payload_bytes, header.piece_bytes);
  for (uint32_t piece = 0; piece < pieces; ++piece) {
    header.pieces.push_back(PieceChecksum(
        seed, piece,
        payload.subspan(header.PieceOffset(piece), header.PieceSize(piece))));
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SsdCoding>> SsdCoding::Make(
    const Fingerprint& fingerprint, const SsdPolicy& policy,
    absl::string_view calibration) {
  if (fingerprint.layout == "opaque" || !fingerprint.kv_codec.empty()) {
    return Bad("POLICY",
               "ssd.codec: opaque blocks, and those of a namespace with a "
               "codec, are stored as they are. Leave it out.");
  }
  if (!(policy.error_max >= 0 && policy.error_max <= kErrorMax)) {
    return Bad("POLICY", absl::StrCat("ssd.error_max: ", policy.error_max,
                                      "; want 0 to ", kErrorMax, "."));
  }
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(policy.codec));
  if (spec.keys.is_pre_rope) {
    return Bad(
        "CODEC",
        "ssd.codec: the node does not know the model's rotary embedding. "
        "Leave out \":pre\".");
  }
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout, KvLayout::Of(fingerprint));
  BANYAN_ASSIGN_OR_RETURN(const codec::ElementType type,
                          codec::ParseElementType(fingerprint.data_type));
  if (type != codec::ElementType::kFp16 && type != codec::ElementType::kBf16) {
    return Bad("CODEC", "ssd.codec: for fp16 and bf16 only.");
  }
  BANYAN_ASSIGN_OR_RETURN(
      auto codec,
      codec::MakeBlockCodec({.spec = spec, .layout = layout, .type = type},
                            AsBytes(calibration)));
  const double error_max =
      policy.error_max > 0 ? policy.error_max : kErrorDefault;
  return std::shared_ptr<const SsdCoding>(
      new SsdCoding(std::move(codec), type, fingerprint, error_max,
                    spec.keys.is_lossless() && spec.values.is_lossless()));
}

bool SsdCoding::IsForUs(const BlockHeader& header) const {
  return !Representation::Of(header.codec).is_encoded &&
         header.piece_bytes == codec_->layer_bytes() &&
         header.payload_bytes == layers_ * codec_->layer_bytes();
}

absl::StatusOr<double> SsdCoding::MeasureError(
    const tiers::BlockPin& pin, uint64_t position,
    const codec::EncodedPieces& pieces) const {
  codec::BlockCodec::Workspace work = codec_->MakeWorkspace();
  BANYAN_RETURN_IF_ERROR(codec_->StartDecoding(position, work));
  std::vector<std::byte> decoded(codec_->layer_bytes());
  codec::SquaredSums sums;
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    BANYAN_ASSIGN_OR_RETURN(
        const auto encoded,
        codec::LayerInPiece(*codec_,
                            {pieces.bytes.get() + layer * pieces.piece_bytes,
                             pieces.piece_bytes}));
    BANYAN_RETURN_IF_ERROR(codec_->SetLayer(layer, work));
    BANYAN_RETURN_IF_ERROR(
        codec_->DecodeLayer(encoded, work, absl::MakeSpan(decoded)));
    BANYAN_ASSIGN_OR_RETURN(const auto original, pin.ReadPiece(layer));
    sums += codec::CompareElements(type_, original.bytes(), decoded);
  }
  if (sums.error == 0) return 0.0;
  return sums.error / sums.size;  // Infinity where all was zero.
}

absl::StatusOr<std::optional<uint8_t>> SsdCoding::ErrorClass(
    const tiers::BlockPin& pin, uint64_t position,
    const codec::EncodedPieces& pieces) const {
  const uint8_t before = Representation::Of(pin.header().codec).error_class;
  if (is_lossless_) return before;
  BANYAN_ASSIGN_OR_RETURN(const double error,
                          MeasureError(pin, position, pieces));
  // Of a block that had been decoded before, distances add up.
  const double total =
      std::pow(std::sqrt(error) + std::sqrt(ErrorBound(before)), 2);
  if (!(total <= error_max_)) return std::nullopt;
  return ErrorClassOf(total);
}

absl::StatusOr<std::optional<SsdCoding::Encoded>> SsdCoding::Encode(
    const tiers::BlockPin& pin, uint32_t block) const {
  if (!IsForUs(pin.header())) return std::nullopt;
  const uint64_t position = uint64_t{block} * block_tokens_;
  codec::BlockCodec::Workspace work = codec_->MakeWorkspace();
  const auto layer_at =
      [&](uint32_t layer) -> absl::StatusOr<absl::Span<const std::byte>> {
    BANYAN_ASSIGN_OR_RETURN(const auto verified, pin.ReadPiece(layer));
    return verified.bytes();
  };
  auto pieces = codec::EncodePieces(*codec_, layers_, position, layer_at, work);
  if (absl::IsDataLoss(pieces.status())) return pieces.status();
  if (!pieces.ok()) return std::nullopt;
  BANYAN_ASSIGN_OR_RETURN(const std::optional<uint8_t> error_class,
                          ErrorClass(pin, position, *pieces));
  if (!error_class.has_value()) return std::nullopt;
  Encoded encoded{
      .header = HeaderOf(pin.header(),
                         {.is_encoded = true, .error_class = *error_class},
                         pieces->piece_bytes),
      .bytes = std::move(pieces->bytes)};
  AddChecksums(encoded.payload(), encoded.header);
  return encoded;
}

absl::StatusOr<std::unique_ptr<tiers::BlockPin>> SsdCoding::Decode(
    const tiers::BlockPin& pin, uint32_t block, ByteBudget::Hold hold) const {
  const uint64_t position = uint64_t{block} * block_tokens_;
  const uint64_t layer_bytes = codec_->layer_bytes();
  if (pin.header().piece_count() != layers_) {
    return MakeError(absl::StatusCode::kDataLoss, "CODEC",
                     "block: encoded in other layers.");
  }
  codec::BlockCodec::Workspace work = codec_->MakeWorkspace();
  BANYAN_RETURN_IF_ERROR(codec_->StartDecoding(position, work));
  auto bytes =
      std::make_unique_for_overwrite<std::byte[]>(layers_ * layer_bytes);
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    BANYAN_ASSIGN_OR_RETURN(const auto verified, pin.ReadPiece(layer));
    BANYAN_ASSIGN_OR_RETURN(const auto encoded,
                            codec::LayerInPiece(*codec_, verified.bytes()));
    BANYAN_RETURN_IF_ERROR(codec_->SetLayer(layer, work));
    BANYAN_RETURN_IF_ERROR(codec_->DecodeLayer(
        encoded, work, {bytes.get() + layer * layer_bytes, layer_bytes}));
  }
  const Representation was = Representation::Of(pin.header().codec);
  BlockHeader header = HeaderOf(
      pin.header(), {.is_encoded = false, .error_class = was.error_class},
      layer_bytes);
  header.generation = pin.header().generation;
  AddChecksums({bytes.get(), header.payload_bytes}, header);
  return std::make_unique<DecodedPin>(std::move(header), std::move(bytes),
                                      std::move(hold));
}

}  // namespace banyan::engine
