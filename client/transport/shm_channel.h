// The memory that one client and the node share to ask and answer: slots, each
// for one question at a time, and the two words by which each side wakes the
// other. Who asked what is in client/transport/shm_messages.h.
//
// Format: docs/formats/shm.md.
//
// The other side may write anything at any time, so a reader copies first and
// looks then, and trusts no word but its own for what comes next. The size is
// sealed, so no access can fault.
//
// Threads: what is here is atomic words and byte areas; a slot belongs to one
//          thread of each side at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "base/units.h"

namespace banyan::transport {

inline constexpr uint32_t kShmSlots = 16;
// A question, an answer: of the answers, one about a block of kPiecesMax pieces.
inline constexpr uint64_t kShmAreaBytes = 72 * kKiB;
// What a client writes goes through one part a slot of its window.
inline constexpr uint64_t kShmPartBytes = 2 * kMiB;
inline constexpr uint64_t kShmWindowBytes = kShmSlots * kShmPartBytes;
inline constexpr uint64_t kShmPageBytes = 4096;
inline constexpr uint64_t kShmChannelBytes =
    kShmPageBytes + kShmSlots * 2 * kShmAreaBytes;

// Lives in shared memory.
struct ShmSlotWords {
  // Written by the client, in this order: bytes, then asked.
  alignas(64) uint32_t asked;
  uint32_t question_bytes;
  uint32_t is_waiting;  // In the kernel, for `answered` to change.
  uint32_t released;    // It reads the blocks of this answer no more.
  // Written by the node.
  alignas(64) uint32_t answered;
  uint32_t answer_bytes;
};
static_assert(sizeof(ShmSlotWords) == 128);

struct ShmWords {
  alignas(64) uint32_t doorbell;     // The client adds one with each question.
  alignas(64) uint32_t is_sleeping;  // The node, for the doorbell to change.
  alignas(64) ShmSlotWords slots[kShmSlots];
};
static_assert(sizeof(ShmWords) <= kShmPageBytes);

// A mapping of a descriptor, unmapped with the object. Movable.
class ShmMapping {
 public:
  enum class Access { kRead, kReadWrite };

  ShmMapping() = default;
  // The descriptor may be closed afterwards.
  static absl::StatusOr<ShmMapping> Map(int fd, uint64_t bytes, Access access);
  ~ShmMapping();
  ShmMapping(ShmMapping&& other) noexcept { *this = std::move(other); }
  ShmMapping& operator=(ShmMapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

// A new memfd of this size whose size is sealed.
absl::StatusOr<int> MakeSealedMemory(const char* name, uint64_t bytes);

// A view of a mapped channel.
class ShmChannel {
 public:
  // Requires: kShmChannelBytes, and they outlive *this.
  explicit ShmChannel(std::span<std::byte> bytes) : bytes_(bytes) {}

  uint32_t& doorbell() const { return words().doorbell; }
  uint32_t& is_sleeping() const { return words().is_sleeping; }
  ShmSlotWords& slot(uint32_t i) const { return words().slots[i]; }
  std::span<std::byte> question(uint32_t slot) const { return Area(2 * slot); }
  std::span<std::byte> answer(uint32_t slot) const {
    return Area(2 * slot + 1);
  }

 private:
  ShmWords& words() const {
    return *reinterpret_cast<ShmWords*>(bytes_.data());
  }
  std::span<std::byte> Area(uint32_t i) const {
    return bytes_.subspan(kShmPageBytes + i * kShmAreaBytes, kShmAreaBytes);
  }

  std::span<std::byte> bytes_;
};

// The words are read and written as atomics only.
inline uint32_t LoadWord(uint32_t& word) {
  return std::atomic_ref(word).load(std::memory_order_seq_cst);
}
inline void StoreWord(uint32_t& word, uint32_t value) {
  std::atomic_ref(word).store(value, std::memory_order_seq_cst);
}

// Sleeps while the word is `value`, at most so long; may return early.
void FutexWait(uint32_t& word, uint32_t value,
               std::chrono::nanoseconds timeout);
void FutexWake(uint32_t& word);

}  // namespace banyan::transport
