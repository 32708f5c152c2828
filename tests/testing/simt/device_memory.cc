#include "tests/testing/simt/device_memory.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"
#include "base/units.h"
#include "tests/testing/simt/executor.h"
#include "tests/testing/simt/fiber.h"

#ifdef BANYAN_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace banyan::simt {
namespace {

void SetReachable([[maybe_unused]] const std::byte* begin,
                  [[maybe_unused]] size_t bytes,
                  [[maybe_unused]] bool is_reachable) {
#ifdef BANYAN_SIMT_ASAN
  if (is_reachable) {
    ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  } else {
    ASAN_POISON_MEMORY_REGION(begin, bytes);
  }
#endif
}

Monitor* TheMonitor() { return Executor::Get().monitor(); }

}  // namespace

DeviceMemory& DeviceMemory::Get() {
  static auto* const memory = new DeviceMemory();
  return *memory;
}

DeviceMemory::DeviceMemory() : base_(MapPages(kBytes)) {
  SetReachable(base_, kBytes, false);
  Executor::Get().SetDeviceGate([](bool is_open) { Get().SetOpen(is_open); });
  BANYAN_CHECK(mprotect(base_, kBytes, PROT_NONE) == 0);
}

void DeviceMemory::SetOpen(bool is_open) {
  const int before = opened_;
  opened_ += is_open ? 1 : -1;
  if (before != 0 && opened_ != 0) return;
  BANYAN_CHECK(mprotect(base_, kBytes,
                        is_open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0);
}

std::byte* DeviceMemory::Allocate(size_t bytes) {
  const size_t begin = end_;
  end_ += RoundUp(bytes, kAlignBytes) + kRedZoneBytes;
  BANYAN_CHECK(end_ <= kBytes);
  std::byte* const buffer = base_ + begin;
  live_[buffer] = bytes;
  SetReachable(buffer, bytes, true);
  SetOpen(true);
  std::memset(buffer, 0xff, bytes);
  SetOpen(false);
  if (TheMonitor() != nullptr) TheMonitor()->DeviceBuffer(buffer, bytes, true);
  return buffer;
}

// Only once all buffers are gone, addresses are used again.
void DeviceMemory::Free(std::byte* begin) {
  const auto buffer = live_.find(begin);
  BANYAN_CHECK(buffer != live_.end());
  SetReachable(begin, buffer->second, false);
  if (TheMonitor() != nullptr) {
    TheMonitor()->DeviceBuffer(begin, buffer->second, false);
  }
  live_.erase(buffer);
  if (live_.empty()) end_ = kRedZoneBytes;
}

bool DeviceMemory::IsLive(const std::byte* begin, size_t bytes) const {
  auto buffer = live_.upper_bound(begin);
  if (buffer == live_.begin()) return false;
  --buffer;
  return begin + bytes <= buffer->first + buffer->second;
}

void DeviceMemory::Write(std::byte* to, absl::Span<const std::byte> from) {
  if (from.empty()) return;
  BANYAN_CHECK(IsLive(to, from.size()));
  SetOpen(true);
  std::memcpy(to, from.data(), from.size());
  SetOpen(false);
  if (TheMonitor() != nullptr) TheMonitor()->HostWrites(to, from.size());
}

void DeviceMemory::Read(const std::byte* from, absl::Span<std::byte> to) {
  if (to.empty()) return;
  BANYAN_CHECK(IsLive(from, to.size()));
  SetOpen(true);
  std::memcpy(to.data(), from, to.size());
  SetOpen(false);
}

}  // namespace banyan::simt
