#include "client/transport/shm_layer_messages.h"

#include <cstring>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "client/transport/shm_bytes.h"
#include "client/transport/shm_channel.h"

namespace banyan::transport {
namespace {

constexpr size_t kOpenedBytes = 32;
constexpr size_t kLayersBytes = 24;
constexpr size_t kPutHead = 24;

static_assert(kShmPiecesHeadBytes + kShmPiecesMax * kShmPieceBytes <=
              kShmAreaBytes);
static_assert(kPutHead + kShmStretchesMax * kShmStretchBytes <= kShmAreaBytes);

}  // namespace

std::string EncodeLayersOpened(const ShmLayersOpened& opened) {
  std::string out(kOpenedBytes, '\0');
  std::byte* const at = BytesOf(out);
  StoreLe32(opened.blocks, at + 8);
  StoreLe32(opened.first_layer, at + 12);
  StoreLe32(opened.layers, at + 16);
  StoreLe32(opened.total_layers, at + 20);
  StoreLe64(opened.layer_bytes, at + 24);
  return out;
}

absl::StatusOr<ShmLayersOpened> ParseLayersOpened(
    absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const auto body, AnswerBody(bytes));
  if (body.size() != kOpenedBytes) return MalformedShm("an answer of layers");
  const std::byte* const at = body.data();
  return ShmLayersOpened{.blocks = LoadLe32(at + 8),
                         .first_layer = LoadLe32(at + 12),
                         .layers = LoadLe32(at + 16),
                         .total_layers = LoadLe32(at + 20),
                         .layer_bytes = LoadLe64(at + 24)};
}

std::string EncodeQuestion(const ShmLayersQuestion& question) {
  std::string out(kLayersBytes, '\0');
  std::byte* const at = BytesOf(out);
  *at = std::byte{static_cast<uint8_t>(ShmKind::kLayers)};
  StoreLe32(question.layer, at + 4);
  StoreLe32(question.block, at + 8);
  StoreLe32(question.blocks, at + 12);
  StoreLe32(question.pieces, at + 16);
  StoreLe32(question.wait_ms, at + 20);
  return out;
}

absl::StatusOr<ShmLayersQuestion> ParseLayers(
    absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const ShmKind kind, KindOf(bytes));
  if (kind != ShmKind::kLayers || bytes.size() != kLayersBytes) {
    return MalformedShm("a question about layers");
  }
  const std::byte* const at = bytes.data();
  return ShmLayersQuestion{.layer = LoadLe32(at + 4),
                           .block = LoadLe32(at + 8),
                           .blocks = LoadLe32(at + 12),
                           .pieces = LoadLe32(at + 16),
                           .wait_ms = LoadLe32(at + 20)};
}

std::string EncodePieces(const ShmPiecesAnswer& answer) {
  std::string out(kShmPiecesHeadBytes + answer.pieces.size() * kShmPieceBytes,
                  '\0');
  std::byte* at = BytesOf(out);
  StoreLe32(static_cast<uint32_t>(answer.pieces.size()), at + 8);
  StoreLe32(answer.lease_ms, at + 12);
  at += kShmPiecesHeadBytes;
  for (const ShmPiece& piece : answer.pieces) {
    *at = std::byte{static_cast<uint8_t>(piece.state)};
    StoreLe64(piece.offset, at + 8);
    StoreChecksum(piece.checksum, at + 16);
    at += kShmPieceBytes;
  }
  return out;
}

absl::StatusOr<ShmPiecesAnswer> ParsePieces(absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const auto body, AnswerBody(bytes));
  if (body.size() < kShmPiecesHeadBytes) return MalformedShm("pieces");
  const uint32_t count = LoadLe32(body.data() + 8);
  if ((body.size() - kShmPiecesHeadBytes) % kShmPieceBytes != 0 ||
      count != (body.size() - kShmPiecesHeadBytes) / kShmPieceBytes) {
    return MalformedShm("so many pieces");
  }
  ShmPiecesAnswer answer{.lease_ms = LoadLe32(body.data() + 12)};
  answer.pieces.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* const at =
        body.data() + kShmPiecesHeadBytes + i * kShmPieceBytes;
    const auto state = static_cast<ShmPieceState>(*at);
    if (state != ShmPieceState::kReady && state != ShmPieceState::kWithdrawn) {
      return MalformedShm("a piece");
    }
    answer.pieces.push_back({.state = state,
                             .offset = LoadLe64(at + 8),
                             .checksum = LoadChecksum(at + 16)});
  }
  return answer;
}

std::string EncodeQuestion(const ShmPutPieces& put) {
  std::string out(kPutHead + put.stretches.size() * kShmStretchBytes, '\0');
  std::byte* at = BytesOf(out);
  *at = std::byte{static_cast<uint8_t>(ShmKind::kPutPieces)};
  StoreLe32(static_cast<uint32_t>(put.stretches.size()), at + 4);
  const absl::string_view id = put.write_id.substr(0, kShmIdBytes);
  if (!id.empty()) std::memcpy(at + 8, id.data(), id.size());
  at += kPutHead;
  for (const ShmStretch& stretch : put.stretches) {
    StoreLe32(stretch.ordinal, at);
    StoreLe32(stretch.piece, at + 4);
    StoreLe64(stretch.offset, at + 8);
    StoreLe64(stretch.bytes, at + 16);
    at[24] = std::byte{static_cast<uint8_t>(stretch.is_last ? 1 : 0)};
    StoreChecksum(stretch.checksum, at + 32);
    at += kShmStretchBytes;
  }
  return out;
}

absl::StatusOr<ShmPutPieces> ParsePutPieces(absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const ShmKind kind, KindOf(bytes));
  if (kind != ShmKind::kPutPieces || bytes.size() < kPutHead) {
    return MalformedShm("a put of pieces");
  }
  const uint32_t count = LoadLe32(bytes.data() + 4);
  if ((bytes.size() - kPutHead) % kShmStretchBytes != 0 ||
      count != (bytes.size() - kPutHead) / kShmStretchBytes) {
    return MalformedShm("so many stretches");
  }
  ShmPutPieces put{.write_id = AsText(bytes.subspan(8, kShmIdBytes))};
  put.stretches.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const std::byte* const at = bytes.data() + kPutHead + i * kShmStretchBytes;
    put.stretches.push_back({.ordinal = LoadLe32(at),
                             .piece = LoadLe32(at + 4),
                             .offset = LoadLe64(at + 8),
                             .bytes = LoadLe64(at + 16),
                             .is_last = at[24] == std::byte{1},
                             .checksum = LoadChecksum(at + 32)});
  }
  return put;
}

}  // namespace banyan::transport
