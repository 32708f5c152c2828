// Chunks of memory that the rings of an io_uring engine register with the
// kernel: which there are, and for one ring, which it has.
#pragma once

#include <liburing.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/types/span.h"
#include "tiers/io/buffer_pool.h"

namespace banyan::tiers {

// Of an engine. Threads: Add before all else; then thread-safe.
class IoChunks {
 public:
  static constexpr int kNone = -1;
  // As many as a ring's table may hold, in older kernels.
  static constexpr size_t kChunksMax = 1024;

  void Add(absl::Span<std::byte> region) {
    const size_t count =
        std::min(region.size() / kIoChunkBytes, kChunksMax - chunks_.size());
    if (count == 0) return;
    regions_.push_back({.begin = region.data(),
                        .end = region.data() + count * kIoChunkBytes,
                        .first = static_cast<int>(chunks_.size())});
    for (size_t i = 0; i < count; ++i) {
      chunks_.push_back(region.data() + i * kIoChunkBytes);
    }
  }

  // The chunk that holds all of this, or kNone.
  int Find(const std::byte* memory, uint64_t bytes) const {
    if (is_refused_.load(std::memory_order_relaxed)) return kNone;
    for (const Region& region : regions_) {
      if (memory < region.begin || memory >= region.end) continue;
      const auto at = static_cast<uint64_t>(memory - region.begin);
      if (at % kIoChunkBytes + bytes > kIoChunkBytes) return kNone;
      return region.first + static_cast<int>(at / kIoChunkBytes);
    }
    return kNone;
  }

  std::byte* at(int index) const { return chunks_[index]; }
  size_t size() const { return chunks_.size(); }
  uint64_t registered_bytes() const { return registered_bytes_; }
  void CountRegistered() { registered_bytes_ += kIoChunkBytes; }

  // The kernel refused once: nobody asks again.
  void Refuse(int error) {
    if (is_refused_.exchange(true)) return;
    rlimit limit = {};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    std::fprintf(stderr,
                 "banyan: io_uring buffers are not registered (%s; the limit "
                 "for locked memory is %llu KiB); going on without.\n",
                 std::strerror(error),
                 static_cast<unsigned long long>(limit.rlim_cur / 1024));
  }

 private:
  struct Region {
    const std::byte* begin;
    const std::byte* end;
    int first;  // Number of its first chunk.
  };

  std::vector<Region> regions_;
  std::vector<std::byte*> chunks_;
  std::atomic<bool> is_refused_{false};
  std::atomic<uint64_t> registered_bytes_{0};
};

// Of one ring, and used by whoever uses that.
class RingBuffers {
 public:
  explicit RingBuffers(IoChunks& chunks) : chunks_(chunks) {}

  // Number in the ring's table of the chunk that holds this memory, registered
  // now if it is not; kNone: issue the request without.
  int IndexOf(io_uring& ring, const std::byte* memory, uint64_t bytes) {
    const int index = chunks_.Find(memory, bytes);
    if (index == IoChunks::kNone) return index;
    if (is_registered_.empty() && !MakeTable(ring)) return IoChunks::kNone;
    if (!is_registered_[index] && !Register(ring, index)) {
      return IoChunks::kNone;
    }
    return index;
  }

 private:
  bool MakeTable(io_uring& ring) {
    const int error = io_uring_register_buffers_sparse(
        &ring, static_cast<unsigned>(chunks_.size()));
    if (error != 0) {
      chunks_.Refuse(-error);
      return false;
    }
    is_registered_.resize(chunks_.size());
    return true;
  }

  bool Register(io_uring& ring, int index) {
    const iovec chunk = {.iov_base = chunks_.at(index),
                         .iov_len = kIoChunkBytes};
    const __u64 no_tag = 0;
    const int done =
        io_uring_register_buffers_update_tag(&ring, index, &chunk, &no_tag, 1);
    if (done != 1) {
      chunks_.Refuse(-done);
      return false;
    }
    is_registered_[index] = true;
    chunks_.CountRegistered();
    return true;
  }

  IoChunks& chunks_;
  std::vector<bool> is_registered_;
};

}  // namespace banyan::tiers
