// Memory for tables that are read at random: where the machine allows it, in
// pages of 2 MiB. With pages of 4 KiB nearly every read of a large table also
// misses the processor's table of pages.
//
// Threads: free functions without state.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace banyan::index {

inline constexpr size_t kHugePageBytes = 2 << 20;

// Asks for huge pages in [at, at + bytes); what is no whole huge page stays small.
// A machine that has none says no, and nothing but speed is lost.
inline void AskForHugePages(void* at, size_t bytes) {
  madvise(at, bytes, MADV_HUGEPAGE);
}

// Standard allocator: memory of kHugePageBytes and more is aligned to huge pages
// and asks for them, less comes as ever.
template <typename T>
struct HugeAllocator {
  using value_type = T;

  HugeAllocator() = default;
  template <typename Other>
  explicit HugeAllocator(const HugeAllocator<Other>&) {}

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    void* memory = ::operator new(bytes, Alignment(bytes));
    if (bytes >= kHugePageBytes) AskForHugePages(memory, bytes);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    ::operator delete(memory, Alignment(count * sizeof(T)));
  }

  friend bool operator==(HugeAllocator, HugeAllocator) { return true; }

 private:
  static std::align_val_t Alignment(size_t bytes) {
    return std::align_val_t(bytes >= kHugePageBytes ? kHugePageBytes
                                                    : alignof(T));
  }
};

}  // namespace banyan::index
