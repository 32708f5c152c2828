// Values of 2 MiB in Redis, read in turn, one a call: as many bytes as StoredChains
// holds. The client receives into one buffer and verifies nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/harness/arguments.h"
#include "tests/bench/harness/redis.h"

namespace banyan::bench {

class RedisBlocks {
 public:
  RedisBlocks(const Arguments& arguments, Redis::Door door);

  // GB/s.
  double Measure(double seconds);

  pid_t pid() const { return redis_.pid(); }

 private:
  Redis redis_;
  std::vector<std::string> commands_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
