#include "tests/bench/harness/redis_blocks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/node.h"

namespace banyan::bench {
namespace {

// Sums the values of an answer that comes part by part.
class ValueSums {
 public:
  ValueSums(size_t head_bytes, size_t value_bytes)
      : head_bytes_(head_bytes), value_bytes_(value_bytes) {}

  void Add(std::string_view part) {
    while (!part.empty()) {
      const size_t end = at_ < head_bytes_ ? head_bytes_
                         : at_ < head_bytes_ + value_bytes_
                             ? head_bytes_ + value_bytes_
                             : head_bytes_ + value_bytes_ + 2;
      const size_t size = std::min(part.size(), end - at_);
      if (end == head_bytes_ + value_bytes_) {
        sum_.Add({reinterpret_cast<const std::byte*>(part.data()), size});
      }
      part.remove_prefix(size);
      at_ += size;
      if (at_ == head_bytes_ + value_bytes_ + 2) EndValue();
    }
  }

  const std::vector<Checksum128>& sums() const { return sums_; }

 private:
  void EndValue() {
    sums_.push_back(sum_.Sum());
    sum_.Restart(0);
    at_ = 0;
  }

  const size_t head_bytes_;
  const size_t value_bytes_;
  size_t at_ = 0;  // In the answer to one command.
  Xxh3Sum sum_{0};
  std::vector<Checksum128> sums_;
};

}  // namespace

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
    ValueSums sums(head_.size(), block_bytes_);
    const uint64_t first = next_;
    std::string commands;
    for (uint64_t i = 0; i < count; ++i) {
      commands += commands_[next_++ % commands_.size()];
    }
    const auto answer =
        redis_.Call(commands, count * answer_bytes, [&](std::string_view part) {
          if (look == Look::kAllBytes) sums.Add(part);
        });
    BANYAN_CHECK(answer.starts_with(head_) && answer.ends_with("\r\n"));
    for (uint64_t i = 0; i < sums.sums().size(); ++i) {
      BANYAN_CHECK(sums.sums()[i] == sums_[(first + i) % sums_.size()]);
    }
    BANYAN_CHECK(look == Look::kEnds || sums.sums().size() == count);
  });
}

double RedisBlocks::GigabytesPerSecond(uint64_t count, double seconds) {
  return Get(count, seconds).per_second() *
         static_cast<double>(count * block_bytes_) / 1e9;
}

double RedisBlocks::Measure(double seconds) {
  return GigabytesPerSecond(1, seconds);
}

double RedisBlocks::MeasureBest(double seconds) {
  return std::max(GigabytesPerSecond(1, seconds / 2),
                  GigabytesPerSecond(4, seconds / 2));
}

}  // namespace banyan::bench
