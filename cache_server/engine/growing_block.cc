#include "cache_server/engine/growing_block.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace banyan::engine {

GrowingBlock::GrowingBlock(BlockIdentity identity, uint64_t payload_bytes,
                           uint64_t piece_bytes,
                           std::unique_ptr<tiers::StagedBlock> room)
    : identity_(std::move(identity)),
      checksum_seed_(identity_.ChecksumSeed()),
      payload_bytes_(payload_bytes),
      piece_bytes_(piece_bytes),
      piece_count_(PieceCount(payload_bytes, piece_bytes)),
      memory_(room->bytes()),
      pieces_(piece_count_),
      room_(std::move(room)) {
  BANYAN_CHECK(piece_count_ > 0 && memory_.size() == payload_bytes);
}

uint64_t GrowingBlock::PieceSize(uint32_t piece) const {
  return std::min(piece_bytes_, payload_bytes_ - PieceOffset(piece));
}

void GrowingBlock::Add(uint32_t piece, const Checksum128& checksum) {
  std::vector<Waiting> told;
  {
    MutexLock lock(mutex_);
    // A commit that did not wait for the last pieces has brought them all.
    if (state_ != State::kGrowing || pieces_[piece].has_value()) return;
    pieces_[piece] = checksum;
    told = TakeDecided();
  }
  for (const Waiting& waiting : told) waiting.watcher->OnGrowth();
}

std::unique_ptr<tiers::StagedBlock> GrowingBlock::TakeRoom() {
  MutexLock lock(mutex_);
  return std::move(room_);
}

void GrowingBlock::SetStored(absl::Span<const Checksum128> checksums,
                             std::unique_ptr<tiers::BlockPin> pin) {
  std::vector<Waiting> told;
  {
    MutexLock lock(mutex_);
    BANYAN_CHECK(checksums.size() == pieces_.size());
    pieces_.assign(checksums.begin(), checksums.end());
    pin_ = std::move(pin);
    state_ = State::kStored;
    told = TakeDecided();
  }
  for (const Waiting& waiting : told) waiting.watcher->OnGrowth();
}

void GrowingBlock::Withdraw(std::unique_ptr<tiers::StagedBlock> room) {
  std::vector<Waiting> told;
  {
    MutexLock lock(mutex_);
    if (state_ == State::kStored) return;
    state_ = State::kWithdrawn;
    if (room != nullptr) room_ = std::move(room);
    told = TakeDecided();
  }
  for (const Waiting& waiting : told) waiting.watcher->OnGrowth();
}

GrowingBlock::State GrowingBlock::state() const {
  MutexLock lock(mutex_);
  return state_;
}

std::optional<Checksum128> GrowingBlock::ChecksumOf(uint32_t piece) const {
  MutexLock lock(mutex_);
  return pieces_[piece];
}

bool GrowingBlock::IsDecided(uint32_t piece) const {
  return state_ != State::kGrowing ||
         (piece < pieces_.size() && pieces_[piece].has_value());
}

std::optional<uint64_t> GrowingBlock::Watch(
    uint32_t piece, std::shared_ptr<BlockWatcher> watcher) {
  MutexLock lock(mutex_);
  if (IsDecided(piece)) return std::nullopt;
  waiting_.push_back({.ticket = ++last_ticket_,
                      .piece = piece,
                      .watcher = std::move(watcher)});
  return last_ticket_;
}

void GrowingBlock::Unwatch(uint64_t ticket) {
  std::shared_ptr<BlockWatcher> forgotten;  // Outside the lock.
  MutexLock lock(mutex_);
  const auto found = std::find_if(
      waiting_.begin(), waiting_.end(),
      [&](const Waiting& waiting) { return waiting.ticket == ticket; });
  if (found == waiting_.end()) return;
  forgotten = std::move(found->watcher);
  waiting_.erase(found);
}

size_t GrowingBlock::watchers() const {
  MutexLock lock(mutex_);
  return waiting_.size();
}

std::vector<GrowingBlock::Waiting> GrowingBlock::TakeDecided() {
  std::vector<Waiting> decided;
  std::vector<Waiting> others;
  for (Waiting& waiting : waiting_) {
    (IsDecided(waiting.piece) ? decided : others).push_back(std::move(waiting));
  }
  waiting_.swap(others);
  return decided;
}

}  // namespace banyan::engine
