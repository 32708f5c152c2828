// R1, R1z, R2, R2b, R13s, R19, R19b: reading blocks of 2 MiB on the node's host,
// through shared memory.
//
// R1    ÷ memcpy of as many blocks out of such memory
// R1z   µs a block to have it in place, as the node verified it at commit
// R2    ÷ Redis GET over its Unix socket; R2b with one call a block
// R13s  ÷ the same without checksums
// R19   processor seconds a byte of both sides, ÷ memcpy's
// R19b  share of a core that the node takes meanwhile
//
// A get is 16 blocks a call, one call in flight, every byte copied into the
// caller's buffer and verified there. All sides walk over 480 MiB, more than the
// caches hold; the client of Redis receives into one buffer, and verifies what comes.
#include <unistd.h>

#include <iostream>

#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/cpu_share.h"
#include "tests/bench/harness/memory_walk.h"
#include "tests/bench/harness/redis_blocks.h"

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  using Check = banyan::ViewOptions::Check;
  ServeIfNode(argc, argv);
  const Arguments arguments = ParseArguments(argc, argv);
  const double seconds = arguments.seconds();
  const uint64_t host_bytes = HostBytes(arguments);
  StoredChains chains(
      arguments, {.host_bytes = host_bytes, .transport = TransportKind::kShm});
  const pid_t node = chains.node().pid();
  const Side get = {.name = "shm get, verified",
                    .unit = "GB/s",
                    .measure = [&] { return chains.MeasureGet(seconds); }};
  nlohmann::ordered_json all;
  const auto add = [&](const nlohmann::ordered_json& part) {
    all.update(part);
  };
  {
    MemoryWalk walk(arguments);
    add(Compare({.id = "R1",
                 .what = "shm get of 2 MiB blocks / memcpy of such memory",
                 .unit = "ratio",
                 .floor = 0.70,
                 .goal = 1.0},
                arguments, get,
                {.name = "memcpy",
                 .unit = "GB/s",
                 .measure = [&] { return walk.Measure(seconds); }},
                {node}));
    const auto cpu = [&](const auto& measure) {
      return CpuSecondsPerGb(seconds, {getpid(), node}, measure);
    };
    add(Compare(
        {.id = "R19",
         .what = "processor s/GB of shm get, both sides / memcpy",
         .unit = "ratio",
         .floor = 1.4,
         .goal = 1.1,
         .better = "lower"},
        arguments,
        {.name = "shm get, client and node",
         .unit = "s/GB",
         .measure =
             [&] {
               return cpu([&](double s) { return chains.MeasureGet(s); });
             }},
        {.name = "memcpy",
         .unit = "s/GB",
         .measure =
             [&] { return cpu([&](double s) { return walk.Measure(s); }); }},
        {node}));
  }
  {
    std::vector<double> shares;
    for (int i = 0; i < arguments.repeats; ++i) {
      const double before = CpuSecondsOf({node});
      chains.MeasureGet(seconds);
      shares.push_back((CpuSecondsOf({node}) - before) / seconds);
    }
    add(ResultJson({.id = "R19b",
                    .what = "share of a core that the node takes in shm gets",
                    .unit = "cores",
                    .floor = 0.05,
                    .goal = 0.02,
                    .better = "lower"},
                   shares));
  }
  {
    std::vector<double> us;
    for (int i = 0; i < arguments.repeats; ++i) {
      us.push_back(chains.MeasureViewUs(seconds, Check::kAtCommit));
    }
    add(ResultJson({.id = "R1z",
                    .what = "a 2 MiB block in place, verified at commit",
                    .unit = "us",
                    .floor = 30,
                    .goal = 10,
                    .better = "lower"},
                   us));
  }
  {
    RedisBlocks redis(Redis::Door::kUnix, kBlockBytes,
                      ChainCount(arguments) * kChainBlocks);
    const Side peer = {.name = "Redis GET, Unix socket, lean client, verified",
                       .unit = "GB/s",
                       .measure = [&] { return redis.Measure(seconds); }};
    add(Compare({.id = "R2",
                 .what = "shm get, 16 blocks a call / Redis GET, Unix socket",
                 .unit = "ratio",
                 .floor = 2.5,
                 .goal = 4.0},
                arguments, get,
                {.name = peer.name + ", one or four a call",
                 .unit = "GB/s",
                 .measure = [&] { return redis.MeasureBest(seconds); }},
                {node, redis.pid()}));
    add(Compare({.id = "R2b",
                 .what = "shm get, one block a call / Redis GET, Unix socket",
                 .unit = "ratio",
                 .floor = 1.5,
                 .goal = 2.5},
                arguments,
                {.name = "shm get, one block a call",
                 .unit = "GB/s",
                 .measure = [&] { return chains.MeasureGetSingly(seconds); }},
                peer, {node, redis.pid()}));
  }
  StoredChains without(arguments, {.host_bytes = host_bytes,
                                   .verify = false,
                                   .transport = TransportKind::kShm});
  add(Compare({.id = "R13s",
               .what = "shm get of 2 MiB blocks, with checksums / without",
               .unit = "ratio",
               .floor = 0.7,
               .goal = 0.95},
              arguments, get,
              {.name = "not verified",
               .unit = "GB/s",
               .measure = [&] { return without.MeasureGet(seconds); }},
              {node, without.node().pid()}));
  std::cout << all.dump() << "\n";
  return 0;
}
