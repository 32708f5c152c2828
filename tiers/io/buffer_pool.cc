#include "tiers/io/buffer_pool.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "tiers/io/file.h"

namespace banyan::tiers {
namespace {

constexpr size_t kHugePageBytes = 2 * kMiB;

// Sixteen steps a doubling: few sizes, so that a returned buffer finds its next
// borrower, and at most 1/16 more than was asked for.
size_t KeptSize(uint64_t bytes) {
  const uint64_t whole = RoundUp(bytes, kIoAlignment);
  const uint64_t step = std::bit_floor(whole) / 16;
  return step <= kIoAlignment ? whole : RoundUp(whole, step);
}

// Large ones in huge pages, where the machine gives them: a device takes a
// request with few long pieces at once, and splits one with many short ones.
std::byte* AllocateAligned(size_t size) {
  const size_t alignment =
      size >= kHugePageBytes ? kHugePageBytes : kIoAlignment;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, size) != 0) return nullptr;
  // A hint: without huge pages all works as well.
  if (size >= kHugePageBytes) madvise(data, size, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

}  // namespace

PooledBuffer::PooledBuffer(PooledBuffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

PooledBuffer& PooledBuffer::operator=(PooledBuffer&& other) noexcept {
  if (this == &other) return *this;
  if (pool_ != nullptr) pool_->Return(data_, size_);
  pool_ = std::exchange(other.pool_, nullptr);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

PooledBuffer::~PooledBuffer() {
  if (pool_ != nullptr) pool_->Return(data_, size_);
}

BufferPool::BufferPool(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {
  static_assert(kIoChunkBytes % kHugePageBytes == 0);
  const uint64_t bytes = budget_bytes / kIoChunkBytes * kIoChunkBytes;
  if (bytes == 0) return;
  const uint64_t mapped_bytes = bytes + kHugePageBytes;
  void* const data = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return;  // The heap serves as well.
  mapping_ = {static_cast<std::byte*>(data), mapped_bytes};
  const auto address = reinterpret_cast<uintptr_t>(data);
  region_ = mapping_.subspan(RoundUp(address, kHugePageBytes) - address, bytes);
  madvise(region_.data(), region_.size(), MADV_HUGEPAGE);
  const MutexLock lock(mutex_);
  free_[0] = bytes;
}

BufferPool::~BufferPool() {
  const MutexLock lock(mutex_);
  BANYAN_CHECK(lent_bytes_ == 0);
  for (const auto& [size, buffers] : kept_) {
    for (std::byte* const data : buffers) {
      if (!IsInRegion(data)) std::free(data);
    }
  }
  if (!mapping_.empty()) munmap(mapping_.data(), mapping_.size());
}

// The lowest place that it fits in, so that few chunks are used.
std::byte* BufferPool::TakeFromRegion(size_t size) {
  if (size > kIoChunkBytes) return nullptr;
  const uint64_t alignment =
      size >= kHugePageBytes ? kHugePageBytes : kIoAlignment;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [begin, length] = *it;
    uint64_t at = RoundUp(begin, alignment);
    if (at % kIoChunkBytes + size > kIoChunkBytes) {
      at = RoundUp(at, kIoChunkBytes);
    }
    if (at + size > begin + length) continue;
    free_.erase(it);
    if (at > begin) free_[begin] = at - begin;
    const uint64_t rest = begin + length - (at + size);
    if (rest > 0) free_[at + size] = rest;
    return region_.data() + at;
  }
  return nullptr;
}

void BufferPool::GiveToRegion(std::byte* data, size_t size) {
  const auto at = static_cast<uint64_t>(data - region_.data());
  auto it = free_.emplace(at, size).first;
  const auto next = std::next(it);
  if (next != free_.end() && at + size == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it == free_.begin()) return;
  const auto before = std::prev(it);
  if (before->first + before->second != at) return;
  before->second += it->second;
  free_.erase(it);
}

uint64_t BufferPool::lent_bytes() const {
  const MutexLock lock(mutex_);
  return lent_bytes_;
}

absl::StatusOr<PooledBuffer> BufferPool::Take(uint64_t bytes) {
  BANYAN_CHECK(bytes > 0);
  const size_t size = KeptSize(bytes);
  {
    const MutexLock lock(mutex_);
    if (lent_bytes_ > 0 && lent_bytes_ + size > budget_bytes_) {
      return MakeError(absl::StatusCode::kResourceExhausted, "BUFFERS_LENT",
                       absl::StrCat("I/O buffers: ", lent_bytes_, " of ",
                                    budget_bytes_, " B are lent. Retry."));
    }
    lent_bytes_ += size;
    const auto found = kept_.find(size);
    if (found != kept_.end() && !found->second.empty()) {
      std::byte* const data = found->second.back();
      found->second.pop_back();
      kept_bytes_ -= size;
      return PooledBuffer(this, data, size);
    }
    if (std::byte* const part = TakeFromRegion(size)) {
      return PooledBuffer(this, part, size);
    }
  }
  std::byte* const data = AllocateAligned(size);
  if (data == nullptr) {
    const MutexLock lock(mutex_);
    lent_bytes_ -= size;
    return MakeError(absl::StatusCode::kResourceExhausted, "NO_MEMORY",
                     "I/O buffers: the machine has no memory left");
  }
  return PooledBuffer(this, data, size);
}

void BufferPool::Return(std::byte* data, size_t size) {
  {
    const MutexLock lock(mutex_);
    lent_bytes_ -= size;
    if (lent_bytes_ + kept_bytes_ + size <= budget_bytes_) {
      kept_[size].push_back(data);
      kept_bytes_ += size;
      return;
    }
    if (IsInRegion(data)) {
      GiveToRegion(data, size);
      return;
    }
  }
  std::free(data);
}

}  // namespace banyan::tiers
