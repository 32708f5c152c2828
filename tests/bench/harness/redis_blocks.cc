#include "tests/bench/harness/redis_blocks.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/blocks.h"

namespace banyan::bench {

RedisBlocks::RedisBlocks(const Arguments& arguments, Redis::Door door)
    : redis_(door) {
  const uint64_t count = ChainCount(arguments) * kChainBlocks;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key = absl::StrCat("block", i);
    const auto value = Payload(key, kBlockBytes);
    redis_.Set(key,
               {reinterpret_cast<const char*>(value.data()), value.size()});
    commands_.push_back(RedisCommand({"GET", key}));
  }
}

double RedisBlocks::Measure(double seconds) {
  // "$2097152\r\n", the value, "\r\n".
  constexpr size_t kAnswerBytes = 10 + kBlockBytes + 2;
  const double calls = CallsPerSecond(seconds, [&](uint64_t) {
    const auto answer =
        redis_.Call(commands_[next_++ % commands_.size()], kAnswerBytes);
    BANYAN_CHECK(answer.starts_with("$2097152\r\n") &&
                 answer.ends_with("\r\n"));
  });
  return calls * kBlockBytes / 1e9;
}

}  // namespace banyan::bench
