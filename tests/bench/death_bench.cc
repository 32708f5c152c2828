// R14s, R14h: what a node in trouble costs a client on its host.
//
// R14s  milliseconds from kill -9 of the node to the end of the get under way
// R14h  milliseconds past its deadline that a get from a stopped node ends
#include <iostream>

#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/peer_death.h"

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  const Arguments arguments = ParseArguments(argc, argv);
  auto all = ResultJson(
      {.id = "R14s",
       .what = "from kill -9 of the node to a failed shm get",
       .unit = "ms",
       .floor = 100,
       .goal = 20,
       .better = "lower"},
      Repeat(arguments.repeats, [] { return KillMs(TransportKind::kShm); }));
  all.update(ResultJson(
      {.id = "R14h",
       .what = "an shm get from a hung node, past its deadline",
       .unit = "ms",
       .floor = 50,
       .goal = 10,
       .better = "lower"},
      Repeat(arguments.repeats, [] { return HangMs(TransportKind::kShm); })));
  std::cout << all.dump() << "\n";
  return 0;
}
