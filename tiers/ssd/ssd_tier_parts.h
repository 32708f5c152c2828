// The SsdTier's own pieces, shared by its source files; nobody else's.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "tiers/ssd/ssd_tier.h"

namespace banyan::tiers {

// Room for one block: memory for its record, and a promise of disk space.
class SsdTier::Staged final : public StagedBlock {
 public:
  Staged(SsdTier& tier, Segment* segment, uint64_t reserved_bytes,
         PooledBuffer buffer, uint64_t payload_bytes)
      : tier_(tier),
        segment_(segment),
        reserved_bytes_(reserved_bytes),
        payload_bytes_(payload_bytes),
        buffer_(std::move(buffer)) {}
  ~Staged() override {
    if (segment_ != nullptr) tier_.GiveBack(segment_, reserved_bytes_);
  }

  // The record's first header page lies in front, so that all is one write.
  absl::Span<std::byte> bytes() override {
    return buffer_.bytes().subspan(kIoAlignment, payload_bytes_);
  }

  const SsdTier& tier() const { return tier_; }
  uint64_t payload_bytes() const { return payload_bytes_; }
  uint64_t reserved_bytes() const { return reserved_bytes_; }
  Segment* TakeRoom() { return std::exchange(segment_, nullptr); }
  PooledBuffer TakeBuffer() { return std::move(buffer_); }

 private:
  SsdTier& tier_;
  Segment* segment_;
  const uint64_t reserved_bytes_;
  const uint64_t payload_bytes_;
  PooledBuffer buffer_;
};

// Owns memory and holds segments until its I/O is done, whoever waits.
class SsdTier::ReadBatch final : public IoBatch {
 public:
  explicit ReadBatch(SsdTier& tier) : tier_(tier) {}
  ~ReadBatch() override {
    for (Segment* const segment : segments_) tier_.ReleaseUser(segment);
  }

  // The segment is already counted as used.
  void Add(Segment* segment, const Place& place, PooledBuffer buffer) {
    requests.push_back({.kind = IoKind::kRead,
                        .file = segment->file.get(),
                        .offset = place.offset(),
                        .memory = buffer.bytes().data(),
                        .bytes = place.bytes()});
    segments_.push_back(segment);
    buffers_.push_back(std::move(buffer));
  }
  PooledBuffer TakeBuffer(size_t i) { return std::move(buffers_[i]); }

  DiskHealth::Call call;  // Over when the engine lets go of the batch.

 private:
  SsdTier& tier_;
  std::vector<Segment*> segments_;
  std::vector<PooledBuffer> buffers_;
};

class SsdTier::WriteBatch final : public IoBatch {
 public:
  explicit WriteBatch(SsdTier& tier) : tier_(tier) {}
  ~WriteBatch() override {
    for (Segment* const segment : segments_) tier_.ReleaseUser(segment);
  }

  // Takes the record's memory; the segment is already counted as used.
  void Add(Append& append);

  DiskHealth::Call call;  // As in ReadBatch.

 private:
  void AddWrite(Segment* segment, uint64_t offset, std::byte* memory,
                uint64_t bytes) {
    requests.push_back({.kind = IoKind::kWrite,
                        .file = segment->file.get(),
                        .offset = offset,
                        .memory = memory,
                        .bytes = bytes});
  }

  SsdTier& tier_;
  std::vector<Segment*> segments_;
  std::vector<PooledBuffer> buffers_;
};

// Keeps a block readable: holds its bytes in memory, and its space.
class SsdTier::ReadPin final : public BlockPin {
 public:
  ReadPin(SsdTier& tier, PinEntry* entry, ReadRecord record);
  ~ReadPin() override { tier_.Unpin(entry_); }

 private:
  absl::Span<const std::byte> payload() const override { return payload_; }
  absl::Span<const std::byte> PayloadAgain() const override;
  void OnDamaged() const override;

  SsdTier& tier_;
  PinEntry* const entry_;
  const PooledBuffer buffer_;
  const absl::Span<const std::byte> payload_;
  mutable Mutex mutex_;
  // Of the second try; the first stays, spans of it are out.
  mutable PooledBuffer second_ ABSL_GUARDED_BY(mutex_);
  mutable bool has_tried_again_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace banyan::tiers
