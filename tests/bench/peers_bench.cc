// R17, R17b, R18, R18d, R20m, and a table on standard error of all that moves
// blocks on this machine: memcpy, raw sockets, Redis, a Mooncake Store, and we.
//
// R17   get of one 64 KiB block a call on the node's host ÷ Mooncake's
// R17b  the same of 2 MiB
// R18   get of 2 MiB over TCP, one a call ÷ the better of Mooncake and Redis
// R18d  the same of four a call
// R20m  p50 of a match of 512 keys on the node's host ÷ Mooncake's
//
// Every side is measured in every turn, one call in flight, over more memory than
// the private caches hold. Every client of a store verifies all bytes with XXH3: we
// with the checksums that come with them, those of others with checksums that they
// have kept; rows that say "ends" are of clients which look at the ends of a value
// and no more, and count in no ratio. Nobody verifies what comes from raw sockets.
// Processor time is that of the client's process and the server's, for each GB.
//
// Without --mooncake VENV its rows are left out, and with them what is compared
// with it.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/bench/harness/blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/cpu_share.h"
#include "tests/bench/harness/look.h"
#include "tests/bench/harness/memory_walk.h"
#include "tests/bench/harness/mooncake.h"
#include "tests/bench/harness/raw_socket.h"
#include "tests/bench/harness/redis_blocks.h"
#include "tests/bench/harness/timing.h"
#include "tests/integration/node.h"

namespace banyan::bench {
namespace {

constexpr uint64_t kSmallBytes = 64 * kKiB;
constexpr uint64_t kBatchMax = 16;
constexpr uint64_t kMatchKeys = 512;
constexpr double kSeconds = 0.4;  // Of one side, once.

// What is done in a call.
struct Task {
  std::string name;
  uint64_t block_bytes = 0;  // 0: no bytes move.
  uint64_t count = 1;        // Blocks, or keys.
};

struct Figures {
  std::vector<double> gb_per_s;
  std::vector<double> us;
  std::vector<double> cpu_per_gb;
};

struct Row {
  const Task* task = nullptr;
  std::string peer;
  std::vector<pid_t> pids;  // Beside this process.
  std::function<Timing(double seconds)> measure;
  Figures figures;
};

// A set of blocks of one size in a node, read through one door.
class BanyanBlocks {
 public:
  BanyanBlocks(TransportKind transport, uint64_t block_bytes, uint64_t blocks)
      : node_({.host_bytes = block_bytes * blocks * 5 / 4 + 256 * kMiB,
               .transport = transport}),
        buffer_(block_bytes * kBatchMax) {
    for (uint64_t i = 0; i < blocks / kBatchMax; ++i) {
      chains_.push_back(
          testing::ChainKeys(absl::StrCat("peer", i, "-"), kBatchMax));
      const auto payload =
          Payload(chains_.back().substr(0, 32), block_bytes * kBatchMax);
      node_.Put(chains_.back(),
                Split(std::span<const std::byte>(payload), block_bytes));
    }
  }

  Timing Get(const Task& task, double seconds) {
    const auto buffers =
        Split(std::span(buffer_).first(task.block_bytes * task.count),
              task.block_bytes);
    // Counts divide chains, and no call goes past the end of one.
    next_ = (next_ + task.count - 1) / task.count * task.count;
    return TimeCalls(seconds, [&] {
      const std::string& keys = chains_[next_ / kBatchMax % chains_.size()];
      const auto at = static_cast<uint32_t>(next_ % kBatchMax);
      next_ += task.count;
      const Completion done =
          node_.client().Get(node_.namespace_id(), {.keys = keys}, at, buffers);
      BANYAN_CHECK(done.status.ok() && done.hit_blocks == task.count);
    });
  }

  Node& node() { return node_; }

