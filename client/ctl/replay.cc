#include "client/ctl/replay.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <span>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/kv_layout.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/ctl/replay_payload.h"
#include "client/ctl/shape.h"

namespace banyan::ctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kSamples = 200;

double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start)
      .count();
}

// A block id of the trace as a key: it stands for a whole prefix already.
std::string KeyOf(uint64_t block) {
  const Sha256Digest digest = Sha256({"banyan.replay", absl::StrCat(block)});
  return std::string(AsText(digest));
}

// Runs requests one by one and counts in a report of its own.
class Replayer {
 public:
  Replayer(Client& client, const ReplayOptions& options,
           const ReplayPayload& payload, std::string ns)
      : client_(client),
        options_(options),
        payload_(payload),
        namespace_id_(std::move(ns)) {}

  ReplayReport& report() { return report_; }

  void Run(const TraceRequest& request) {
    ++report_.requests;
    report_.blocks_requested += request.blocks.size();
    std::string keys;
    for (const uint64_t block : request.blocks) keys += KeyOf(block);
    const KeyChain chain{.keys = keys};
    const auto start = Clock::now();
    const auto hits = client_.Match(namespace_id_, chain);
    report_.match_us.Add(MicrosecondsSince(start));
    if (!hits.ok()) Fail(hits.status());
    const uint32_t got = hits.ok() ? Get(chain, *hits) : 0;
    report_.blocks_hit += got;
    report_.tokens_saved += std::min<uint64_t>(
        uint64_t{got} * options_.block_tokens,
        request.input_tokens == 0 ? UINT64_MAX : request.input_tokens);
    if (got < request.blocks.size()) Put(chain, got);
  }

 private:
  std::span<std::byte> Buffer(size_t i) {
    return std::span(buffer_).subspan(i * options_.block_bytes,
                                      options_.block_bytes);
  }

  void Grow(size_t blocks) {
    const size_t bytes = blocks * options_.block_bytes;
    if (buffer_.size() < bytes) buffer_.resize(bytes);
  }

  // Reads the first `count` blocks; returns how many were there.
  uint32_t Get(const KeyChain& chain, uint32_t count) {
    if (count == 0) return 0;
    Grow(count);
    std::vector<std::span<std::byte>> buffers;
    for (uint32_t i = 0; i < count; ++i) buffers.push_back(Buffer(i));
    const auto start = Clock::now();
    const Completion done =
        client_.Get(namespace_id_, chain, 0, std::move(buffers));
    report_.get_us.Add(MicrosecondsSince(start));
    if (!done.status.ok()) Fail(done.status);
    for (uint32_t i = 0; i < done.hit_blocks; ++i) {
      report_.bytes_read += done.read_bytes[i];
      TierShare& tier =
          done.read_tiers[i] == Tier::kSsd ? report_.ssd : report_.host;
      ++tier.blocks_hit;
      tier.bytes_read += done.read_bytes[i];
      Verify(chain.keys.substr(i * chain.key_bytes, chain.key_bytes), i,
             Buffer(i).first(done.read_bytes[i]));
    }
    return done.hit_blocks;
  }

  void Verify(std::string_view key, uint32_t block,
              std::span<std::byte> bytes) {
    const absl::Status status = payload_.Verify(key, block, bytes);
    if (status.ok()) return;
    ++report_.wrong_blocks;
    report_.wrong_bytes += std::max<uint64_t>(1, bytes.size());
    if (report_.first_error.empty()) report_.first_error = status.ToString();
  }

  void Put(const KeyChain& chain, uint32_t first) {
    const size_t count = chain.size() - first;
    Grow(count);
    std::vector<std::span<const std::byte>> payloads;
    for (size_t i = 0; i < count; ++i) {
      const auto key =
          chain.keys.substr((first + i) * chain.key_bytes, chain.key_bytes);
      payload_.Fill(key, Buffer(i));
      payloads.push_back(Buffer(i));
    }
    const auto start = Clock::now();
    const Completion done =
        client_.Put(namespace_id_, chain, first, std::move(payloads),
                    {.piece_bytes = options_.piece_bytes,
                     .durability = options_.durability});
    report_.put_us.Add(MicrosecondsSince(start));
    if (!done.status.ok()) return Fail(done.status);
    for (const WriteResult result : done.writes) {
      if (result == WriteResult::kCommitted) {
        report_.bytes_written += options_.block_bytes;
      }
    }
  }

  void Fail(const absl::Status& status) {
    ++report_.errors;
    if (report_.first_error.empty()) report_.first_error = status.ToString();
  }

  Client& client_;
  const ReplayOptions& options_;
  const ReplayPayload& payload_;
  const std::string namespace_id_;
  ReplayReport report_;
  std::vector<std::byte> buffer_;
};

// Shares one trace among the threads of a replay: hands out requests in order,
// at their time, and keeps the samples over time.
class Turns {
 public:
  Turns(const std::vector<TraceRequest>& trace, const ReplayOptions& options,
        const std::function<void(size_t, size_t, double)>& progress)
      : trace_(trace),
        options_(options),
        progress_(progress),
        step_(std::max<size_t>(1, trace.size() / kSamples)) {}

