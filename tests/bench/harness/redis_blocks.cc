#include "tests/bench/harness/redis_blocks.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/node.h"

namespace banyan::bench {

RedisBlocks::RedisBlocks(Redis::Door door, uint64_t block_bytes,
                         uint64_t blocks)
    : redis_(door),
      block_bytes_(block_bytes),
      head_(absl::StrCat("$", block_bytes, "\r\n")) {
  for (uint64_t i = 0; i < blocks; ++i) {
    const std::string key = absl::StrCat("block", i);
    const auto value = Payload(key, block_bytes);
    redis_.Set(key,
               {reinterpret_cast<const char*>(value.data()), value.size()});
    commands_.push_back(RedisCommand({"GET", key}));
    sums_.push_back(Xxh3_128(value, 0));
  }
}

Timing RedisBlocks::Get(uint64_t count, double seconds, Look look) {
  const uint64_t answer_bytes = head_.size() + block_bytes_ + 2;
  return TimeCalls(seconds, [&] {
    const uint64_t first = next_;
    std::string commands;
    for (uint64_t i = 0; i < count; ++i) {
      commands += commands_[next_++ % commands_.size()];
    }
    const auto answer = redis_.Call(commands, count * answer_bytes);
    BANYAN_CHECK(answer.starts_with(head_) && answer.ends_with("\r\n"));
    if (look == Look::kEnds) return;
    for (uint64_t i = 0; i < count; ++i) {
      Verify((first + i) % commands_.size(),
             answer.substr(i * answer_bytes, answer_bytes));
    }
  });
}

void RedisBlocks::Verify(uint64_t block, std::string_view answer) const {
  const auto* const value =
      reinterpret_cast<const std::byte*>(answer.data() + head_.size());
  BANYAN_CHECK(Xxh3_128({value, block_bytes_}, 0) == sums_[block]);
}

double RedisBlocks::Measure(double seconds) {
  return Get(1, seconds).per_second() * static_cast<double>(block_bytes_) / 1e9;
}

}  // namespace banyan::bench
