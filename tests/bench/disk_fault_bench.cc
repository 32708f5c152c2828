// F1 to F6: what a fault of the disk does to gets of blocks that are in memory.
//
//   F1 EIO of every read   F2 EIO of every write   F3 EIO of every fsync
//   F4 disk full           F5 each call 100 times slower
//   F6 no call returns
//
// The value is p99 of these gets with the fault / p99 before it, of one node:
// in each turn a node is started on a disk in memory, measured, struck, and
// measured again from that instant, so that what the node does about the fault
// counts, too. All the while the same client writes chains that push others to
// the disk, writes blocks durably, and reads chains that are on the disk only.
// A get that is no hit from memory ends the bench.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/arguments.h"
#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/cpu_share.h"
#include "tests/integration/node.h"
#include "tests/testing/fault_node.h"

namespace banyan::bench {
namespace {

using std::chrono::steady_clock;
using testing::DiskFault;
using testing::FaultNode;

constexpr size_t kBlocks = 8;  // Of a chain.
constexpr uint64_t kBytes = 64 * kKiB;
constexpr int kHotChains = 32;    // 16 MiB, read all the time.
constexpr int kColdChains = 192;  // 96 MiB, more than memory holds.
// How often each thread of the load does its thing.
constexpr std::chrono::milliseconds kPutInterval{10};
constexpr std::chrono::milliseconds kDurableInterval{40};
constexpr std::chrono::milliseconds kColdGetInterval{40};
constexpr int kDurablePutters = 2;
constexpr int kColdGetters = 4;
constexpr int kTurnsOfAFault = 5;

struct Fault {
  DiskFault fault;
  const char* id;
  const char* what;
};
constexpr Fault kFaults[] = {
    {DiskFault::kReadError, "F1", "p99 of gets from memory, reads fail / ok"},
    {DiskFault::kWriteError, "F2", "the same, writes fail"},
    {DiskFault::kSyncError, "F3", "the same, fsync fails"},
    {DiskFault::kFull, "F4", "the same, the disk is full"},
    {DiskFault::kSlow, "F5", "the same, the disk is 100 times slower"},
    {DiskFault::kStuck, "F6", "the same, the disk does not answer"},
};

// One chain at a time, into or out of a buffer of its own.
class Caller {
 public:
  explicit Caller(FaultNode& node)
      : node_(node), buffer_(Payload("fault", kBlocks * kBytes)) {}

  Completion Put(std::string_view name, size_t blocks, const PutOptions& how) {
    const std::string keys = testing::ChainKeys(name, blocks);
    auto payloads = Split(std::span<const std::byte>(buffer_), kBytes);
    payloads.resize(blocks);
    return node_.client().Put(node_.namespace_id(), {.keys = keys}, 0, payloads,
                              how);
  }
  Completion Get(const std::string& keys) {
    return node_.client().Get(node_.namespace_id(), {.keys = keys}, 0,
                              Split(std::span(buffer_), kBytes));
  }

