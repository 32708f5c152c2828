#include "cache_server/engine/layered_read.h"

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::engine {

LayeredRead::~LayeredRead() {
  Unwatch();
  for (const Block& block : blocks_) {
    if (block.growing == nullptr) continue;
    const GrowingBlock::State state = block.growing->state();
    if (state == GrowingBlock::State::kStored) {
      server::Add(counters_.followed_stored);
    } else if (state == GrowingBlock::State::kWithdrawn) {
      server::Add(counters_.followed_withdrawn);
    }
  }
}

LayeredRead::State LayeredRead::Look(size_t block, uint32_t layer) const {
  const auto& growing = blocks_[block].growing;
  if (growing == nullptr) return State::kReady;
  switch (growing->state()) {
    case GrowingBlock::State::kStored:
      return State::kReady;
    case GrowingBlock::State::kWithdrawn:
      return State::kWithdrawn;
    case GrowingBlock::State::kGrowing:
      break;
  }
  const bool is_there =
      layer != kEnds && growing->ChecksumOf(layer).has_value();
  return is_there ? State::kReady : State::kPending;
}

Checksum128 LayeredRead::ChecksumOf(size_t block, uint32_t layer) const {
  const Block& at = blocks_[block];
  if (at.growing == nullptr) return at.pin->header().pieces[layer];
  return at.growing->ChecksumOf(layer).value_or(Checksum128());
}

absl::StatusOr<absl::Span<const std::byte>> LayeredRead::Read(
    size_t block, uint32_t layer) const {
  const Block& at = blocks_[block];
  if (at.growing == nullptr) {
    BANYAN_ASSIGN_OR_RETURN(const tiers::VerifiedBytes piece,
                            at.pin->ReadPiece(layer));
    return piece.bytes();
  }
  const auto bytes = at.growing->BytesOf(layer);
  if (PieceChecksum(at.growing->checksum_seed(), layer, bytes) ==
      ChecksumOf(block, layer)) {
    return bytes;
  }
  return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM",
                   absl::StrCat("block: checksum mismatch in layer ", layer,
                                " of a block that is being written"));
}

std::shared_ptr<const void> LayeredRead::OwnerOf(size_t block) const {
  const Block& at = blocks_[block];
  if (at.growing != nullptr) return at.growing;
  return at.owner;
}

bool LayeredRead::Watch(size_t block, uint32_t layer,
                        const std::shared_ptr<BlockWatcher>& watcher) {
  Unwatch();
  const auto& growing = blocks_[block].growing;
  if (growing == nullptr) return false;
  const auto ticket =
      growing->Watch(layer == kEnds ? GrowingBlock::kEnd : layer, watcher);
  if (ticket.has_value()) watched_ = {.block = block, .ticket = *ticket};
  return ticket.has_value();
}

void LayeredRead::Unwatch() {
  if (!watched_.has_value()) return;
  blocks_[watched_->block].growing->Unwatch(watched_->ticket);
  watched_.reset();
}

}  // namespace banyan::engine
