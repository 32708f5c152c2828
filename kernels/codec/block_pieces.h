// A whole block in a codec: each layer in a piece of its own, all pieces of one
// length, as blocks are stored and travel.
//
// Format:  docs/formats/codec_block.md, "Blocks".
// Threads: as BlockCodec; a Workspace serves one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/codec/block_codec.h"

namespace banyan::codec {

struct EncodedPieces {
  std::unique_ptr<std::byte[]> bytes;
  uint64_t piece_bytes = 0;
};

// Layer number `layer` of a block; called once for each, in order.
using LayerSource =
    absl::FunctionRef<absl::StatusOr<absl::Span<const std::byte>>(
        uint32_t layer)>;

// Encodes the block that begins at this position.
// Errors: kFailedPrecondition reason VALUE: a layer that the codec must not
//         encode; reason SIZE: pieces would be no shorter than layers. Keep the
//         block as it is. kInvalidArgument reason ROPE. Those of `layer_at`.
absl::StatusOr<EncodedPieces> EncodePieces(const BlockCodec& codec,
                                           uint32_t layers,
                                           uint64_t first_position,
                                           LayerSource layer_at,
                                           BlockCodec::Workspace& work);

// Whether EncodePieces may write such pieces.
bool CanBePiece(const BlockCodec& codec, uint64_t first_position,
                uint64_t piece_bytes);

// The encoded layer in a piece.
// Errors: kDataLoss reason CODEC.
absl::StatusOr<absl::Span<const std::byte>> LayerInPiece(
    const BlockCodec& codec, absl::Span<const std::byte> piece);

}  // namespace banyan::codec
