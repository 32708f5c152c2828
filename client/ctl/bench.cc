#include "client/ctl/bench.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/ctl/payload.h"

namespace banyan::ctl {
namespace {

using Clock = std::chrono::steady_clock;
using Buffers = std::vector<std::span<std::byte>>;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Packed keys of chain number `chain`.
std::string ChainKeys(uint32_t chain, uint32_t blocks) {
  std::string keys;
  for (uint32_t i = 0; i < blocks; ++i) {
    const Sha256Digest digest =
        Sha256({"banyan.bench", absl::StrCat(chain, "/", i)});
    keys += std::string(AsText(digest));
  }
  return keys;
}

// One thread of the bench: makes calls on chains and counts what comes back.
class Caller {
 public:
  Caller(Client& client, const BenchOptions& options, std::string namespace_id)
      : client_(client),
        options_(options),
        namespace_id_(std::move(namespace_id)),
        memory_(options.chain_blocks * options.block_bytes) {
    for (uint32_t i = 0; i < options.chain_blocks; ++i) {
      buffers_.push_back(std::span(memory_).subspan(i * options.block_bytes,
                                                    options.block_bytes));
    }
  }

  void Put(uint32_t chain) {
    const std::string keys = ChainKeys(chain, options_.chain_blocks);
    for (size_t i = 0; i < buffers_.size(); ++i) {
      FillPayload(options_.space, KeyNo(keys, i),
                  absl::MakeSpan(buffers_[i].data(), buffers_[i].size()));
    }
    const auto start = Clock::now();
    const Completion done = client_.Put(namespace_id_, {.keys = keys}, 0,
                                        {buffers_.begin(), buffers_.end()}, {});
    const auto committed = std::count(done.writes.begin(), done.writes.end(),
                                      WriteResult::kCommitted);
    Count(done.status, start, static_cast<uint64_t>(committed), report_.put);
  }

  void Match(uint32_t chain) {
    const std::string keys = ChainKeys(chain, options_.chain_blocks);
    const auto start = Clock::now();
    const auto hits = client_.Match(namespace_id_, {.keys = keys});
    Count(hits.status(), start, hits.ok() ? *hits : 0, report_.match);
  }

  void Get(uint32_t chain) {
    const std::string keys = ChainKeys(chain, options_.chain_blocks);
    const auto start = Clock::now();
    const Completion done =
        client_.Get(namespace_id_, {.keys = keys}, 0, buffers_);
    Count(done.status, start, done.hit_blocks, report_.get);
    if (done.status.ok()) CountMissing(done);
  }

  // As Get, and compares what came with what was written. Not timed.
  void Compare(uint32_t chain) {
    const std::string keys = ChainKeys(chain, options_.chain_blocks);
    const Completion done =
        client_.Get(namespace_id_, {.keys = keys}, 0, buffers_);
    if (!done.status.ok()) return Fail(done.status);
    for (uint32_t i = 0; i < done.hit_blocks; ++i) {
      const absl::Status status = VerifyPayload(
          options_.space, KeyNo(keys, i),
          absl::MakeConstSpan(buffers_[i].data(), done.read_bytes[i]), 0,
          options_.block_bytes);
      if (status.ok() && done.read_bytes[i] == options_.block_bytes) continue;
      ++report_.wrong_blocks;
      Remember(status);
    }
  }

  BenchReport& report() { return report_; }

 private:
  static absl::string_view KeyNo(const std::string& keys, size_t i) {
    return absl::string_view(keys).substr(i * 32, 32);
  }

  void Count(const absl::Status& status, Clock::time_point start,
             uint64_t blocks, BenchPhase& phase) {
    const double seconds = SecondsSince(start);
    if (!status.ok()) return Fail(status);
    ++phase.calls;
    phase.blocks += blocks;
    phase.busy_seconds += seconds;
    phase.us.Add(seconds * 1e6);
  }

  // A block that arrived damaged is no hit; the client dropped it.
  void CountMissing(const Completion& done) {
    for (const ReadResult read : done.reads) {
      report_.missed_blocks += read == ReadResult::kMiss ? 1 : 0;
      report_.wrong_blocks += read == ReadResult::kCorrupt ? 1 : 0;
    }
  }

