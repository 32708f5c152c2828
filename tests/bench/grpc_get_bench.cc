// R5: reading blocks of 2 MiB through the client and the gRPC door, all bytes
// verified, against a raw TCP loopback connection with polling peers.
//
// Both sides fetch 16 blocks a request, one request in flight, into the same
// buffer, from more memory than the caches hold.
#include <iostream>

#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/raw_socket.h"

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  RawSocket tcp(RawSocket::Door::kTcp, kBlockBytes,
                ChainCount(arguments) * kChainBlocks);
  StoredChains chains(arguments, {.host_bytes = HostBytes(arguments)});
  std::vector<std::byte> buffer(kChainBytes);
  const auto result = Compare(
      {.id = "R5",
       .what = "gRPC get of 2 MiB blocks / raw TCP loopback",
       .unit = "ratio",
       .floor = 0.45,
       .goal = 0.75},
      arguments,
      {.name = "gRPC get, verified",
       .unit = "GB/s",
       .measure = [&] { return chains.MeasureGet(arguments.seconds()); }},
      {.name = "raw TCP, polling peers, a core each",
       .unit = "GB/s",
       .measure = [&] { return tcp.Measure(arguments.seconds(), buffer); }},
      {chains.node().pid(), tcp.pid()});
  std::cout << result.dump() << "\n";
  return 0;
}
