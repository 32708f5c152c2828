#include "client/cpp/block_coding.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/kv_layout.h"
#include "base/representation.h"
#include "base/status_macros.h"
#include "kernels/codec/calibrated_codec.h"
#include "kernels/codec/layer_error.h"

namespace banyan::client {
namespace {

using Layer = absl::Span<const std::byte>;

Layer SpanOf(std::span<const std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockCoding>> BlockCoding::Make(
    const Fingerprint& fingerprint, const Options& options) {
  BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                          codec::ParseBlockSpec(fingerprint.kv_codec));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout, KvLayout::Of(fingerprint));
  BANYAN_ASSIGN_OR_RETURN(const codec::ElementType type,
                          codec::ParseElementType(fingerprint.data_type));
  BANYAN_ASSIGN_OR_RETURN(
      auto codec,
      codec::MakeBlockCodec(
          {.spec = spec, .layout = layout, .type = type, .rope = options.rope},
          options.calibration));
  const bool is_lossless = spec.keys.is_lossless() && spec.values.is_lossless();
  return absl::WrapUnique(new BlockCoding(std::move(codec), type, fingerprint,
                                          options.measures && !is_lossless));
}

uint64_t BlockCoding::stored_bytes() const {
  const uint64_t encoded =
      codec_->EncodedLayerBytes(PositionOf(codec::kSinkTokensMax));
  return layers_ * std::min(encoded, codec_->layer_bytes());
}

std::unique_ptr<BlockCoding::Workspace> BlockCoding::Take() const {
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      auto workspace = std::move(idle_.back());
      idle_.pop_back();
      return workspace;
    }
  }
  return std::make_unique<Workspace>(
      Workspace{.codec = codec_->MakeWorkspace(), .layer = {}});
}

void BlockCoding::GiveBack(std::unique_ptr<Workspace> workspace) const {
  MutexLock lock(mutex_);
  idle_.push_back(std::move(workspace));
}

absl::StatusOr<uint8_t> BlockCoding::Measure(uint64_t position,
                                             std::span<const std::byte> payload,
                                             const codec::EncodedPieces& pieces,
                                             Workspace& work) const {
  BANYAN_RETURN_IF_ERROR(codec_->StartDecoding(position, work.codec));
  const uint64_t layer_bytes = codec_->layer_bytes();
  work.layer.resize(layer_bytes);
  codec::SquaredSums sums;
  for (uint32_t layer = 0; layer < layers_; ++layer) {
    BANYAN_ASSIGN_OR_RETURN(
        const Layer encoded,
        codec::LayerInPiece(*codec_,
                            {pieces.bytes.get() + layer * pieces.piece_bytes,
                             pieces.piece_bytes}));
    BANYAN_RETURN_IF_ERROR(codec_->SetLayer(layer, work.codec));
    BANYAN_RETURN_IF_ERROR(
        codec_->DecodeLayer(encoded, work.codec, absl::MakeSpan(work.layer)));
    sums += codec::CompareElements(
        type_, SpanOf(payload).subspan(layer * layer_bytes, layer_bytes),
        work.layer);
  }
  const double error = sums.error == 0 ? 0.0 : sums.error / sums.size;
  if (!(error <= kErrorMax)) return 0;
  return ErrorClassOf(error);
}

absl::StatusOr<BlockCoding::Encoded> BlockCoding::Encode(
    uint32_t first,
    absl::Span<const std::span<const std::byte>> payloads) const {
  for (const auto& payload : payloads) {
    if (payload.size() == block_bytes()) continue;
    return MakeError(absl::StatusCode::kInvalidArgument, "SIZE",
                     absl::StrCat("payload: ", payload.size(),
                                  " bytes; the layout's block "
                                  "has ",
                                  block_bytes(), "."));
  }
  Encoded encoded;
  std::unique_ptr<Workspace> work = Take();
  absl::Status status;
  for (size_t i = 0; i < payloads.size() && status.ok(); ++i) {
    const auto layer_at = [&](uint32_t layer) -> absl::StatusOr<Layer> {
      return SpanOf(payloads[i])
          .subspan(layer * codec_->layer_bytes(), codec_->layer_bytes());
    };
    const uint64_t position = PositionOf(uint64_t{first} + i);
    auto pieces =
        codec::EncodePieces(*codec_, layers_, position, layer_at, work->codec);
    absl::StatusOr<uint8_t> error = 0;
    if (pieces.ok() && measures_) {
      error = Measure(position, payloads[i], *pieces, *work);
    }
    if (!error.ok()) {
      status = error.status();
    } else if (pieces.ok()) {
      encoded.blocks.push_back(
          {.payload = {pieces->bytes.get(), layers_ * pieces->piece_bytes},
           .piece_bytes = pieces->piece_bytes,
           .error_class = *error});
      encoded.owned_.push_back(std::move(pieces->bytes));
    } else if (absl::IsFailedPrecondition(pieces.status())) {
      encoded.blocks.push_back(
          {.payload = payloads[i], .piece_bytes = codec_->layer_bytes()});
    } else {
      status = pieces.status();
    }
  }
  GiveBack(std::move(work));
  if (!status.ok()) return status;
  return encoded;
}

// From the last layer to the first, so that what is written lies behind what is
// still to be read; where both overlap, the encoded layer is copied first.
absl::Status BlockCoding::DecodeLayers(std::span<std::byte> buffer,
                                       uint64_t piece_bytes,
                                       Workspace& work) const {
  const uint64_t layer_bytes = codec_->layer_bytes();
  for (uint64_t layer = layers_; layer-- > 0;) {
    std::span<std::byte> piece =
        buffer.subspan(layer * piece_bytes, piece_bytes);
    if (layer * layer_bytes < (layer + 1) * piece_bytes) {
      work.layer.assign(piece.begin(), piece.end());
      piece = work.layer;
    }
    BANYAN_ASSIGN_OR_RETURN(const Layer encoded,
                            codec::LayerInPiece(*codec_, SpanOf(piece)));
    BANYAN_RETURN_IF_ERROR(
        codec_->SetLayer(static_cast<uint32_t>(layer), work.codec));
    BANYAN_RETURN_IF_ERROR(codec_->DecodeLayer(
        encoded, work.codec,
        {buffer.data() + layer * layer_bytes, layer_bytes}));
  }
  return absl::OkStatus();
}

absl::Status BlockCoding::DecodeInPlace(uint32_t block,
                                        std::span<std::byte> buffer,
                                        uint64_t stored_bytes) const {
  if (stored_bytes == block_bytes()) return absl::OkStatus();
  const uint64_t position = PositionOf(block);
  const uint64_t piece_bytes = stored_bytes / layers_;
  if (stored_bytes != layers_ * piece_bytes ||
      !codec::CanBePiece(*codec_, position, piece_bytes)) {
    return MakeError(absl::StatusCode::kDataLoss, "CODEC",
                     absl::StrCat("block: ", stored_bytes,
                                  " bytes are no block of this codec."));
  }
  std::unique_ptr<Workspace> work = Take();
  absl::Status status = codec_->StartDecoding(position, work->codec);
  if (status.ok()) status = DecodeLayers(buffer, piece_bytes, *work);
  GiveBack(std::move(work));
  return status;
}

}  // namespace banyan::client
