// The header in front of every stored payload: whose bytes these are, how long,
// in which codec, and a checksum for each piece. Bytes count as a block only
// after their header and their checksums were verified against the identity
// that was asked for.
//
// A piece is a run of `piece_bytes` of the payload (the last may be shorter);
// by convention one layer.
//
// Format: docs/formats/block_header.md, vectors in docs/formats/block_header.json.
// Domain: 1 <= payload_bytes <= 2^40, 1 <= pieces <= kPiecesMax.
// Errors: Parse returns kDataLoss, with the reason in ErrorReason:
//         HEADER (damaged or foreign) or IDENTITY (a valid header of another
//         block).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/block_key.h"
#include "base/checksum.h"

namespace banyan {

inline constexpr size_t kNamespaceIdBytes = 16;
inline constexpr size_t kSaltDigestBytes = 16;
inline constexpr uint32_t kPiecesMax = 4096;

// What a block is, in full. Two blocks are the same block if and only if all
// of this is equal.
struct BlockIdentity {
  std::string namespace_id;  // kNamespaceIdBytes.
  std::string salt_digest;   // kSaltDigestBytes; see SaltDigest.
  BlockKey key;

  friend bool operator==(const BlockIdentity&, const BlockIdentity&) = default;

  // Seed of all piece checksums of this block, so that another block's bytes
  // never check out here.
  uint64_t ChecksumSeed() const;
};

// The only form in which a salt is kept. Any text, the empty one included.
std::string SaltDigest(absl::string_view salt);

// Checksum of piece number `piece` of the block with this seed. Pieces are
// seeded by their number too, so that swapped pieces do not check out.
Checksum128 PieceChecksum(uint64_t checksum_seed, uint32_t piece,
                          absl::Span<const std::byte> bytes);

// The seed of that checksum.
uint64_t PieceSeed(uint64_t checksum_seed, uint32_t piece);

// Copies a piece and returns the checksum of the copy: what PieceChecksum says
// of the bytes at `to` now, whatever becomes of those at `from`. Reads each byte
// once, and for larger pieces writes past the caches.
Checksum128 CopyPiece(uint64_t checksum_seed, uint32_t piece,
                      absl::Span<const std::byte> from, std::byte* to);

struct BlockHeader {
  BlockIdentity identity;
  uint16_t codec = 0;       // 0: raw bytes.
  uint64_t generation = 0;  // Of the place that holds the payload.
  uint64_t payload_bytes = 0;
  uint64_t piece_bytes = 0;  // In [1, payload_bytes].
  std::vector<Checksum128> pieces;

  friend bool operator==(const BlockHeader&, const BlockHeader&) = default;

  uint32_t piece_count() const { return static_cast<uint32_t>(pieces.size()); }
  uint64_t PieceOffset(uint32_t piece) const { return piece * piece_bytes; }
  uint64_t PieceSize(uint32_t piece) const;
};

// Number of pieces of a payload; 0 if the sizes make no valid header.
uint32_t PieceCount(uint64_t payload_bytes, uint64_t piece_bytes);

// Serialised size of a header with that many pieces.
size_t BlockHeaderSize(uint32_t piece_count);

// Requires: header is valid (sizes agree with pieces, fields in their domain).
std::vector<std::byte> SerializeBlockHeader(const BlockHeader& header);

// Reads and verifies a header; `bytes` must be exactly one.
absl::StatusOr<BlockHeader> ParseBlockHeader(absl::Span<const std::byte> bytes);

// The same, and it must be the header of `identity`.
absl::StatusOr<BlockHeader> ParseBlockHeaderOf(
    absl::Span<const std::byte> bytes, const BlockIdentity& identity);

}  // namespace banyan