  void Fail(const absl::Status& status) {
    ++report_.errors;
    Remember(status);
  }

  void Remember(const absl::Status& status) {
    if (report_.first_error.empty()) {
      report_.first_error = std::string(status.message());
    }
  }

  Client& client_;
  const BenchOptions& options_;
  const std::string namespace_id_;
  std::vector<std::byte> memory_;
  Buffers buffers_;
  BenchReport report_;
};

void Merge(const BenchPhase& from, BenchPhase& to) {
  to.calls += from.calls;
  to.blocks += from.blocks;
  to.busy_seconds += from.busy_seconds;
  to.us.Merge(from.us);
}

// Runs the phases, each on all callers at once.
class Bench {
 public:
  Bench(Client& client, const BenchOptions& options,
        const std::string& namespace_id)
      : options_(options) {
    for (uint32_t i = 0; i < options.threads; ++i) {
      callers_.push_back(
          std::make_unique<Caller>(client, options, namespace_id));
    }
  }

  void Run() {
    const uint32_t chains =
        std::max(1u, options_.blocks / options_.chain_blocks);
    auto start = Clock::now();
    written_ = Phase(chains, Turns::kOnce, &Caller::Put);
    put_wall_seconds_ = SecondsSince(start);
    if (written_ == 0) return;
    Phase(written_, Turns::kOnce, &Caller::Compare);
    Phase(written_, Turns::kUntilTime, &Caller::Match);
    start = Clock::now();
    Phase(written_, Turns::kUntilTime, &Caller::Get);
    get_wall_seconds_ = SecondsSince(start);
  }

  BenchReport Report() {
    BenchReport report{.options = options_};
    report.put.wall_seconds = put_wall_seconds_;
    report.get.wall_seconds = get_wall_seconds_;
    for (const auto& caller : callers_) {
      const BenchReport& part = caller->report();
      Merge(part.put, report.put);
      Merge(part.match, report.match);
      Merge(part.get, report.get);
      report.missed_blocks += part.missed_blocks;
      report.wrong_blocks += part.wrong_blocks;
      report.errors += part.errors;
      if (report.first_error.empty()) report.first_error = part.first_error;
    }
    return report;
  }

 private:
  enum class Turns { kOnce, kUntilTime };

  bool IsOver(Clock::time_point start) const {
    if (options_.is_stopped != nullptr && *options_.is_stopped) return true;
    return SecondsSince(start) > options_.seconds / 4;
  }

