#include "cache_server/engine/ssd_coding.h"

#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/representation.h"
#include "base/status_macros.h"
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
    const Fingerprint& fingerprint, const SsdPolicy& policy) {
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
      codec::BlockCodec::Make({.spec = spec, .layout = layout, .type = type}));
  const double error_max =
      policy.error_max > 0 ? policy.error_max : kErrorDefault;
  return std::shared_ptr<const SsdCoding>(
      new SsdCoding(std::move(codec), type, fingerprint, error_max));
}

bool SsdCoding::IsForUs(const BlockHeader& header) const {
  return !Representation::Of(header.codec).is_encoded &&
         header.piece_bytes == codec_->layer_bytes() &&
         header.payload_bytes == layers_ * codec_->layer_bytes();
}

absl::StatusOr<std::optional<double>> SsdCoding::EncodeLayers(
    const tiers::BlockPin& pin, uint64_t position,
    absl::Span<std::byte> encoded) const {
  codec::BlockCodec::Workspace work = codec_->MakeWorkspace();
  codec::BlockCodec::Workspace back = codec_->MakeWorkspace();
  if (!codec_->StartEncoding(position, work).ok() ||
      !codec_->StartDecoding(position, back).ok()) {
    return std::nullopt;
  }
  std::vector<std::byte> decoded(codec_->layer_bytes());
  const uint64_t layer_bytes = codec_->EncodedLayerBytes(position);
  codec::SquaredSums sums;
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    BANYAN_ASSIGN_OR_RETURN(const auto verified, pin.ReadPiece(layer));
    const auto to = encoded.subspan(layer * layer_bytes, layer_bytes);
    if (!codec_->EncodeLayer(verified.bytes(), work, to).ok()) {
      return std::nullopt;
    }
    BANYAN_RETURN_IF_ERROR(
        codec_->DecodeLayer(to, back, absl::MakeSpan(decoded)));
    sums += codec::CompareElements(type_, verified.bytes(), decoded);
  }
  if (sums.error == 0) return 0.0;
  return sums.error / sums.size;  // Infinity where all was zero.
}

absl::StatusOr<std::optional<SsdCoding::Encoded>> SsdCoding::Encode(
    const tiers::BlockPin& pin, uint32_t block) const {
  const BlockHeader& header = pin.header();
  if (!IsForUs(header)) return std::nullopt;
  const uint64_t position = uint64_t{block} * block_tokens_;
  const uint64_t layer_bytes = codec_->EncodedLayerBytes(position);
  if (layer_bytes >= codec_->layer_bytes()) return std::nullopt;
  Encoded encoded;
  encoded.payload.resize(layers_ * layer_bytes);
  BANYAN_ASSIGN_OR_RETURN(
      const std::optional<double> error,
      EncodeLayers(pin, position, absl::MakeSpan(encoded.payload)));
  if (!error.has_value()) return std::nullopt;
  // Of a block that had been decoded before, distances add up.
  const double before =
      ErrorBound(Representation::Of(header.codec).error_class);
  const double total = std::pow(std::sqrt(*error) + std::sqrt(before), 2);
  if (!(total <= error_max_)) return std::nullopt;
  encoded.header =
      HeaderOf(header, {.is_encoded = true, .error_class = ErrorClassOf(total)},
               layer_bytes);
  AddChecksums(encoded.payload, encoded.header);
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
    BANYAN_RETURN_IF_ERROR(
        codec_->DecodeLayer(verified.bytes(), work,
                            {bytes.get() + layer * layer_bytes, layer_bytes}));
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
