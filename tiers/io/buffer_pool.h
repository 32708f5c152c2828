// A BufferPool lends memory for direct I/O: aligned, bounded in all, and kept
// for the next borrower, because the kernel takes as long to hand out new pages
// as a disk takes to fill them.
//
// A pool of a chunk or more lends parts of one region, none across the border of
// a chunk, so that an engine can register chunks with the kernel. What finds no
// room there, or is larger than a chunk, comes from the heap.
//
// Threads:  thread-safe.
// Lifetime: destroy all buffers before their pool (checked).
// Errors:   kResourceExhausted when the budget is lent out; buffers come back
//           when I/O ends and pins are dropped.
// Cost:     Take and return 0.1 us from the cache; else page faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace banyan::tiers {

class BufferPool;

inline constexpr uint64_t kIoChunkBytes = uint64_t{16} << 20;

// One lent buffer; goes back to its pool when destroyed. Movable; an empty one
// has no bytes. Thread-compatible.
class PooledBuffer {
 public:
  PooledBuffer() = default;
  PooledBuffer(PooledBuffer&& other) noexcept;
  PooledBuffer& operator=(PooledBuffer&& other) noexcept;
  ~PooledBuffer();

  // At least the size asked for, a multiple of kIoAlignment. Not cleared.
  absl::Span<std::byte> bytes() const { return {data_, size_}; }

 private:
  friend class BufferPool;
  PooledBuffer(BufferPool* pool, std::byte* data, size_t size)
      : pool_(pool), data_(data), size_(size) {}

  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class BufferPool {
 public:
  // Lends at most `budget_bytes` at once, and keeps no more than that.
  explicit BufferPool(uint64_t budget_bytes);
  ~BufferPool();

  // A buffer larger than the whole budget is lent while nothing else is.
  absl::StatusOr<PooledBuffer> Take(uint64_t bytes);

  // Where most buffers lie: whole chunks, from a multiple of huge pages on. No
  // memory is taken until it is used. Empty for a small pool.
  absl::Span<std::byte> region() const { return region_; }

  uint64_t budget_bytes() const { return budget_bytes_; }
  uint64_t lent_bytes() const;

 private:
  friend class PooledBuffer;
  void Return(std::byte* data, size_t size);
  std::byte* TakeFromRegion(size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveToRegion(std::byte* data, size_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsInRegion(const std::byte* data) const {
    return data >= region_.data() && data < region_.data() + region_.size();
  }

  const uint64_t budget_bytes_;
  absl::Span<std::byte> mapping_;  // The region, and what aligns it.
  absl::Span<std::byte> region_;
  mutable Mutex mutex_;
  uint64_t lent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<size_t, std::vector<std::byte*>> kept_ ABSL_GUARDED_BY(mutex_);
  // Of the region: offset and length of what is neither lent nor kept.
  std::map<uint64_t, uint64_t> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace banyan::tiers
