#include "cache_server/engine/open_write.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::engine {
namespace {

absl::Status BadChunk(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

}  // namespace

absl::Status UnknownWrite() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "WRITE",
                   "write: unknown or ended. Reserve again.");
}

OpenWrite::OpenWrite(std::vector<Room> rooms) {
  for (Room& room : rooms) {
    const uint64_t seed = room.identity.ChecksumSeed();
    blocks_.push_back({.room = std::move(room), .seed = seed});
  }
}

OpenWrite::Filling* OpenWrite::Find(uint32_t ordinal) {
  const auto found = std::lower_bound(
      blocks_.begin(), blocks_.end(), ordinal,
      [](const Filling& b, uint32_t o) { return b.room.ordinal < o; });
  const bool is_ours = found != blocks_.end() && found->room.ordinal == ordinal;
  return is_ours ? &*found : nullptr;
}

absl::Status OpenWrite::Write(uint32_t ordinal, uint64_t offset,
                              absl::Span<const std::byte> bytes) {
  MutexLock lock(mutex_);
  if (has_ended_) return UnknownWrite();
  Filling* const block = Find(ordinal);
  if (block == nullptr) {
    return BadChunk("ORDINAL",
                    absl::StrCat("chunks.ordinal: block ", ordinal,
                                 " has no WRITE verdict. Send those only."));
  }
  if (offset != block->received_bytes) {
    return BadChunk("OFFSET", absl::StrCat("offset: ", offset, ", expected ",
                                           block->received_bytes, "."));
  }
  if (bytes.size() > block->room.payload_bytes - offset) {
    return BadChunk(
        "LENGTH",
        absl::StrCat("data: ends at ", offset + bytes.size(), ", block ",
                     ordinal, " has ", block->room.payload_bytes, " bytes."));
  }
  while (!bytes.empty()) {
    bytes.remove_prefix(CopyStretch(*block, bytes));
  }
  return absl::OkStatus();
}

// To the end of a piece at most. Whoever sends may change `bytes` meanwhile: sums
// are of what lies in the room.
size_t OpenWrite::CopyStretch(Filling& block,
                              absl::Span<const std::byte> bytes) {
  const Room& room = block.room;
  const auto piece = static_cast<uint32_t>(block.pieces.size());
  const uint64_t begin = piece * room.piece_bytes;
  const uint64_t end = std::min(begin + room.piece_bytes, room.payload_bytes);
  const absl::Span<std::byte> memory = room.staged->bytes();
  const uint64_t at = block.received_bytes;
  const auto stretch = bytes.first(std::min<uint64_t>(bytes.size(), end - at));
  block.received_bytes += stretch.size();
  if (at == begin && stretch.size() == end - begin) {
    block.pieces.push_back(
        CopyPiece(block.seed, piece, stretch, memory.data() + at));
    return stretch.size();
  }
  std::memcpy(memory.data() + at, stretch.data(), stretch.size());
  if (block.received_bytes == end) {
    block.pieces.push_back(
        PieceChecksum(block.seed, piece, memory.subspan(begin, end - begin)));
  }
  return stretch.size();
}

absl::Status OpenWrite::Check(const Claim& claim, const Filling* block) const {
  if (block == nullptr || block->room.staged == nullptr) {
    return BadChunk("ORDINAL", absl::StrCat("blocks.ordinal: ", claim.ordinal,
                                            " is not in this write, or twice. "
                                            "Publish dropped."));
  }
  if (block->received_bytes != block->room.payload_bytes) {
    return BadChunk(
        "SIZE",
        absl::StrCat("size: said ", block->room.payload_bytes, ", received ",
                     block->received_bytes, ". Publish dropped."));
  }
  if (claim.checksums != block->pieces) {
    return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                     "checksum mismatch on arrival; nothing stored. Send "
                     "again; check the network path.");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<WrittenBlock>> OpenWrite::Finish(
    absl::Span<const Claim> claims) {
  std::vector<Filling> dropped;  // Destroyed after the lock.
  std::vector<WrittenBlock> written;
  absl::Status status;
  MutexLock lock(mutex_);
  if (has_ended_) return UnknownWrite();
  has_ended_ = true;
  for (const Claim& claim : claims) {
    Filling* const block = Find(claim.ordinal);
    status = Check(claim, block);
    if (!status.ok()) break;
    Room& room = block->room;
    written.push_back({.ordinal = room.ordinal,
                       .header = {.identity = std::move(room.identity),
                                  .payload_bytes = room.payload_bytes,
                                  .piece_bytes = room.piece_bytes,
                                  .pieces = std::move(block->pieces)},
                       .staged = std::move(room.staged)});
  }
  dropped.swap(blocks_);
  if (!status.ok()) return status;
  return written;
}

void OpenWrite::Drop() {
  std::vector<Filling> dropped;  // Destroyed after the lock.
  MutexLock lock(mutex_);
  has_ended_ = true;
  dropped.swap(blocks_);
}

}  // namespace banyan::engine
