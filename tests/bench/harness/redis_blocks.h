// Values of one size in Redis, read in turn. The client receives into one buffer.
// Redis knows no checksums, so the client has one of each value, and verifies with
// it what came, as who reads from a store must who is to compute with no wrong byte.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "tests/bench/harness/look.h"
#include "tests/bench/harness/redis.h"
#include "tests/bench/harness/timing.h"

namespace banyan::bench {

class RedisBlocks {
 public:
  RedisBlocks(Redis::Door door, uint64_t block_bytes, uint64_t blocks);

  // Calls of so many GETs, sent at once.
  Timing Get(uint64_t count, double seconds, Look look = Look::kAllBytes);

  // GB/s of one GET a call, all bytes verified.
  double Measure(double seconds);

  pid_t pid() const { return redis_.pid(); }

 private:
  void Verify(uint64_t block, std::string_view answer) const;

  Redis redis_;
  const uint64_t block_bytes_;
  const std::string head_;  // Of an answer.
  std::vector<std::string> commands_;
  std::vector<Checksum128> sums_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