 private:
  FaultNode& node_;
  std::vector<std::byte> buffer_;
};

// Calls at intervals on a thread of its own; calls that take longer delay the
// next, and are not made up for.
class Pacer {
 public:
  Pacer(std::chrono::milliseconds interval, std::function<void(int)> call)
      : thread_([this, interval, call = std::move(call)] {
          for (int i = 0; !is_stopping_; ++i) {
            const auto begin = steady_clock::now();
            call(i);
            std::this_thread::sleep_until(begin + interval);
          }
        }) {}
  ~Pacer() {
    is_stopping_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

// What else the client does, several calls of it in flight: more than a node
// has threads to lose. Whether it works is not its matter.
class Load {
 public:
  explicit Load(FaultNode& node) {
    Every(kPutInterval, node, [](Caller& caller, int i) {
      caller.Put(absl::StrCat("new", i), kBlocks, {});
    });
    for (int k = 0; k < kDurablePutters; ++k) {
      Every(kDurableInterval, node, [k](Caller& caller, int i) {
        caller.Put(absl::StrCat("durable", k, "-", i), 1,
                   {.durability = Durability::kDurable});
      });
    }
    for (int k = 0; k < kColdGetters; ++k) {
      Every(kColdGetInterval, node, [k](Caller& caller, int i) {
        const int chain = (i * kColdGetters + k) * 7 % kColdChains;
        caller.Get(testing::ChainKeys(absl::StrCat("cold", chain), kBlocks));
      });
    }
  }

 private:
  void Every(std::chrono::milliseconds interval, FaultNode& node,
             std::function<void(Caller&, int)> call) {
    Caller& caller = *callers_.emplace_back(std::make_unique<Caller>(node));
    pacers_.push_back(std::make_unique<Pacer>(
        interval,
        [&caller, call = std::move(call)](int i) { call(caller, i); }));
  }

  std::vector<std::unique_ptr<Caller>> callers_;
  std::vector<std::unique_ptr<Pacer>> pacers_;  // They use the callers.
};

void Fill(FaultNode& node) {
  Caller caller(node);
  for (int i = 0; i < kColdChains; ++i) {
    BANYAN_CHECK(caller.Put(absl::StrCat("cold", i), kBlocks, {}).status.ok());
  }
  for (int i = 0; i < kHotChains; ++i) {
    BANYAN_CHECK(caller.Put(absl::StrCat("hot", i), kBlocks, {}).status.ok());
  }
}

double PercentileUs(std::vector<double>& times_us, double share) {
  const auto at =
      times_us.begin() + static_cast<ptrdiff_t>(share * (times_us.size() - 1));
  std::nth_element(times_us.begin(), at, times_us.end());
  return *at;
}

struct Latency {
  double p50_us = 0;
  double p99_us = 0;
  double max_us = 0;
};

class Hot {
 public:
  explicit Hot(FaultNode& node) : caller_(node) {
    for (int i = 0; i < kHotChains; ++i) {
      keys_.push_back(testing::ChainKeys(absl::StrCat("hot", i), kBlocks));
    }
  }

  Latency Measure(double seconds) {
    std::vector<double> times_us;
    const auto end =
        steady_clock::now() + std::chrono::duration<double>(seconds);
    while (steady_clock::now() < end || times_us.empty()) {
      const auto begin = steady_clock::now();
      const Completion done = caller_.Get(keys_[next_++ % keys_.size()]);
      const std::chrono::duration<double, std::micro> took =
          steady_clock::now() - begin;
      times_us.push_back(took.count());
      Check(done);
    }
    return {.p50_us = PercentileUs(times_us, 0.5),
            .p99_us = PercentileUs(times_us, 0.99),
            .max_us = PercentileUs(times_us, 1)};
  }

 private:
  static void Check(const Completion& done) {
    bool is_good = done.status.ok() && done.hit_blocks == kBlocks;
    for (const Tier tier : done.read_tiers) is_good &= tier == Tier::kHost;
    if (is_good) return;
    std::fprintf(stderr, "bench: a get from memory had %u of %zu hits: %s\n",
                 done.hit_blocks, kBlocks, done.status.ToString().c_str());
    std::exit(3);
  }

  Caller caller_;
  std::vector<std::string> keys_;
  size_t next_ = 0;
};

struct Turns {
  std::vector<double> ratios, others;
  std::vector<Latency> healthy, faulty;
};

void TakeTurn(DiskFault fault, const Arguments& arguments, Turns& turns) {
  FaultNode node({});
  Fill(node);
  Hot hot(node);
  CpuShare cpu({});
  {
    Load load(node);
    hot.Measure(arguments.seconds() / 3);  // To warm up.
    cpu.Start();
    const Latency healthy = hot.Measure(arguments.seconds());
    node.Strike(fault);
    const Latency faulty = hot.Measure(arguments.seconds());
    turns.others.push_back(cpu.OthersSinceStart());
    turns.ratios.push_back(faulty.p99_us / healthy.p99_us);
    turns.healthy.push_back(healthy);
    turns.faulty.push_back(faulty);
    node.Heal();  // So that the load can end.
  }
}

nlohmann::ordered_json SideJson(const char* name,
                                const std::vector<Latency>& turns) {
  std::vector<double> p50_us, p99_us, max_us;
  for (const Latency& turn : turns) {
    p50_us.push_back(turn.p50_us);
    p99_us.push_back(turn.p99_us);
    max_us.push_back(turn.max_us);
  }
  return {
      {"name", name},      {"unit", "us"},          {"median", Median(p99_us)},
      {"repeats", p99_us}, {"p50", Median(p50_us)}, {"max", Median(max_us)}};
}

nlohmann::ordered_json ResultOf(const Fault& fault, const Turns& turns) {
  nlohmann::ordered_json result = ResultJson({.id = fault.id,
                                              .what = fault.what,
                                              .unit = "ratio",
                                              .floor = 1.5,
                                              .goal = 1.1,
                                              .better = "lower"},
                                             turns.ratios);
  nlohmann::ordered_json& entry = result[fault.id];
  entry["a"] = SideJson("p99 with the fault", turns.faulty);
  entry["b"] = SideJson("p99 before it", turns.healthy);
  entry["other_cpu_cores"] = turns.others;
  return result;
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  std::vector<Turns> turns(std::size(kFaults));
  const int repeats = std::min(arguments.repeats, kTurnsOfAFault);
  for (int i = 0; i < repeats; ++i) {
    for (size_t k = 0; k < std::size(kFaults); ++k) {
      TakeTurn(kFaults[k].fault, arguments, turns[k]);
    }
  }
  nlohmann::ordered_json result;
  for (size_t k = 0; k < std::size(kFaults); ++k) {
    result.update(ResultOf(kFaults[k], turns[k]));
  }
  std::cout << result.dump() << "\n";
  return 0;
}
