// R3, R4, R4b, R14u, R14v, R16u, R19u, R20u: blocks of 2 MiB over UCX and TCP, on the
// loopback.
//
// R3    get, 16 blocks a call, verified / raw TCP loopback
// R4    get, one block a call / Redis GET over TCP, both verified; R4b with 16
//       blocks a call
// R14u  milliseconds from kill -9 of the node to the end of a get
// R14v  milliseconds past its deadline that a get from a hung node ends
// R16u  put, Reserve to Commit / get
// R19u  processor seconds a GB of get, client and node together / Redis GET's
// R20u  p50 of a match of 512 keys
#include <unistd.h>

#include <iostream>

#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/cpu_share.h"
#include "tests/bench/harness/peer_death.h"
#include "tests/bench/harness/put_and_get.h"
#include "tests/bench/harness/raw_socket.h"
#include "tests/bench/harness/redis_blocks.h"
#include "tests/bench/harness/timing.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr auto kUcx = TransportKind::kUcx;

nlohmann::ordered_json Gets(const Arguments& arguments) {
  const double seconds = arguments.seconds();
  RawSocket tcp(RawSocket::Door::kTcp, kBlockBytes,
                ChainCount(arguments) * kChainBlocks);
  StoredChains chains(arguments,
                      {.host_bytes = HostBytes(arguments), .transport = kUcx});
  std::vector<std::byte> buffer(kChainBytes);
  const pid_t node = chains.node().pid();
  const Side get = {.name = "UCX get, verified",
                    .unit = "GB/s",
                    .measure = [&] { return chains.MeasureGet(seconds); }};
  auto all = Compare({.id = "R3",
                      .what = "UCX get of 2 MiB blocks / raw TCP loopback",
                      .unit = "ratio",
                      .floor = 0.70,
                      .goal = 0.95},
                     arguments, get,
                     {.name = "raw TCP, polling peers, a core each",
                      .unit = "GB/s",
                      .measure = [&] { return tcp.Measure(seconds, buffer); }},
                     {node, tcp.pid()});
  RedisBlocks redis(Redis::Door::kTcp, kBlockBytes,
                    ChainCount(arguments) * kChainBlocks);
  const Side peer = {.name = "Redis GET, TCP, lean client, verified",
                     .unit = "GB/s",
                     .measure = [&] { return redis.Measure(seconds); }};
  all.update(
      Compare({.id = "R4",
               .what = "UCX get, one block a call / Redis GET, TCP",
               .unit = "ratio",
               .floor = 1.0,
               .goal = 1.2},
              arguments,
              {.name = "UCX get, one block a call",
               .unit = "GB/s",
               .measure = [&] { return chains.MeasureGetSingly(seconds); }},
              peer, {node, redis.pid()}));
  all.update(Compare({.id = "R4b",
                      .what = "UCX get, 16 blocks a call / Redis GET, TCP",
                      .unit = "ratio",
                      .floor = 1.0,
                      .goal = 1.4},
                     arguments, get,
                     {.name = peer.name + ", one or four a call",
                      .unit = "GB/s",
                      .measure = [&] { return redis.MeasureBest(seconds); }},
                     {node, redis.pid()}));
  const auto cpu_of = [&](std::string name, pid_t server, auto measure) {
    return Side{.name = std::move(name),
                .unit = "s/GB",
                .measure = [&arguments, server, measure] {
                  return CpuSecondsPerGb(arguments.seconds(),
                                         {getpid(), server}, measure);
                }};
  };
  all.update(Compare(
      {.id = "R19u",
       .what = "processor s/GB of UCX get, client and node / Redis GET's, TCP",
       .unit = "ratio",
       .floor = 1.4,
       .goal = 1.1,
       .better = "lower"},
      arguments,
      cpu_of("UCX get, verified", node,
             [&](double s) { return chains.MeasureGet(s); }),
      cpu_of(peer.name, redis.pid(),
             [&](double s) { return redis.Measure(s); }),
      {node, redis.pid()}));
  return all;
}

nlohmann::ordered_json Deaths(const Arguments& arguments) {
  auto all = ResultJson({.id = "R14u",
                         .what = "from kill -9 of the node to a failed UCX get",
                         .unit = "ms",
                         .floor = 100,
                         .goal = 20,
                         .better = "lower"},
                        Repeat(arguments.repeats, [] { return KillMs(kUcx); }));
  all.update(
      ResultJson({.id = "R14v",
                  .what = "a UCX get from a hung node, past its deadline",
                  .unit = "ms",
                  .floor = 50,
                  .goal = 10,
                  .better = "lower"},
                 Repeat(arguments.repeats, [] { return HangMs(kUcx); })));
  return all;
}

nlohmann::ordered_json Matches(const Arguments& arguments) {
  constexpr size_t kKeys = 512;
  constexpr size_t kValueBytes = 128;
  Node node({.host_bytes = 64 * kMiB, .transport = kUcx});
  const std::string keys = testing::ChainKeys("small", kKeys);
  const auto values = Payload("small", kKeys * kValueBytes);
  node.Put(keys, Split(std::span<const std::byte>(values), kValueBytes));
  return ResultJson(
      {.id = "R20u",
       .what = "match of 512 keys, UCX, p50",
       .unit = "us",
       .floor = 300,
       .goal = 150,
       .better = "lower"},
      Repeat(arguments.repeats, [&] {
        return TimeCalls(arguments.seconds(), [&] { node.Match(keys); }).us;
      }));
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  auto all = Gets(arguments);
  all.update(Deaths(arguments));
  all.update(ComparePutWithGet({.id = "R16u",
                                .what = "UCX put of 2 MiB blocks / UCX get",
                                .unit = "ratio",
                                .floor = 0.5,
                                .goal = 0.8},
                               arguments, kUcx));
  all.update(Matches(arguments));
  std::cout << all.dump() << "\n";
  return 0;
}
