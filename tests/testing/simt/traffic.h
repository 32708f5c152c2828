// What a kernel asks of memory, counted while the checker runs it: the memory
// half of a roofline.
//
// The k-th time that each lane of a warp runs one instruction is one request of
// the warp. Device memory is fetched in sectors of 32 bytes; shared memory has
// 32 banks of 4 bytes, and a request takes as many wavefronts as the busiest
// bank has different words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

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
  void SetTraffic(Traffic* traffic);
  bool is_on() const { return traffic_ != nullptr; }

  void Add(const std::byte* at, size_t bytes, bool is_write, bool is_device,
           const void* place, unsigned warp, unsigned thread);

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
  // Place, warp, how often before.
  std::map<std::tuple<const void*, unsigned, unsigned>, Request> requests_;
  std::map<std::pair<const void*, unsigned>, unsigned> times_;
};

}  // namespace banyan::simt
