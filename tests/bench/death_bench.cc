// R14s, R14h: what a node in trouble costs a client on its host.
//
// R14s  milliseconds from kill -9 of the node to the end of the get under way
// R14h  milliseconds past its deadline that a get from a stopped node ends
#include <signal.h>
#include <sys/wait.h>

#include <iostream>
#include <thread>

#include "base/check.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/node.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBlocks = 8;
constexpr size_t kBytes = 64 * 1024;
constexpr int kDeadlineMs = 200;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

// A node with one chain, which a get of it finds stopped.
class Victim {
 public:
  Victim()
      : node_({.host_bytes = 16 * kMiB,
               .transport = TransportKind::kShm,
               .load_timeout_ms = kDeadlineMs}),
        keys_(testing::ChainKeys("victim", kBlocks)),
        memory_(kBlocks * kBytes) {
    node_.Put(keys_, Split(std::span<const std::byte>(memory_), kBytes));
    BANYAN_CHECK(Get().hit_blocks == kBlocks);
    kill(node_.pid(), SIGSTOP);
    siginfo_t stopped{};
    waitid(P_PID, static_cast<id_t>(node_.pid()), &stopped, WSTOPPED);
  }

  Completion Get() {
    return node_.client().Get(node_.namespace_id(), {.keys = keys_}, 0,
                              Split(std::span(memory_), kBytes));
  }
  void Kill() { kill(node_.pid(), SIGKILL); }

 private:
  Node node_;
  const std::string keys_;
  std::vector<std::byte> memory_;
};

double KillMs() {
  Victim victim;
  Completion done;
  Clock::time_point end;
  std::thread reader([&] {
    done = victim.Get();
    end = Clock::now();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // It waits now.
  const auto start = Clock::now();
  victim.Kill();
  reader.join();
  BANYAN_CHECK(absl::IsUnavailable(done.status));
  return std::chrono::duration<double, std::milli>(end - start).count();
}

double HangMs() {
  Victim victim;
  const auto start = Clock::now();
  const Completion done = victim.Get();
  const double took = MillisecondsSince(start);
  BANYAN_CHECK(absl::IsDeadlineExceeded(done.status));
  return took - kDeadlineMs;
}

std::vector<double> Repeat(int repeats, double (*measure)()) {
  std::vector<double> values;
  for (int i = 0; i < repeats; ++i) values.push_back(measure());
  return values;
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  auto all = ResultJson({.id = "R14s",
                         .what = "from kill -9 of the node to a failed shm get",
                         .unit = "ms",
                         .floor = 100,
                         .goal = 20,
                         .better = "lower"},
                        Repeat(arguments.repeats, &KillMs));
  all.update(
      ResultJson({.id = "R14h",
                  .what = "an shm get from a hung node, past its deadline",
                  .unit = "ms",
                  .floor = 50,
                  .goal = 10,
                  .better = "lower"},
                 Repeat(arguments.repeats, &HangMs)));
  std::cout << all.dump() << "\n";
  return 0;
}
