#include "tests/bench/harness/peer_death.h"

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/units.h"
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
  explicit Victim(TransportKind transport)
      : node_({.host_bytes = 16 * kMiB,
               .transport = transport,
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

}  // namespace

double KillMs(TransportKind transport) {
  Victim victim(transport);
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

double HangMs(TransportKind transport) {
  Victim victim(transport);
  const auto start = Clock::now();
  const Completion done = victim.Get();
  const double took = MillisecondsSince(start);
  BANYAN_CHECK(absl::IsDeadlineExceeded(done.status));
  return took - kDeadlineMs;
}

}  // namespace banyan::bench
