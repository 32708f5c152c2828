// R11s, R20: questions on the node's host through shared memory, one in flight.
//
// R11s  p50 of a match of one key ÷ p50 of Redis GET of 128 bytes over TCP
// R20   p50 of a match of 512 keys, all stored
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/latency.h"
#include "tests/bench/harness/node.h"
#include "tests/bench/harness/redis.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr size_t kKeys = 512;
constexpr size_t kValueBytes = 128;
constexpr size_t kAnswerBytes = 6 + kValueBytes + 2;  // "$128\r\n" ... "\r\n".

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  const double seconds = arguments.seconds();
  Node node(
      {.host_bytes = 64ull << 20, .transport = banyan::TransportKind::kShm});
  Redis redis;
  const std::string keys = banyan::testing::ChainKeys("small", kKeys);
  const std::string key = keys.substr(0, 32);
  const auto values = Payload("small", kKeys * kValueBytes);
  node.Put(keys, Split(std::span<const std::byte>(values), kValueBytes));
  redis.Set(key, {reinterpret_cast<const char*>(values.data()), kValueBytes});
  const std::string command = RedisCommand({"GET", key});
  auto all = Compare(
      {.id = "R11s",
       .what = "match of one key, shm, p50 / Redis GET, p50",
       .unit = "ratio",
       .floor = 1.2,
       .goal = 0.5,
       .better = "lower"},
      arguments,
      {.name = "shm match of one key, p50",
       .unit = "us",
       .measure = [&] { return LatencyUs(seconds, [&] { node.Match(key); }); }},
      {.name = "Redis GET, p50",
       .unit = "us",
       .measure =
           [&] {
             return LatencyUs(seconds, [&] {
               BANYAN_CHECK(
                   redis.Call(command, kAnswerBytes).starts_with("$128\r\n"));
             });
           }},
      {node.pid(), redis.pid()});
  std::vector<double> us;
  for (int i = 0; i < arguments.repeats; ++i) {
    us.push_back(LatencyUs(seconds, [&] { node.Match(keys); }));
  }
  all.update(ResultJson({.id = "R20",
                         .what = "match of 512 keys, shm, p50",
                         .unit = "us",
                         .floor = 150,
                         .goal = 50,
                         .better = "lower"},
                        us));
  std::cout << all.dump() << "\n";
  return 0;
}
