// What a kernel asks of memory, counted while the checker runs it: the memory
// half of a roofline.
//
// The k-th time that each lane of a warp runs one instruction is one request of
// the warp. It is counted anew wherever lanes meet, in a barrier or an operation of
// the warp: a lane that left the instruction out is in step again from there on.
// Device memory is fetched in sectors of 32 bytes; shared memory has 32 banks of 4
// bytes, and a request takes as many wavefronts as the busiest bank has different
// words.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "tests/testing/simt/gpu_thread.h"

namespace banyan::simt {

struct Traffic {
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t read_sectors = 0;
  uint64_t written_sectors = 0;
  uint64_t requests = 0;
  uint64_t shared_wavefronts = 0;
  uint64_t shared_wavefronts_ideal = 0;  // Equal: no bank conflict.

  // Bytes asked for, of those that sectors bring: 0..1.
  double sector_use() const;
};

class TrafficCounter {
 public:
  TrafficCounter() : meetings_(kBlockThreadsMax) {}

  void SetTraffic(Traffic* traffic);
  bool is_on() const { return traffic_ != nullptr; }

  void Add(const std::byte* at, size_t bytes, bool is_write, bool is_device,
           const void* place, unsigned warp, unsigned thread);

  // Lanes of `mask` go on together.
  void Meet(unsigned warp, uint32_t mask);
  // All threads of the block do.
  void MeetAll();

  // The requests so far are complete.
  void Fold();

 private:
  struct Piece {
    uintptr_t at;
    size_t bytes;
  };
  struct Request {
    bool is_write = false;
    bool is_device = false;
    std::vector<Piece> pieces;
  };

  void FoldDevice(const Request& request);
  void FoldShared(const Request& request);

  Traffic* traffic_ = nullptr;
  // How often lanes had met, and how often it had been run since.
  struct Step {
    uint64_t meeting = 0;
    unsigned time = 0;
    auto operator<=>(const Step&) const = default;
  };

  // Place, warp, step.
  std::map<std::tuple<const void*, unsigned, Step>, Request> requests_;
  std::map<std::pair<const void*, unsigned>, Step> next_;  // Place, thread.
  std::vector<uint64_t> meetings_;                         // Of each thread.
};

}  // namespace banyan::simt
