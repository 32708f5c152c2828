// R13: what verification costs a read of 2 MiB blocks: a node and a client that
// compute checksums, as always, against a pair that does not.
#include <iostream>

#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"

int main(int argc, char** argv) {
  using namespace banyan::bench;
  ServeIfNode(argc, argv);
  const Arguments arguments = ParseArguments(argc, argv);
  const uint64_t host_bytes = HostBytes(arguments);
  StoredChains with(arguments, {.host_bytes = host_bytes});
  StoredChains without(arguments, {.host_bytes = host_bytes, .verify = false});
  const auto result = Compare(
      {.id = "R13",
       .what = "gRPC get of 2 MiB blocks, with checksums / without",
       .unit = "ratio",
       .floor = 0.7,
       .goal = 0.95},
      arguments,
      {.name = "verified by node and client",
       .unit = "GB/s",
       .measure = [&] { return with.MeasureGet(arguments.seconds()); }},
      {.name = "not verified",
       .unit = "GB/s",
       .measure = [&] { return without.MeasureGet(arguments.seconds()); }},
      {with.node().pid(), without.node().pid()});
  std::cout << result.dump() << "\n";
  return 0;
}
