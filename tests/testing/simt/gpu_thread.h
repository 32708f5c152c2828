// What the executor and its monitor know of one GPU thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "tests/testing/simt/fiber.h"

namespace banyan::simt {

inline constexpr unsigned kWarpLanes = 32;
inline constexpr unsigned kBlockThreadsMax = 1024;

// CUDA's dim3 and uint3; its kernels use the names of the members.
struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;

  constexpr Dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
  constexpr uint64_t count() const { return uint64_t{x} * y * z; }
};

// A line of a kernel, in C++ or in PTX.
struct Site {
  const char* file = nullptr;
  int line = 0;

  static Site Of(const std::source_location& place) {
    return {place.file_name(), static_cast<int>(place.line())};
  }
  std::string Text() const;
  friend bool operator==(const Site& a, const Site& b);
};

enum class WarpOp : uint8_t {
  kSync,
  kShuffle,
  kBallot,
  kMatch,
  kAdd,
  kMin,
  kMax,
  kSignedMin,
  kSignedMax,
  kAnd,
  kOr,
  kXor,
};

// cp.async: the last zero_bytes of the destination are zeroed, not copied.
struct AsyncCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  size_t bytes = 0;
  size_t zero_bytes = 0;
};

struct GpuThread {
  enum class State : uint8_t { kFresh, kReady, kAtBarrier, kAtWarpOp, kDone };

  Dim3 index;           // threadIdx.
  unsigned number = 0;  // In its block.
  unsigned lane = 0;
  unsigned warp = 0;
  State state = State::kFresh;
  Fiber* fiber = nullptr;

  // The warp operation or barrier it waits at.
  WarpOp op = WarpOp::kSync;
  uint32_t mask = 0;
  unsigned source_lane = 0;  // kShuffle only.
  uint64_t value = 0;
  uint64_t result = 0;
  Site site;

  // Copies not committed yet, and groups not waited for yet.
  std::vector<AsyncCopy> open_copies;
  std::vector<std::vector<AsyncCopy>> copy_groups;
};

}  // namespace banyan::simt
