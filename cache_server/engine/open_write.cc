#include "cache_server/engine/open_write.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/representation.h"
#include "base/status_macros.h"

namespace banyan::engine {
namespace {

absl::Status BadChunk(absl::string_view reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message);
}

absl::Status BadOffset(uint64_t offset, uint64_t expected) {
  return BadChunk(
      "OFFSET", absl::StrCat("offset: ", offset, ", expected ", expected, "."));
}

absl::Status Mismatch() {
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                   "checksum mismatch on arrival; nothing stored. Send "
                   "again; check the network path.");
}

}  // namespace

absl::Status UnknownWrite() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "WRITE",
                   "write: unknown or ended. Reserve again.");
}

OpenWrite::OpenWrite(std::vector<Room> rooms, WriteOrder order)
    : order_(order) {
  for (Room& room : rooms) {
    auto growing = std::make_shared<GrowingBlock>(
        std::move(room.identity), room.payload_bytes, room.piece_bytes,
        std::move(room.staged));
    Filling block{.ordinal = room.ordinal, .growing = std::move(growing)};
    if (order == WriteOrder::kLayers) {
      block.parts.resize(block.growing->piece_count());
      block.pieces.resize(block.growing->piece_count());
    }
    blocks_.push_back(std::move(block));
  }
}

std::vector<std::shared_ptr<GrowingBlock>> OpenWrite::Growing() {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<GrowingBlock>> growing;
  for (const Filling& block : blocks_) growing.push_back(block.growing);
  return growing;
}

OpenWrite::Filling* OpenWrite::Find(uint32_t ordinal) {
  const auto found = std::lower_bound(
      blocks_.begin(), blocks_.end(), ordinal,
      [](const Filling& b, uint32_t o) { return b.ordinal < o; });
  const bool is_ours = found != blocks_.end() && found->ordinal == ordinal;
  return is_ours ? &*found : nullptr;
}

absl::StatusOr<OpenWrite::Filling*> OpenWrite::FindRoom(uint32_t ordinal) {
  if (has_ended_) return UnknownWrite();
  if (Filling* const block = Find(ordinal)) return block;
  return BadChunk("ORDINAL",
                  absl::StrCat("chunks.ordinal: block ", ordinal,
                               " has no WRITE verdict. Send those only."));
}

absl::Status OpenWrite::Write(uint32_t ordinal, uint64_t offset,
                              absl::Span<const std::byte> bytes) {
  MutexLock lock(mutex_);
  BANYAN_ASSIGN_OR_RETURN(Filling* const block, FindRoom(ordinal));
  if (order_ == WriteOrder::kLayers) return WritePart(*block, offset, bytes);
  return WriteInOrder(*block, offset, bytes);
}

absl::Status OpenWrite::WriteInOrder(Filling& block, uint64_t offset,
                                     absl::Span<const std::byte> bytes) {
  const uint64_t payload_bytes = block.growing->payload_bytes();
  if (offset != block.received_bytes) {
    return BadOffset(offset, block.received_bytes);
  }
  if (bytes.size() > payload_bytes - offset) {
    return BadChunk(
        "LENGTH",
        absl::StrCat("data: ends at ", offset + bytes.size(), ", block ",
                     block.ordinal, " has ", payload_bytes, " bytes."));
  }
  while (!bytes.empty()) {
    bytes.remove_prefix(CopyStretch(block, bytes));
  }
  return absl::OkStatus();
}

// To the end of a piece at most. Whoever sends may change `bytes` meanwhile: sums
// are of what lies in the room.
size_t OpenWrite::CopyStretch(Filling& block,
                              absl::Span<const std::byte> bytes) {
  GrowingBlock& growing = *block.growing;
  const auto piece = static_cast<uint32_t>(block.pieces.size());
  const uint64_t begin = growing.PieceOffset(piece);
  const uint64_t end = begin + growing.PieceSize(piece);
  const absl::Span<std::byte> memory = growing.memory();
  const uint64_t at = block.received_bytes;
  const auto stretch = bytes.first(std::min<uint64_t>(bytes.size(), end - at));
  block.received_bytes += stretch.size();
  if (at == begin && stretch.size() == end - begin) {
    block.pieces.push_back(
        CopyPiece(growing.checksum_seed(), piece, stretch, memory.data() + at));
    return stretch.size();
  }
  std::memcpy(memory.data() + at, stretch.data(), stretch.size());
  if (block.received_bytes == end) {
    block.pieces.push_back(PieceChecksum(growing.checksum_seed(), piece,
                                         memory.subspan(begin, end - begin)));
  }
  return stretch.size();
}

