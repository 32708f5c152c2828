// R16, R16s: writing blocks of 2 MiB through the client, from Reserve to Commit,
// against reading such blocks: over gRPC, and through shared memory.
#include <iostream>

#include "tests/bench/harness/put_and_get.h"

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  const Arguments arguments = ParseArguments(argc, argv);
  auto result =
      ComparePutWithGet({.id = "R16",
                         .what = "gRPC put of 2 MiB blocks / gRPC get",
                         .unit = "ratio",
                         .floor = 0.5,
                         .goal = 0.8},
                        arguments, TransportKind::kGrpc);
  result.update(ComparePutWithGet({.id = "R16s",
                                   .what = "shm put of 2 MiB blocks / shm get",
                                   .unit = "ratio",
                                   .floor = 0.5,
                                   .goal = 0.8},
                                  arguments, TransportKind::kShm));
  std::cout << result.dump() << "\n";
  return 0;
}
