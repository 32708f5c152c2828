// Values of one size in Redis, read in turn. The client receives into one buffer
// and verifies nothing but the ends of an answer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/harness/redis.h"
#include "tests/bench/harness/timing.h"

namespace banyan::bench {

class RedisBlocks {
 public:
  RedisBlocks(Redis::Door door, uint64_t block_bytes, uint64_t blocks);

  // Calls of so many GETs, sent at once.
  Timing Get(uint64_t count, double seconds);

  // GB/s of one GET a call.
  double Measure(double seconds);

  pid_t pid() const { return redis_.pid(); }

 private:
  Redis redis_;
  const uint64_t block_bytes_;
  const std::string head_;  // Of an answer.
  std::vector<std::string> commands_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
