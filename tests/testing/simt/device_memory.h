// Fake device memory for tests: an address range of its own that the host may
// not touch, as with a real GPU's pointers, in which nothing lies next to
// anything else and no address is used twice.
//
// Threads: see Executor.
// Errors:  the process ends on copies outside a live buffer. A host that reads
//          a device pointer dies of SIGSEGV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"

namespace banyan::simt {

class DeviceMemory {
 public:
  static constexpr size_t kBytes = size_t{64} << 20;
  static constexpr size_t kAlignBytes = 256;
  static constexpr size_t kRedZoneBytes = 256;

  static DeviceMemory& Get();

  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Filled with 0xFF. Ends the process when there is no room.
  std::byte* Allocate(size_t bytes);
  void Free(std::byte* begin);

  void Write(std::byte* to, absl::Span<const std::byte> from);
  void Read(const std::byte* from, absl::Span<std::byte> to);

  const std::byte* base() const { return base_; }
  // All bytes lie in one live buffer.
  bool IsLive(const std::byte* begin, size_t bytes) const;

 private:
  DeviceMemory();
  void SetOpen(bool is_open);

  std::byte* base_;
  size_t end_ = kRedZoneBytes;
  int opened_ = 0;
  std::map<const std::byte*, size_t> live_;
};

// A device array of a test, and its contents.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size)
      : size_(size),
        begin_(reinterpret_cast<T*>(
            DeviceMemory::Get().Allocate(size * sizeof(T)))) {}
  explicit DeviceArray(const std::vector<T>& values)
      : DeviceArray(values.size()) {
    DeviceMemory::Get().Write(
        bytes(),
        {reinterpret_cast<const std::byte*>(values.data()), size_ * sizeof(T)});
  }
  ~DeviceArray() { DeviceMemory::Get().Free(bytes()); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return begin_; }
  std::vector<T> Values() const {
    std::vector<T> values(size_);
    DeviceMemory::Get().Read(
        bytes(),
        {reinterpret_cast<std::byte*>(values.data()), size_ * sizeof(T)});
    return values;
  }

 private:
  std::byte* bytes() const { return reinterpret_cast<std::byte*>(begin_); }

  size_t size_;
  T* begin_;
};

}  // namespace banyan::simt