absl::Status OpenWrite::WritePart(Filling& block, uint64_t offset,
                                  absl::Span<const std::byte> bytes) {
  GrowingBlock& growing = *block.growing;
  if (offset >= growing.payload_bytes()) {
    return BadOffset(offset, 0);
  }
  const auto piece = static_cast<uint32_t>(offset / growing.piece_bytes());
  const uint64_t begin = growing.PieceOffset(piece);
  const uint64_t size = growing.PieceSize(piece);
  Part& part = block.parts[piece];
  if (offset - begin != part.received_bytes) {
    return BadOffset(offset, begin + part.received_bytes);
  }
  if (bytes.size() > size - part.received_bytes) {
    return BadChunk(
        "LENGTH",
        absl::StrCat("data: ends at ", offset + bytes.size(), ", piece ", piece,
                     " ends at ", begin + size, ". Send each by itself."));
  }
  std::byte* const to = growing.memory().data() + offset;
  const bool is_whole = bytes.size() == size;
  part.received_bytes += bytes.size();
  if (is_whole) {
    block.pieces[piece] = CopyPiece(growing.checksum_seed(), piece, bytes, to);
    return absl::OkStatus();
  }
  std::memcpy(to, bytes.data(), bytes.size());
  if (part.received_bytes == size) {
    block.pieces[piece] =
        PieceChecksum(growing.checksum_seed(), piece, growing.BytesOf(piece));
  }
  return absl::OkStatus();
}

absl::Status OpenWrite::VouchLocked(uint32_t ordinal, uint32_t piece,
                                    const Checksum128& checksum,
                                    std::shared_ptr<GrowingBlock>& grown) {
  BANYAN_ASSIGN_OR_RETURN(Filling* const block, FindRoom(ordinal));
  if (piece >= block->parts.size()) {
    return BadChunk("PIECE",
                    absl::StrCat("sums: piece ", piece, " of block ", ordinal,
                                 " is none of this write's, "
                                 "or it is no write by layers."));
  }
  Part& part = block->parts[piece];
  if (part.received_bytes != block->growing->PieceSize(piece) ||
      part.is_vouched) {
    return BadChunk("PIECE",
                    absl::StrCat("sums: piece ", piece, " of block ", ordinal,
                                 " has not come, or was told "
                                 "of before."));
  }
  if (block->pieces[piece] != checksum) return Mismatch();
  part.is_vouched = true;
  ++block->vouched_pieces;
  grown = block->growing;
  return absl::OkStatus();
}

absl::Status OpenWrite::Vouch(uint32_t ordinal, uint32_t piece,
                              const Checksum128& checksum) {
  std::shared_ptr<GrowingBlock> grown;
  std::vector<Filling> dropped;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    status = VouchLocked(ordinal, piece, checksum, grown);
    if (absl::IsDataLoss(status)) dropped = End();
  }
  if (grown != nullptr) grown->Add(piece, checksum);
  Withdraw(std::move(dropped));
  return status;
}

absl::Status OpenWrite::Check(const Claim& claim, const Filling* block) const {
  if (block == nullptr || block->is_claimed) {
    return BadChunk("ORDINAL", absl::StrCat("blocks.ordinal: ", claim.ordinal,
                                            " is not in this write, or twice. "
                                            "Publish dropped."));
  }
  const GrowingBlock& growing = *block->growing;
  const uint64_t received = order_ == WriteOrder::kBlocks
                                ? block->received_bytes
                            : block->vouched_pieces == growing.piece_count()
                                ? growing.payload_bytes()
                                : block->vouched_pieces * growing.piece_bytes();
  if (received != growing.payload_bytes()) {
    return BadChunk(
        "SIZE", absl::StrCat("size: said ", growing.payload_bytes(),
                             ", received ", received, ". Publish dropped."));
  }
  return claim.checksums == block->pieces ? absl::OkStatus() : Mismatch();
}

absl::StatusOr<std::vector<WrittenBlock>> OpenWrite::TakeClaimed(
    absl::Span<const Claim> claims) {
  std::vector<std::pair<Filling*, uint8_t>> claimed;
  for (const Claim& claim : claims) {
    Filling* const block = Find(claim.ordinal);
    BANYAN_RETURN_IF_ERROR(Check(claim, block));
    block->is_claimed = true;
    claimed.emplace_back(block, claim.error_class);
  }
  std::vector<WrittenBlock> written;
  for (const auto& [block, error_class] : claimed) {
    GrowingBlock& growing = *block->growing;
    WrittenBlock& out = written.emplace_back();
    out.ordinal = block->ordinal;
    out.header = {.identity = growing.identity(),
                  .codec = Representation{.error_class = error_class}.Packed(),
                  .payload_bytes = growing.payload_bytes(),
                  .piece_bytes = growing.piece_bytes(),
                  .pieces = std::move(block->pieces)};
    out.staged = growing.TakeRoom();
    out.growing = std::move(block->growing);
  }
  return written;
}

absl::StatusOr<std::vector<WrittenBlock>> OpenWrite::Finish(
    absl::Span<const Claim> claims) {
  absl::StatusOr<std::vector<WrittenBlock>> written;
  std::vector<Filling> dropped;
  {
    MutexLock lock(mutex_);
    if (has_ended_) return UnknownWrite();
    written = TakeClaimed(claims);
    dropped = End();
  }
  Withdraw(std::move(dropped));
  return written;
}

std::vector<OpenWrite::Filling> OpenWrite::End() {
  has_ended_ = true;
  return std::exchange(blocks_, {});
}

void OpenWrite::Withdraw(std::vector<Filling> blocks) {
  for (const Filling& block : blocks) {
    if (block.growing != nullptr) block.growing->Withdraw();
  }
}

void OpenWrite::Drop() {
  std::vector<Filling> dropped;
  {
    MutexLock lock(mutex_);
    dropped = End();
  }
  Withdraw(std::move(dropped));
}

}  // namespace banyan::engine
