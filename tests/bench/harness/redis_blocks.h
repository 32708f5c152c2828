// Values of one size in Redis, read in turn. The client receives into one buffer.
// Redis knows no checksums, so the client has kept one of each value, and sums what
// comes while it is in the caches.
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

  // GB/s, all bytes verified: of one GET a call.
  double Measure(double seconds);
  // Of one or of four, whichever is faster, for callers that have several blocks to
  // get at once.
  double MeasureBest(double seconds);

  pid_t pid() const { return redis_.pid(); }

 private:
  double GigabytesPerSecond(uint64_t count, double seconds);

  Redis redis_;
  const uint64_t block_bytes_;
  const std::string head_;  // Of an answer.
  std::vector<std::string> commands_;
  std::vector<Checksum128> sums_;
  uint64_t next_ = 0;
};

}  // namespace banyan::bench
