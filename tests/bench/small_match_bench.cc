// R11: how long the smallest question takes with nothing else in flight: a
// match of one key at the gRPC door, against GET of 128 bytes at Redis. Each
// measure is the median latency of its calls.
#include <chrono>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"
#include "tests/bench/harness/redis.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr size_t kValueBytes = 128;
constexpr size_t kAnswerBytes = 6 + kValueBytes + 2;  // "$128\r\n" ... "\r\n".

// Median microseconds of a call.
template <typename Call>
double LatencyUs(double seconds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> us;
  CallsPerSecond(seconds, [&](uint64_t) {
    const auto start = Clock::now();
    call();
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start)
                     .count());
  });
  return Median(us);
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  Node node({.host_bytes = 64ull << 20});
  Redis redis;
  const std::string key = banyan::testing::ChainKeys("small", 1);
  const auto value = Payload("small", kValueBytes);
  node.Put(key, {value});
  redis.Set(key, {reinterpret_cast<const char*>(value.data()), kValueBytes});
  const std::string command = RedisCommand({"GET", key});
  const auto result = Compare(
      {.id = "R11",
       .what = "match of one key, gRPC, p50 / Redis GET, p50",
       .unit = "ratio",
       .floor = 3.0,
       .goal = 2.0,
       .better = "lower"},
      arguments,
      {.name = "gRPC match of one key, p50",
       .unit = "us",
       .measure =
           [&] {
             return LatencyUs(arguments.seconds(), [&] { node.Match(key); });
           }},
      {.name = "Redis GET, p50",
       .unit = "us",
       .measure =
           [&] {
             return LatencyUs(arguments.seconds(), [&] {
               BANYAN_CHECK(
                   redis.Call(command, kAnswerBytes).starts_with("$128\r\n"));
             });
           }},
      {node.pid(), redis.pid()});
  std::cout << result.dump() << "\n";
  return 0;
}
