#include "base/block_header.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/copy_checksum.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace banyan {
namespace {

// Byte offsets of the fixed part; the piece checksums follow it, then the
// header's own checksum. docs/formats/block_header.md draws it.
constexpr uint32_t kMagic = 0x424e5942;  // "BYNB" in memory order.
constexpr uint16_t kVersion = 1;
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 4;
constexpr size_t kCodecAt = 6;
constexpr size_t kGenerationAt = 8;
constexpr size_t kPayloadAt = 16;
constexpr size_t kPieceBytesAt = 24;
constexpr size_t kPieceCountAt = 32;
constexpr size_t kKeyBytesAt = 36;
constexpr size_t kNamespaceAt = 40;
constexpr size_t kSaltAt = 56;
constexpr size_t kKeyAt = 72;
constexpr size_t kFixedBytes = kKeyAt + kKeyBytesMax;

constexpr uint64_t kPayloadBytesMax = uint64_t{1} << 40;
constexpr uint64_t kHeaderSeed = 0x62616e79616e6864;  // "banyanhd".
constexpr uint64_t kPieceStep = 0x9e3779b97f4a7c15;   // Odd: no two equal.

absl::Status Damaged(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                   absl::StrCat("block header: ", what));
}

void Copy(absl::string_view from, std::byte* to) {
  std::memcpy(to, from.data(), from.size());
}

}  // namespace

std::string SaltDigest(absl::string_view salt) {
  const Sha256Digest digest = Sha256({"banyan.salt.v1", salt});
  return std::string(AsText(digest).substr(0, kSaltDigestBytes));
}

uint64_t BlockIdentity::ChecksumSeed() const {
  std::byte text[kNamespaceIdBytes + kSaltDigestBytes + kKeyBytesMax];
  std::byte* end = text;
  for (const absl::string_view part :
       {absl::string_view(namespace_id), absl::string_view(salt_digest),
        key.bytes()}) {
    Copy(part, end);
    end += part.size();
  }
  return Xxh3_64(absl::MakeConstSpan(text, end - text), kHeaderSeed);
}

uint64_t PieceSeed(uint64_t checksum_seed, uint32_t piece) {
  return checksum_seed + piece * kPieceStep;
}

Checksum128 PieceChecksum(uint64_t checksum_seed, uint32_t piece,
                          absl::Span<const std::byte> bytes) {
  return Xxh3_128(bytes, PieceSeed(checksum_seed, piece));
}

Checksum128 CopyPiece(uint64_t checksum_seed, uint32_t piece,
                      absl::Span<const std::byte> from, std::byte* to) {
  return CopyXxh3(from, to, PieceSeed(checksum_seed, piece));
}

Checksum128 CopyPieceCached(uint64_t checksum_seed, uint32_t piece,
                            absl::Span<const std::byte> from, std::byte* to) {
  return CopyXxh3Cached(from, to, PieceSeed(checksum_seed, piece));
}

uint64_t BlockHeader::PieceSize(uint32_t piece) const {
  return std::min(piece_bytes, payload_bytes - PieceOffset(piece));
}

uint32_t PieceCount(uint64_t payload_bytes, uint64_t piece_bytes) {
  if (payload_bytes == 0 || payload_bytes > kPayloadBytesMax) return 0;
  if (piece_bytes == 0 || piece_bytes > payload_bytes) return 0;
  const uint64_t count = (payload_bytes + piece_bytes - 1) / piece_bytes;
  return count <= kPiecesMax ? static_cast<uint32_t>(count) : 0;
}

size_t BlockHeaderSize(uint32_t piece_count) {
  return kFixedBytes + size_t{piece_count} * kChecksumBytes + kChecksumBytes;
}

