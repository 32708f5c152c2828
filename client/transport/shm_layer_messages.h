// What client and node say to each other through shared memory about layers:
// more questions beside those of client/transport/shm_messages.h, in the same
// slots.
//
// Format: docs/formats/shm.md, vectors in docs/formats/shm.json.
// Errors: as in client/transport/shm_messages.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/transport/shm_messages.h"

namespace banyan::transport {

// Of ShmKind::kOpenLayers and kFollow, which are ShmBlocksQuestions whose
// pieces are layers: what there is to read.
struct ShmLayersOpened {
  uint32_t blocks = 0;  // Leading ones; they stay with the slot.
  uint32_t first_layer = 0;
  uint32_t layers = 0;
  uint32_t total_layers = 0;  // Of a block.
  uint64_t layer_bytes = 0;
};
std::string EncodeLayersOpened(const ShmLayersOpened& opened);
absl::StatusOr<ShmLayersOpened> ParseLayersOpened(
    absl::Span<const std::byte> bytes);

// kLayers: where are the next pieces? In the order of layers, in each by
// blocks, from this place on; after the last layer comes one more row, of the
// ends.
struct ShmLayersQuestion {
  uint32_t layer = 0;
  uint32_t block = 0;
  uint32_t blocks = 0;   // Only the leading ones.
  uint32_t pieces = 0;   // At most so many.
  uint32_t wait_ms = 0;  // If there is none yet.
};
std::string EncodeQuestion(const ShmLayersQuestion& question);
absl::StatusOr<ShmLayersQuestion> ParseLayers(
    absl::Span<const std::byte> bytes);

// One piece; in the row of the ends, what became of its block.
enum class ShmPieceState : uint8_t {
  kReady = 1,      // There; at the end: stored.
  kWithdrawn = 2,  // Its write ended otherwise.
};
struct ShmPiece {
  ShmPieceState state = ShmPieceState::kReady;
  uint64_t offset = 0;   // In the arena.
  Checksum128 checksum;  // Of layer_bytes there.
};
inline constexpr size_t kShmPieceBytes = 32;
inline constexpr size_t kShmPiecesHeadBytes = 16;
inline constexpr size_t kShmPiecesMax = 2048;  // Of an answer.
// Fewer than were asked for, or none: the next is not there yet.
struct ShmPiecesAnswer {
  uint32_t lease_ms = 0;  // They stay where they are so long.
  std::vector<ShmPiece> pieces;
};
std::string EncodePieces(const ShmPiecesAnswer& answer);
absl::StatusOr<ShmPiecesAnswer> ParsePieces(absl::Span<const std::byte> bytes);

// kPutPieces: stretches of pieces of a write by layers lie in the part, one
// after the other. With the last of a piece comes its checksum.
struct ShmStretch {
  uint32_t ordinal = 0;
  uint32_t piece = 0;
  uint64_t offset = 0;  // In the block.
  uint64_t bytes = 0;
  bool is_last = false;
  Checksum128 checksum;  // Of the whole piece, if it is the last.
};
struct ShmPutPieces {
  absl::string_view write_id;
  std::vector<ShmStretch> stretches;
};
inline constexpr size_t kShmStretchBytes = 48;
inline constexpr size_t kShmStretchesMax = 1024;  // Of a question.
std::string EncodeQuestion(const ShmPutPieces& put);
absl::StatusOr<ShmPutPieces> ParsePutPieces(absl::Span<const std::byte> bytes);

}  // namespace banyan::transport