 private:
  Node node_;
  std::vector<std::byte> buffer_;
  std::vector<std::string> chains_;
  uint64_t next_ = 0;
};

// Of a measure that knows only its rate: whole calls, and the time they took.
Timing TimingOf(double gb_per_s, uint64_t call_bytes, double seconds) {
  const double call_seconds = static_cast<double>(call_bytes) / gb_per_s / 1e9;
  const auto calls =
      std::max<uint64_t>(1, static_cast<uint64_t>(seconds / call_seconds));
  return {.calls = calls,
          .seconds = static_cast<double>(calls) * call_seconds,
          .us = 1e6 * call_seconds};
}

void MeasureOnce(Row& row, double seconds) {
  std::vector<pid_t> pids = row.pids;
  pids.push_back(getpid());
  const double before = CpuSecondsOf(pids);
  const Timing timing = row.measure(seconds);
  const double used = CpuSecondsOf(pids) - before;
  const double gb = static_cast<double>(timing.calls * row.task->block_bytes *
                                        row.task->count) /
                    1e9;
  row.figures.us.push_back(timing.us);
  row.figures.gb_per_s.push_back(gb / timing.seconds);
  row.figures.cpu_per_gb.push_back(gb > 0 ? used / gb : 0);
}

void PrintTable(const std::vector<Row>& rows) {
  std::fprintf(stderr, "%-16s %-22s %8s %10s %9s %9s\n", "CALL", "PEER", "GB/s",
               "p50 us", "cpu s/GB", "/ first");
  const Row* first = nullptr;
  for (const Row& row : rows) {
    const Figures& at = row.figures;
    if (first == nullptr || first->task != row.task) first = &row;
    const bool has_bytes = row.task->block_bytes > 0;
    const double ratio =
        has_bytes ? Median(at.gb_per_s) / Median(first->figures.gb_per_s)
                  : Median(first->figures.us) / Median(at.us);
    std::fprintf(stderr, "%-16s %-22s %8.2f %10.1f %9.3f %9.2f\n",
                 row.task->name.c_str(), row.peer.c_str(), Median(at.gb_per_s),
                 Median(at.us), Median(at.cpu_per_gb), ratio);
  }
}

// All rows, and what is said of them.
class Peers {
 public:
  explicit Peers(const Arguments& arguments) : arguments_(arguments) {}

  void Add(const Task& task, std::string peer, std::vector<pid_t> pids,
           std::function<Timing(double)> measure) {
    rows_.push_back({.task = &task,
                     .peer = std::move(peer),
                     .pids = std::move(pids),
                     .measure = std::move(measure)});
  }

