#include "client/ctl/replay.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/ctl/payload.h"

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

class Replayer {
 public:
  Replayer(Client& client, const ReplayOptions& options, std::string ns,
           ReplayReport& report)
      : client_(client),
        options_(options),
        namespace_id_(std::move(ns)),
        report_(report) {}

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
      Verify(chain.keys.substr(i * chain.key_bytes, chain.key_bytes),
             Buffer(i).first(done.read_bytes[i]));
    }
    return done.hit_blocks;
  }

  void Verify(std::string_view key, std::span<std::byte> bytes) {
    const absl::string_view key_view(key.data(), key.size());
    const absl::Status status =
        VerifyPayload(options_.space, key_view,
                      absl::MakeConstSpan(bytes.data(), bytes.size()), 0,
                      options_.block_bytes);
    if (status.ok() && bytes.size() == options_.block_bytes) return;
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
      FillPayload(options_.space, absl::string_view(key.data(), key.size()),
                  absl::MakeSpan(Buffer(i).data(), Buffer(i).size()));
      payloads.push_back(Buffer(i));
    }
    const auto start = Clock::now();
    const Completion done =
        client_.Put(namespace_id_, chain, first, std::move(payloads), 0);
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
  const std::string namespace_id_;
  ReplayReport& report_;
  std::vector<std::byte> buffer_;
};

// What happened since `before`.
ReplaySample SampleSince(const ReplayReport& before, const ReplayReport& after,
                         double seconds) {
  return {.seconds = seconds,
          .blocks_requested = after.blocks_requested - before.blocks_requested,
          .blocks_hit = after.blocks_hit - before.blocks_hit,
          .bytes_read = after.bytes_read - before.bytes_read,
          .bytes_written = after.bytes_written - before.bytes_written};
}

// The counters of a report, without its lists.
ReplayReport CountersOf(const ReplayReport& report) {
  ReplayReport counters;
  counters.blocks_requested = report.blocks_requested;
  counters.blocks_hit = report.blocks_hit;
  counters.bytes_read = report.bytes_read;
  counters.bytes_written = report.bytes_written;
  return counters;
}

}  // namespace

absl::StatusOr<ReplayReport> Replay(
    Client& client, const std::vector<TraceRequest>& trace,
    const ReplayOptions& options,
    const std::function<void(size_t, size_t, double)>& progress) {
  const Fingerprint fingerprint{
      .model = absl::StrCat("replay-", options.block_bytes),
      .hash_algorithm = "banyan.replay",
      .layout = "opaque"};
  BANYAN_ASSIGN_OR_RETURN(const OpenedNamespace ns,
                          client.OpenNamespace(options.space, fingerprint));
  ReplayReport report;
  Replayer replayer(client, options, ns.id, report);
  const auto start = Clock::now();
  const uint64_t first_ms = trace.front().timestamp_ms;
  const size_t step = std::max<size_t>(1, trace.size() / kSamples);
  ReplayReport before;
  for (size_t i = 0; i < trace.size(); ++i) {
    if (options.is_open_loop) {
      const double at_ms =
          static_cast<double>(trace[i].timestamp_ms - first_ms) / options.speed;
      std::this_thread::sleep_until(
          start + std::chrono::microseconds(static_cast<int64_t>(at_ms * 1e3)));
    }
    replayer.Run(trace[i]);
    if ((i + 1) % step != 0 && i + 1 != trace.size()) continue;
    const double seconds = MicrosecondsSince(start) / 1e6;
    report.samples.push_back(SampleSince(before, report, seconds));
    before = CountersOf(report);
    progress(i + 1, trace.size(), report.hit_ratio());
  }
  report.seconds = MicrosecondsSince(start) / 1e6;
  return report;
}

}  // namespace banyan::ctl
