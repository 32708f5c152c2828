// A Monitor hears what a kernel does to memory; the Checker is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace banyan::simt {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

class Monitor {
 public:
  virtual ~Monitor() = default;

  virtual void BlockBegins() = 0;
  // A shared array of the running block.
  virtual void SharedArray(std::byte* begin, size_t bytes) = 0;
  virtual void BlockBarrier() = 0;
  // Lanes of `mask` met in an operation of the warp, and go on together.
  virtual void LanesMeet(unsigned warp, uint32_t mask) = 0;
  // They met in __syncwarp; other warp operations order no memory.
  virtual void WarpBarrier(unsigned warp, uint32_t mask) = 0;
  // By the running thread. `place` is the return address of the access, or the
  // number of a line of PTX.
  virtual void Accesses(const void* at, size_t bytes, Access access,
                        const void* place) = 0;
  // Between the two, a copy of the running thread may write these bytes.
  virtual void AsyncCopyBegins(const void* to, size_t bytes,
                               const void* place) = 0;
  virtual void AsyncCopyEnds(const void* to, size_t bytes,
                             const void* place) = 0;

  virtual void DeviceBuffer(std::byte* begin, size_t bytes, bool is_live) = 0;
  virtual void HostWrites(std::byte* begin, size_t bytes) = 0;
  // What is wrong with the launch that ends now, one sentence each.
  virtual std::vector<std::string> LaunchEnds() = 0;
};

}  // namespace banyan::simt
