// What a same-host get is compared with: blocks copied with memcpy out of memory
// like that of a node's host tier, mapped read-only, into the same kind of
// buffer. Nothing is looked up and nothing is verified.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "client/transport/shm_channel.h"
#include "tests/bench/harness/arguments.h"
#include "tiers/host/arena.h"

namespace banyan::bench {

class MemoryWalk {
 public:
  // As many bytes as StoredChains.
  explicit MemoryWalk(const Arguments& arguments);

  // GB/s of copying chains of blocks for so long.
  double Measure(double seconds);

 private:
  std::unique_ptr<tiers::Arena> arena_;
  transport::ShmMapping view_;
  std::vector<std::byte> buffer_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