  // The next request, when its time has come; nullptr at the end. `lag_us` is
  // how long it had to wait beyond its time.
  const TraceRequest* Next(double& lag_us) {
    const size_t i = next_.fetch_add(1);
    if (i >= trace_.size()) return nullptr;
    lag_us = 0;
    if (!options_.is_open_loop) return &trace_[i];
    const double at_ms = static_cast<double>(trace_[i].timestamp_ms -
                                             trace_.front().timestamp_ms) /
                         options_.speed;
    const auto start =
        start_ + std::chrono::microseconds(static_cast<int64_t>(at_ms * 1e3));
    if (Clock::now() > start) {
      lag_us = MicrosecondsSince(start);
    } else {
      std::this_thread::sleep_until(start);
    }
    return &trace_[i];
  }

  // A request has ended; `delta` is what it added.
  void Add(const ReplaySample& delta) {
    MutexLock lock(mutex_);
    sample_.blocks_requested += delta.blocks_requested;
    sample_.blocks_hit += delta.blocks_hit;
    sample_.bytes_read += delta.bytes_read;
    sample_.bytes_written += delta.bytes_written;
    blocks_requested_ += delta.blocks_requested;
    blocks_hit_ += delta.blocks_hit;
    ++done_;
    if (done_ % step_ != 0 && done_ != trace_.size()) return;
    sample_.seconds = seconds();
    samples_.push_back(sample_);
    sample_ = {};
    progress_(done_, trace_.size(),
              static_cast<double>(blocks_hit_) /
                  static_cast<double>(blocks_requested_));
  }

  double seconds() const { return MicrosecondsSince(start_) / 1e6; }
  std::vector<ReplaySample> TakeSamples() {
    MutexLock lock(mutex_);
    return std::move(samples_);
  }

 private:
  const std::vector<TraceRequest>& trace_;
  const ReplayOptions& options_;
  const std::function<void(size_t, size_t, double)>& progress_;
  const size_t step_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<size_t> next_{0};

  Mutex mutex_;
  size_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t blocks_requested_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t blocks_hit_ ABSL_GUARDED_BY(mutex_) = 0;
  ReplaySample sample_ ABSL_GUARDED_BY(mutex_);
  std::vector<ReplaySample> samples_ ABSL_GUARDED_BY(mutex_);
};

// Takes turns until there are none.
void RunTurns(Turns& turns, Replayer& replayer) {
  ReplayReport& report = replayer.report();
  double lag_us = 0;
  while (const TraceRequest* request = turns.Next(lag_us)) {
    const ReplaySample before = report.Totals();
    report.lag_us.Add(lag_us);
    replayer.Run(*request);
    const ReplaySample after = report.Totals();
    turns.Add(
        {.blocks_requested = after.blocks_requested - before.blocks_requested,
         .blocks_hit = after.blocks_hit - before.blocks_hit,
         .bytes_read = after.bytes_read - before.bytes_read,
         .bytes_written = after.bytes_written - before.bytes_written});
  }
}

// For the name of a namespace.
std::string CodecSuffix(const std::string& kv_codec) {
  std::string suffix = kv_codec.empty() ? "" : "-" + kv_codec;
  for (char& c : suffix) {
    if (c == '=' || c == ',' || c == ':') c = '.';
  }
  return suffix;
}

}  // namespace

ReplayOptions OpaqueReplay(uint64_t block_bytes) {
  return {.space = absl::StrCat("replay-", block_bytes),
          .fingerprint = {.model = absl::StrCat("replay-", block_bytes),
                          .hash_algorithm = "banyan.replay",
                          .layout = "opaque"},
          .block_bytes = block_bytes};
}

absl::StatusOr<ReplayOptions> ShapedReplay(const std::string& shape,
                                           uint32_t block_tokens,
                                           const std::string& kv_codec) {
  // Without the type.
  const std::string sizes = shape.substr(0, shape.find(':'));
  Fingerprint fingerprint{.model = absl::StrCat("replay-", sizes),
                          .hash_algorithm = "banyan.replay",
                          .kv_codec = kv_codec};
  BANYAN_RETURN_IF_ERROR(SetShape(shape, block_tokens, fingerprint));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout, KvLayout::Of(fingerprint));
  return ReplayOptions{
      .space = absl::StrCat("replay-", sizes, "-", fingerprint.data_type, "-",
                            block_tokens, CodecSuffix(kv_codec)),
      .fingerprint = std::move(fingerprint),
      .block_bytes = layout.block_bytes(),
      .piece_bytes = layout.layer_bytes(),
      .block_tokens = block_tokens};
}

absl::StatusOr<ReplayReport> Replay(
    Client& client, const std::vector<TraceRequest>& trace,
    const ReplayOptions& options,
    const std::function<void(size_t, size_t, double)>& progress) {
  BANYAN_ASSIGN_OR_RETURN(
      const OpenedNamespace ns,
      client.OpenNamespace(options.space, options.fingerprint));
  BANYAN_ASSIGN_OR_RETURN(
      const auto payload,
      ReplayPayload::Make(options.space, options.fingerprint,
                          options.block_bytes));
  Turns turns(trace, options, progress);
  std::deque<Replayer> replayers;
  std::vector<std::thread> threads;
  const uint32_t count = options.is_open_loop ? options.concurrency : 1;
  for (uint32_t i = 0; i < count; ++i) {
    Replayer& replayer =
        replayers.emplace_back(client, options, *payload, ns.id);
    threads.emplace_back([&turns, &replayer] { RunTurns(turns, replayer); });
  }
  for (std::thread& thread : threads) thread.join();
  ReplayReport report;
  for (Replayer& replayer : replayers) report.Merge(replayer.report());
  report.seconds = turns.seconds();
  report.samples = turns.TakeSamples();
  report.stored_block_bytes = payload->stored_bytes();
  return report;
}

}  // namespace banyan::ctl