std::vector<std::byte> SerializeBlockHeader(const BlockHeader& header) {
  const BlockIdentity& identity = header.identity;
  BANYAN_CHECK(identity.namespace_id.size() == kNamespaceIdBytes);
  BANYAN_CHECK(identity.salt_digest.size() == kSaltDigestBytes);
  BANYAN_CHECK(!identity.key.empty());
  BANYAN_CHECK(header.piece_count() > 0 &&
               header.piece_count() ==
                   PieceCount(header.payload_bytes, header.piece_bytes));

  std::vector<std::byte> out(BlockHeaderSize(header.piece_count()));
  StoreLe32(kMagic, &out[kMagicAt]);
  StoreLe16(kVersion, &out[kVersionAt]);
  StoreLe16(header.codec, &out[kCodecAt]);
  StoreLe64(header.generation, &out[kGenerationAt]);
  StoreLe64(header.payload_bytes, &out[kPayloadAt]);
  StoreLe64(header.piece_bytes, &out[kPieceBytesAt]);
  StoreLe32(header.piece_count(), &out[kPieceCountAt]);
  StoreLe32(static_cast<uint32_t>(identity.key.bytes().size()),
            &out[kKeyBytesAt]);
  Copy(identity.namespace_id, &out[kNamespaceAt]);
  Copy(identity.salt_digest, &out[kSaltAt]);
  Copy(identity.key.bytes(), &out[kKeyAt]);
  std::byte* at = out.data() + kFixedBytes;
  for (const Checksum128& piece : header.pieces) {
    StoreChecksum(piece, at);
    at += kChecksumBytes;
  }
  const absl::Span<const std::byte> body(out.data(),
                                         out.size() - kChecksumBytes);
  StoreChecksum(Xxh3_128(body, kHeaderSeed), at);
  return out;
}

absl::StatusOr<BlockHeader> ParseBlockHeader(
    absl::Span<const std::byte> bytes) {
  if (bytes.size() < BlockHeaderSize(1)) return Damaged("too short");
  const std::byte* const in = bytes.data();
  if (LoadLe32(in + kMagicAt) != kMagic) return Damaged("wrong magic");
  if (LoadLe16(in + kVersionAt) != kVersion) return Damaged("wrong version");

  const uint32_t piece_count = LoadLe32(in + kPieceCountAt);
  if (piece_count > kPiecesMax ||
      bytes.size() != BlockHeaderSize(piece_count)) {
    return Damaged("length and piece count differ");
  }
  const absl::Span<const std::byte> body =
      bytes.first(bytes.size() - kChecksumBytes);
  if (Xxh3_128(body, kHeaderSeed) != LoadChecksum(body.end())) {
    return Damaged("checksum mismatch");
  }

  BlockHeader header;
  header.codec = LoadLe16(in + kCodecAt);
  header.generation = LoadLe64(in + kGenerationAt);
  header.payload_bytes = LoadLe64(in + kPayloadAt);
  header.piece_bytes = LoadLe64(in + kPieceBytesAt);
  if (piece_count == 0 ||
      piece_count != PieceCount(header.payload_bytes, header.piece_bytes)) {
    return Damaged("sizes do not agree");
  }
  const uint32_t key_bytes = LoadLe32(in + kKeyBytesAt);
  if (key_bytes == 0 || key_bytes > kKeyBytesMax) return Damaged("key length");
  header.identity.namespace_id =
      std::string(AsText(bytes.subspan(kNamespaceAt, kNamespaceIdBytes)));
  header.identity.salt_digest =
      std::string(AsText(bytes.subspan(kSaltAt, kSaltDigestBytes)));
  BANYAN_ASSIGN_OR_RETURN(
      header.identity.key,
      BlockKey::FromBytes(AsText(bytes.subspan(kKeyAt, key_bytes))));
  header.pieces.reserve(piece_count);
  for (uint32_t i = 0; i < piece_count; ++i) {
    header.pieces.push_back(
        LoadChecksum(in + kFixedBytes + size_t{i} * kChecksumBytes));
  }
  return header;
}

absl::StatusOr<BlockHeader> ParseBlockHeaderOf(
    absl::Span<const std::byte> bytes, const BlockIdentity& identity) {
  BANYAN_ASSIGN_OR_RETURN(BlockHeader header, ParseBlockHeader(bytes));
  if (!(header.identity == identity)) {
    return MakeError(absl::StatusCode::kDataLoss, "IDENTITY",
                     "block header: names another block");
  }
  return header;
}

}  // namespace banyan
