// What shared memory is asked about layers. Like the rest it moves no payload
// of readers: they copy out of the arena, also out of blocks that are being
// written.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cache_server/transfer/shm_calls.h"

namespace banyan::transfer {
namespace {

using engine::LayeredRead;
using transport::ShmPiece;
using transport::ShmPieceState;

// A client asks again where it waits longer.
constexpr absl::Duration kWaitMax = absl::Seconds(1);

absl::Status NoLayers() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "LEASE",
                   "layers: this slot reads none. Open them first.");
}

uint32_t RowOf(const LayeredRead& read, uint32_t layer) {
  return layer < read.end_layer() ? layer : LayeredRead::kEnds;
}

}  // namespace

absl::StatusOr<std::string> ShmCalls::OpenLayers(
    absl::string_view session_id, const transport::ShmBlocksQuestion& question,
    Slot& slot) const {
  const bool is_following = question.kind == transport::ShmKind::kFollow;
  BANYAN_ASSIGN_OR_RETURN(
      slot.layers,
      store_.ReadLayers(
          {.namespace_id = question.namespace_id,
           .salt = question.salt,
           .run = question.run,
           .quality = question.quality},
          {.first = question.first_piece,
           .count = question.piece_count,
           .follower = is_following ? session_id : absl::string_view()},
          engine::ColdReads::kDefer));
  slot.end = clock_.Now() + options_.pin_ttl;
  const LayeredRead::Layers& layers = slot.layers->layers();
  return transport::EncodeLayersOpened(
      {.blocks = static_cast<uint32_t>(slot.layers->size()),
       .first_layer = layers.first,
       .layers = layers.count,
       .total_layers = layers.total,
       .layer_bytes = layers.layer_bytes});
}

ShmPiece ShmCalls::PieceAt(const LayeredRead& read, size_t block,
                           uint32_t row) const {
  ShmPiece piece;
  if (row == LayeredRead::kEnds) return piece;
  const LayeredRead::Block& at = read.block(block);
  const uint64_t begin = row * read.layers().layer_bytes;
  piece.offset = at.growing == nullptr
                     ? host_.SlotOf(*at.pin).offset_bytes + begin
                     : static_cast<uint64_t>(at.growing->BytesOf(row).data() -
                                             host_.arena().bytes().data());
  piece.checksum = read.ChecksumOf(block, row);
  return piece;
}

absl::StatusOr<std::string> ShmCalls::Layers(
    const transport::ShmLayersQuestion& asked, size_t answer_bytes_max,
    Slot& slot, Patience& patience) const {
  if (slot.layers == nullptr) return NoLayers();
  LayeredRead& read = *slot.layers;
  const size_t blocks = std::min<size_t>(asked.blocks, read.size());
  const size_t room = (answer_bytes_max - transport::kShmPiecesHeadBytes) /
                      transport::kShmPieceBytes;
  const size_t pieces_max =
      std::min({size_t{asked.pieces}, room, transport::kShmPiecesMax});
  if (asked.layer < read.layers().first || asked.layer > read.end_layer() ||
      asked.block >= blocks || pieces_max == 0) {
    return MakeError(absl::StatusCode::kOutOfRange, "RANGE",
                     absl::StrCat("layers: no piece at layer ", asked.layer,
                                  ", block ", asked.block, "."));
  }
  transport::ShmPiecesAnswer answer{
      .lease_ms =
          static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.pin_ttl))};
  std::vector<ShmPiece>& pieces = answer.pieces;
  uint64_t bytes = 0;
  uint64_t ends = 0;
  uint32_t layer = asked.layer;
  size_t block = asked.block;
  while (pieces.size() < pieces_max && layer <= read.end_layer()) {
    const uint32_t row = RowOf(read, layer);
    const LayeredRead::State state = read.Look(block, row);
    if (state == LayeredRead::State::kPending) {
      if (!pieces.empty() || patience.watcher == nullptr ||
          asked.wait_ms == 0) {
        break;
      }
      if (!read.Watch(block, row, patience.watcher)) continue;
      patience.wait = std::min(absl::Milliseconds(asked.wait_ms), kWaitMax);
      return std::string();
    }
    const bool is_ready = state == LayeredRead::State::kReady;
    pieces.push_back(is_ready ? PieceAt(read, block, row)
                              : ShmPiece{.state = ShmPieceState::kWithdrawn});
    if (is_ready && row == LayeredRead::kEnds) ++ends;
    if (is_ready && row != LayeredRead::kEnds) {
      bytes += read.layers().layer_bytes;
    }
    if (++block == blocks) {
      block = 0;
      ++layer;
    }
  }
  slot.end = clock_.Now() + options_.pin_ttl;
  store_.CountRead(tiers::TierKind::kHost, ends, bytes);
  return transport::EncodePieces(answer);
}

absl::StatusOr<std::string> ShmCalls::CheckLayers(
    const transport::ShmCheck& check, const LayeredRead& read) const {
  if (check.ordinal >= read.size()) return NoLayers();
  // Of a block that is being written the commit decides.
  if (read.IsGrowing(check.ordinal)) return transport::EncodeCount(0);
  for (uint32_t i = 0; i < read.layers().total; ++i) {
    const absl::Status status = read.Read(check.ordinal, i).status();
    if (status.ok()) continue;
    store_.ReportCorrupt(read.block(check.ordinal).id, status);
    return transport::EncodeCount(1);
  }
  return transport::EncodeCount(0);
}

absl::StatusOr<std::string> ShmCalls::PutPieces(
    absl::string_view session_id, const transport::ShmPutPieces& put,
    absl::Span<const std::byte> part) const {
  const auto write = store_.FindWrite(session_id, put.write_id);
  absl::Status status = write.status();
  for (const transport::ShmStretch& stretch : put.stretches) {
    if (!status.ok()) break;
    if (stretch.bytes > part.size()) {
      status = MakeError(
          absl::StatusCode::kInvalidArgument, "LENGTH",
          absl::StrCat("put: ", stretch.bytes, " bytes, the part has ",
                       part.size(), " left."));
      break;
    }
    // Copies first, then computes checksums over the copy.
    status = (*write)->Write(stretch.ordinal, stretch.offset,
                             part.first(stretch.bytes));
    part.remove_prefix(stretch.bytes);
    if (status.ok() && stretch.is_last) {
      status =
          (*write)->Vouch(stretch.ordinal, stretch.piece, stretch.checksum);
    }
  }
  if (status.ok()) return transport::EncodeCount(0);
  store_.EndBadWrite(session_id, put.write_id, status);
  return status;
}

}  // namespace banyan::transfer