  // Makes a call on chains 0, 1, ..., until time is over, or all had their
  // turn. Returns on how many of them there was one.
  uint32_t Phase(uint32_t chains, Turns turns, void (Caller::*call)(uint32_t)) {
    const auto start = Clock::now();
    std::atomic<uint64_t> next{0};
    std::vector<std::thread> threads;
    for (const auto& caller : callers_) {
      threads.emplace_back([&, caller = caller.get()] {
        while (!IsOver(start)) {
          const uint64_t turn = next++;
          if (turns == Turns::kOnce && turn >= chains) return;
          (caller->*call)(static_cast<uint32_t>(turn % chains));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return static_cast<uint32_t>(std::min<uint64_t>(next, chains));
  }

  const BenchOptions& options_;
  std::vector<std::unique_ptr<Caller>> callers_;
  uint32_t written_ = 0;
  double put_wall_seconds_ = 0;
  double get_wall_seconds_ = 0;
};

double GigabytesPerSecond(const BenchReport& report, const BenchPhase& phase) {
  return report.BlocksPerSecond(phase) *
         static_cast<double>(report.options.block_bytes) / 1e9;
}

// What came to the network altogether, whoever waited for what meanwhile.
double WallGigabytesPerSecond(const BenchReport& report,
                              const BenchPhase& phase) {
  if (phase.wall_seconds == 0) return 0;
  return static_cast<double>(phase.blocks * report.options.block_bytes) / 1e9 /
         phase.wall_seconds;
}

double CallsPerSecond(const BenchReport& report, const BenchPhase& phase) {
  if (phase.busy_seconds == 0) return 0;
  return static_cast<double>(phase.calls) * report.options.threads /
         phase.busy_seconds;
}

nlohmann::ordered_json PhaseJson(const BenchReport& report,
                                 const BenchPhase& phase) {
  return {{"calls", phase.calls},
          {"blocks", phase.blocks},
          {"ops_per_second", CallsPerSecond(report, phase)},
          {"blocks_per_second", report.BlocksPerSecond(phase)},
          {"us",
           {{"p50", phase.us.Percentile(0.50)},
            {"p90", phase.us.Percentile(0.90)},
            {"p99", phase.us.Percentile(0.99)},
            {"max", phase.us.max()}}}};
}

std::string PhaseText(const std::string& name, const BenchReport& report,
                      const BenchPhase& phase, const std::string& gb_s) {
  return absl::StrFormat("%-6s %9d %8s %10.0f %12.0f %10.0f %10.0f\n", name,
                         phase.calls, gb_s, CallsPerSecond(report, phase),
                         report.BlocksPerSecond(phase),
                         phase.us.Percentile(0.50), phase.us.Percentile(0.99));
}

}  // namespace

double BenchReport::BlocksPerSecond(const BenchPhase& phase) const {
  if (phase.busy_seconds == 0) return 0;
  return static_cast<double>(phase.blocks) * options.threads /
         phase.busy_seconds;
}

absl::StatusOr<BenchReport> RunBench(Client& client,
                                     const BenchOptions& options) {
  const Fingerprint fingerprint{.model = options.space,
                                .hash_algorithm = "banyan.bench",
                                .layout = "opaque"};
  BANYAN_ASSIGN_OR_RETURN(const OpenedNamespace opened,
                          client.OpenNamespace(options.space, fingerprint));
  Bench bench(client, options, opened.id);
  bench.Run();
  return bench.Report();
}

std::string BenchText(const BenchReport& report) {
  std::string out = absl::StrFormat(
      "%d blocks of %s, %d a call, %d in flight\n\n"
      "CALL       CALLS     GB/s     CALL/S      BLOCK/S     P50 us     P99 "
      "us\n",
      report.options.blocks, FormatBytes(report.options.block_bytes),
      report.options.chain_blocks, report.options.threads);
  const auto gb_s = [&](const BenchPhase& phase) {
    return absl::StrFormat("%.2f", GigabytesPerSecond(report, phase));
  };
  out += PhaseText("put", report, report.put, gb_s(report.put));
  out += PhaseText("match", report, report.match, "-");
  out += PhaseText("get", report, report.get, gb_s(report.get));
  absl::StrAppend(&out, "\nwrong blocks ", report.wrong_blocks,
                  ", missed blocks ", report.missed_blocks, ", errors ",
                  report.errors, "\n");
  if (!report.first_error.empty()) {
    absl::StrAppend(&out, "first error: ", report.first_error, "\n");
  }
  return out;
}

std::string BenchJson(const BenchReport& report) {
  nlohmann::ordered_json json = {{"block_bytes", report.options.block_bytes},
                                 {"blocks", report.options.blocks},
                                 {"chain_blocks", report.options.chain_blocks},
                                 {"threads", report.options.threads},
                                 {"put", PhaseJson(report, report.put)},
                                 {"match", PhaseJson(report, report.match)},
                                 {"get", PhaseJson(report, report.get)},
                                 {"wrong_blocks", report.wrong_blocks},
                                 {"missed_blocks", report.missed_blocks},
                                 {"errors", report.errors},
                                 {"first_error", report.first_error}};
  json["put"]["gb_per_second"] = GigabytesPerSecond(report, report.put);
  json["get"]["gb_per_second"] = GigabytesPerSecond(report, report.get);
  json["put"]["wall_gb_per_second"] =
      WallGigabytesPerSecond(report, report.put);
  json["get"]["wall_gb_per_second"] =
      WallGigabytesPerSecond(report, report.get);
  return json.dump(2) + "\n";
}

}  // namespace banyan::ctl
