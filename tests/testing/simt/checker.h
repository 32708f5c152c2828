// The Checker watches every access of kernels to memory, as compute-sanitizer
// does on a GPU:
//
//   bounds   the address lies in a live device buffer, a shared array, the
//            thread's own stack, the kernel's arguments or the program's image
//   values   nobody reads device or shared memory that nobody wrote
//   races    of two accesses to a byte, one of them a write, one comes before
//            the other by __syncthreads or __syncwarp; between blocks, nothing
//            does. Atomic operations may meet each other.
//   traffic  bytes, sectors and bank conflicts (traffic.h), when asked
//
// Kernels are compiled with -fsanitize=thread and linked without it: then
// tsan_hooks.cc gets a call for each access and hands it on.
//
// Not here: weak memory. Accesses are seen in the order in which the executor
// makes them.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/simt/executor.h"
#include "tests/testing/simt/monitor.h"
#include "tests/testing/simt/traffic.h"

namespace banyan::simt {

class Checker final : public Monitor {
 public:
  // The one that the hooks call. From the first call on it watches.
  // Requires: no device memory has been allocated before the first call.
  static Checker& Get();

  // Counts into `traffic` until the next call; nullptr for no more.
  void CountTraffic(Traffic* traffic) { counter_.SetTraffic(traffic); }

  void BlockBegins() override;
  void SharedArray(std::byte* begin, size_t bytes) override;
  void BlockBarrier() override;
  void LanesMeet(unsigned warp, uint32_t mask) override;
  void WarpBarrier(unsigned warp, uint32_t mask) override;
  void Accesses(const void* at, size_t bytes, Access access,
                const void* place) override;
  void AsyncCopyBegins(const void* to, size_t bytes,
                       const void* place) override;
  void AsyncCopyEnds(const void* to, size_t bytes, const void* place) override;
  void DeviceBuffer(std::byte* begin, size_t bytes, bool is_live) override;
  void HostWrites(std::byte* begin, size_t bytes) override;
  std::vector<std::string> LaunchEnds() override;

 private:
  // Of one byte.
  enum class Contents : uint8_t { kNone, kUnwritten, kWritten, kInFlight };

  // Who touched one byte. Clocks are those of the threads when they did.
  struct Cell {
    uint32_t block = 0;  // Whose, and of which epoch, the fields are.
    uint32_t epoch = 0;
    uint32_t write_clock = 0;
    std::array<uint32_t, 2> read_clocks{};  // The newest two readers.
    uint32_t reader_warps = 0;
    uint16_t writer = 0;
    std::array<uint16_t, 2> readers{};
    uint16_t flags = 0;
    const void* write_place = nullptr;
    const void* read_place = nullptr;
  };

  // The access under scrutiny.
  struct Look {
    const std::byte* at;
    size_t bytes;
    Access access;
    const void* place;
    bool is_device;
  };

  Checker();

  bool IsDevice(const std::byte* at) const;
  bool IsShared(const std::byte* at) const;
  bool IsPrivate(const std::byte* at, size_t bytes) const;
  size_t IndexOf(const std::byte* at) const;
  void Fill(const std::byte* begin, size_t bytes, Contents contents);
  void MaybePreempt(Access access);
  void CheckContents(const Look& look);
  void CheckRaces(const Look& look);
  static bool HasSamePast(const Cell& a, const Cell& b);
  void Renew(Cell& cell, bool is_device) const;
  const char* RaceWithBlocks(const Cell& cell, Access access) const;
  const char* RaceWithThreads(const Cell& cell, Access access) const;
  void Note(Cell& cell, const Look& look) const;
  bool ComesBefore(uint16_t thread, uint32_t clock) const;
  void Report(const char* what, const Look& look, const void* other_place);

  const std::byte* const device_;
  Contents* const contents_;  // Of device memory, then of the shared arena.
  Cell* const cells_;

  // Clocks of each thread: what it knows of each lane of its warp.
  std::vector<std::array<uint32_t, kWarpLanes>> clocks_;
  uint32_t blocks_ = 0;       // So far; the running block's number.
  uint32_t first_block_ = 0;  // Of the launch.
  bool is_launched_ = false;
  uint32_t epoch_ = 0;
  const std::byte* shared_begin_ = nullptr;
  const std::byte* shared_end_ = nullptr;
  unsigned accesses_to_preemption_ = 1;

  TrafficCounter counter_;
  std::vector<std::string> findings_;
  std::set<std::pair<std::string, const void*>> reported_;
};

}  // namespace banyan::simt
