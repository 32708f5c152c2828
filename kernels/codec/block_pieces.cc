#include "kernels/codec/block_pieces.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "kernels/codec/codec_errors.h"

namespace banyan::codec {
namespace {

// Behind a layer without a fixed size: how long it is.
constexpr uint64_t kLengthBytes = 8;

// Pieces of such layers have one of few lengths, so that blocks of one call
// mostly have the same.
uint64_t PieceStep(const BlockCodec& codec) {
  return std::max<uint64_t>(64, codec.layer_bytes() / 32 / 64 * 64);
}

absl::Status NoShorter() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "SIZE",
                   "codec: this block would take no fewer bytes.");
}

// Layers that lie `room` apart, each with its length, into pieces.
absl::StatusOr<EncodedPieces> Pack(const BlockCodec& codec,
                                   std::unique_ptr<std::byte[]> bytes,
                                   uint64_t room,
                                   const std::vector<uint64_t>& lengths) {
  const uint64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const uint64_t step = PieceStep(codec);
  const uint64_t piece = CeilDiv(longest + kLengthBytes, step) * step;
  if (piece >= codec.layer_bytes()) return NoShorter();
  auto packed =
      std::make_unique_for_overwrite<std::byte[]>(lengths.size() * piece);
  for (size_t layer = 0; layer < lengths.size(); ++layer) {
    std::byte* const to = packed.get() + layer * piece;
    const uint64_t length = lengths[layer];
    std::memcpy(to, bytes.get() + layer * room, length);
    std::memset(to + length, 0, piece - kLengthBytes - length);
    StoreLe64(length, to + piece - kLengthBytes);
  }
  return EncodedPieces{.bytes = std::move(packed), .piece_bytes = piece};
}

}  // namespace

absl::StatusOr<EncodedPieces> EncodePieces(const BlockCodec& codec,
                                           uint32_t layers,
                                           uint64_t first_position,
                                           LayerSource layer_at,
                                           BlockCodec::Workspace& work) {
  const uint64_t room = codec.EncodedLayerBytes(first_position);
  if (codec.has_fixed_size() && room >= codec.layer_bytes()) {
    return NoShorter();
  }
  BANYAN_RETURN_IF_ERROR(codec.StartEncoding(first_position, work));
  auto bytes = std::make_unique_for_overwrite<std::byte[]>(layers * room);
  std::vector<uint64_t> lengths;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    BANYAN_ASSIGN_OR_RETURN(const auto from, layer_at(layer));
    BANYAN_RETURN_IF_ERROR(codec.SetLayer(layer, work));
    BANYAN_ASSIGN_OR_RETURN(
        const uint64_t length,
        codec.EncodeLayerSized(from, work, {bytes.get() + layer * room, room}));
    lengths.push_back(length);
  }
  if (!codec.has_fixed_size()) {
    return Pack(codec, std::move(bytes), room, lengths);
  }
  return EncodedPieces{.bytes = std::move(bytes), .piece_bytes = room};
}

bool CanBePiece(const BlockCodec& codec, uint64_t first_position,
                uint64_t piece_bytes) {
  if (piece_bytes >= codec.layer_bytes()) return false;
  if (codec.has_fixed_size()) {
    return piece_bytes == codec.EncodedLayerBytes(first_position);
  }
  return piece_bytes > 0 && piece_bytes % PieceStep(codec) == 0;
}

absl::StatusOr<absl::Span<const std::byte>> LayerInPiece(
    const BlockCodec& codec, absl::Span<const std::byte> piece) {
  if (codec.has_fixed_size()) return piece;
  if (piece.size() < kLengthBytes) return BadCode();
  const auto room = piece.first(piece.size() - kLengthBytes);
  const uint64_t length = LoadLe64(room.data() + room.size());
  if (length > room.size()) return BadCode();
  return room.first(length);
}

}  // namespace banyan::codec