  void Run() {
    const double seconds = arguments_.is_tiny ? arguments_.seconds() : kSeconds;
    for (Row& row : rows_) row.measure(seconds / 4);
    std::vector<pid_t> all;
    for (const Row& row : rows_) {
      all.insert(all.end(), row.pids.begin(), row.pids.end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    CpuShare cpu(all);
    for (int i = 0; i < arguments_.repeats; ++i) {
      cpu.Start();
      for (Row& row : rows_) MeasureOnce(row, seconds);
      others_.push_back(cpu.OthersSinceStart());
    }
    PrintTable(rows_);
  }

  const Row* Find(const Task& task, std::string_view peer) const {
    for (const Row& row : rows_) {
      if (row.task == &task && row.peer == peer) return &row;
    }
    return nullptr;
  }

  // Ours by the best of the others, turn by turn; nothing if one of them is not
  // there.
  nlohmann::ordered_json Ratio(const Target& target, const Task& task,
                               std::string_view ours,
                               const std::vector<std::string_view>& others,
                               std::vector<double> Figures::* figure) const {
    const bool is_lower = target.better == "lower";
    const Row* const a = Find(task, ours);
    std::vector<double> best;
    for (const std::string_view other : others) {
      const Row* const b = Find(task, other);
      if (a == nullptr || b == nullptr) return nlohmann::ordered_json::object();
      const std::vector<double>& values = b->figures.*figure;
      best.resize(values.size(), is_lower ? 1e30 : 0);
      for (size_t i = 0; i < values.size(); ++i) {
        best[i] = is_lower ? std::min(best[i], values[i])
                           : std::max(best[i], values[i]);
      }
    }
    std::vector<double> ratios;
    for (size_t i = 0; i < best.size(); ++i) {
      ratios.push_back((a->figures.*figure)[i] / best[i]);
    }
    nlohmann::ordered_json result = ResultJson(target, ratios);
    result[target.id]["other_cpu_cores"] = others_;
    return result;
  }

 private:
  const Arguments arguments_;
  std::vector<Row> rows_;
  std::vector<double> others_;
};

struct Door {
  std::string name;
  TransportKind transport;
};

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TransportKind;
  const Arguments arguments = ParseArguments(argc, argv);
  const uint64_t large_count = ChainCount(arguments) * kChainBlocks;
  const uint64_t small_count = large_count * (arguments.is_tiny ? 1 : 32);
  const Task small{"64 KiB, 1", kSmallBytes, 1};
  const std::vector<Task> large = {{"2 MiB, 1", kBlockBytes, 1},
                                   {"2 MiB, 4", kBlockBytes, 4},
                                   {"2 MiB, 16", kBlockBytes, 16}};
  const Task match{"512 keys", 0, kMatchKeys};

  // First, while there is one thread.
  RawSocket tcp(RawSocket::Door::kTcp, kBlockBytes, large_count);
  RawSocket unix_socket(RawSocket::Door::kUnix, kBlockBytes, large_count);
  std::vector<std::byte> buffer(kBatchMax * kBlockBytes);
  MemoryWalk walk(arguments);
  Peers peers(arguments);

  const auto raw = [&](const Task& task, RawSocket& socket) {
    return [&task, &socket, &buffer](double seconds) {
      const uint64_t bytes = task.block_bytes * task.count;
      return TimingOf(socket.Measure(seconds, std::span(buffer).first(bytes)),
                      bytes, seconds);
    };
  };
  const std::vector<Door> doors = {
      {"Banyan, shared memory", TransportKind::kShm},
      {"Banyan, UCX over TCP", TransportKind::kUcx},
      {"Banyan, gRPC", TransportKind::kGrpc}};
  std::vector<std::unique_ptr<BanyanBlocks>> smalls, larges;
  for (const Door& door : doors) {
    smalls.push_back(std::make_unique<BanyanBlocks>(door.transport, kSmallBytes,
                                                    small_count));
    larges.push_back(std::make_unique<BanyanBlocks>(door.transport, kBlockBytes,
                                                    large_count));
  }
  const std::string keys = banyan::testing::ChainKeys("match", kMatchKeys);
  const auto values = Payload("match", kMatchKeys * 128);
  for (const auto& blocks : larges) {
    blocks->node().Put(keys, Split(std::span<const std::byte>(values), 128));
  }
  RedisBlocks redis_small(Redis::Door::kTcp, kSmallBytes, small_count);
  RedisBlocks redis(Redis::Door::kTcp, kBlockBytes, large_count);
  RedisBlocks redis_unix(Redis::Door::kUnix, kBlockBytes, large_count);
  std::unique_ptr<Mooncake> moon_small, moon_shm, moon_tcp;
  if (!arguments.mooncake_venv.empty()) {
    const auto open = [&](Mooncake::Door door, uint64_t bytes, uint64_t count) {
      return std::make_unique<Mooncake>(door, arguments.mooncake_venv, bytes,
                                        count);
    };
    moon_small = open(Mooncake::Door::kShm, kSmallBytes, small_count);
    moon_shm = open(Mooncake::Door::kShm, kBlockBytes, large_count);
    moon_tcp = open(Mooncake::Door::kTcp, kBlockBytes, large_count);
  }

  const auto add_ours = [&](const Task& task, auto& sets) {
    for (size_t i = 0; i < doors.size(); ++i) {
      BanyanBlocks& blocks = *sets[i];
      peers.Add(task, doors[i].name, {blocks.node().pid()},
                [&](double seconds) { return blocks.Get(task, seconds); });
    }
  };
  const auto add_redis = [&](const Task& task, std::string name,
                             RedisBlocks& blocks, Look look = Look::kAllBytes) {
    peers.Add(task, std::move(name), {blocks.pid()},
              [&task, &blocks, look](double seconds) {
                return blocks.Get(task.count, seconds, look);
              });
  };
  const auto add_moon = [&](const Task& task, std::string name,
                            const std::unique_ptr<Mooncake>& moon,
                            Look look = Look::kAllBytes) {
    if (moon == nullptr) return;
    peers.Add(task, std::move(name), moon->pids(),
              [&task, &moon, look](double seconds) {
                return moon->Get(task.count, seconds, look);
              });
  };
  add_ours(small, smalls);
  add_moon(small, "Mooncake, shared mem.", moon_small);
  add_moon(small, "Mooncake, shm, ends", moon_small, Look::kEnds);
  add_redis(small, "Redis, TCP", redis_small);
  for (const Task& task : large) {
    peers.Add(task, "memcpy", {}, [&](double seconds) {
      return TimingOf(walk.Measure(seconds), task.block_bytes * task.count,
                      seconds);
    });
    add_ours(task, larges);
    add_moon(task, "Mooncake, shared mem.", moon_shm);
    add_moon(task, "Mooncake, shm, ends", moon_shm, Look::kEnds);
    add_moon(task, "Mooncake, TCP", moon_tcp);
    add_moon(task, "Mooncake, TCP, ends", moon_tcp, Look::kEnds);
    add_redis(task, "Redis, Unix socket", redis_unix);
    add_redis(task, "Redis, TCP", redis);
    add_redis(task, "Redis, TCP, ends", redis, Look::kEnds);
    peers.Add(task, "raw Unix socket", {unix_socket.pid()},
              raw(task, unix_socket));
    peers.Add(task, "raw TCP", {tcp.pid()}, raw(task, tcp));
  }
  for (size_t i = 0; i < doors.size(); ++i) {
    Node& node = larges[i]->node();
    peers.Add(match, doors[i].name, {node.pid()}, [&](double seconds) {
      return TimeCalls(seconds, [&] { node.Match(keys); });
    });
  }
  if (moon_small != nullptr) {
    peers.Add(match, "Mooncake, shared mem.", moon_small->pids(),
              [&](double seconds) {
                return moon_small->Exists(kMatchKeys, seconds);
              });
  }
  peers.Run();

  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  const auto add = [&](const Target& target, const Task& task, const Door& ours,
                       const std::vector<std::string_view>& others,
                       std::vector<double> Figures::* figure) {
    all.update(peers.Ratio(target, task, ours.name, others, figure));
  };
  const std::vector<std::string_view> over_tcp = {"Mooncake, TCP",
                                                  "Redis, TCP"};
  add({.id = "R17",
       .what = "shm get of one 64 KiB block / Mooncake, shared memory",
       .unit = "ratio",
       .floor = 8,
       .goal = 20},
      small, doors[0], {"Mooncake, shared mem."}, &Figures::gb_per_s);
  add({.id = "R17b",
       .what = "shm get of one 2 MiB block / Mooncake, shared memory",
       .unit = "ratio",
       .floor = 1.3,
       .goal = 1.8},
      large[0], doors[0], {"Mooncake, shared mem."}, &Figures::gb_per_s);
  add({.id = "R18",
       .what = "UCX get of one 2 MiB block / best of Mooncake, Redis by TCP",
       .unit = "ratio",
       .floor = 1.2,
       .goal = 1.6},
      large[0], doors[1], over_tcp, &Figures::gb_per_s);
  add({.id = "R18d",
       .what = "UCX get of four / best of Mooncake, Redis by TCP",
       .unit = "ratio",
       .floor = 1.2,
       .goal = 1.6},
      large[1], doors[1], over_tcp, &Figures::gb_per_s);
  add({.id = "R20m",
       .what = "shm match of 512 keys, p50 / Mooncake batch_is_exist",
       .unit = "ratio",
       .floor = 0.5,
       .goal = 0.2,
       .better = "lower"},
      match, doors[0], {"Mooncake, shared mem."}, &Figures::us);
  std::cout << all.dump() << "\n";
  return 0;
}
