// What a replay saw, and its three forms: text, JSON (fixed field names), and
// one self-contained HTML page with charts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace banyan::ctl {

// Latencies of one kind of call, in microseconds.
class Latencies {
 public:
  void Add(double us) { values_us_.push_back(us); }

  // Smallest value that a share `ratio` of the calls does not exceed; 0 if
  // there are none.
  double Percentile(double ratio) const;
  double max() const { return Percentile(1.0); }
  void Merge(const Latencies& other) {
    values_us_.insert(values_us_.end(), other.values_us_.begin(),
                      other.values_us_.end());
  }

 private:
  std::vector<double> values_us_;
};

// A stretch of the replay, for charts over time.
struct ReplaySample {
  double seconds = 0;
  uint64_t blocks_requested = 0;
  uint64_t blocks_hit = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
};

// What came from one tier.
struct TierShare {
  uint64_t blocks_hit = 0;
  uint64_t bytes_read = 0;
};

struct ReplayReport {
  uint64_t requests = 0;
  uint64_t blocks_requested = 0;
  uint64_t blocks_hit = 0;
  uint64_t infinite_hits = 0;
  uint64_t belady_hits = 0;
  uint64_t stored_block_bytes = 0;  // Of a block, as the node stores it.
  uint64_t capacity_blocks = 0;
  uint64_t wrong_bytes = 0;
  uint64_t wrong_blocks = 0;
  uint64_t errors = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_written = 0;
  uint64_t tokens_saved = 0;
  TierShare host;
  TierShare ssd;
  double seconds = 0;
  Latencies match_us;
  Latencies get_us;
  Latencies put_us;
  Latencies lag_us;  // Open loop: wait of a request beyond its time.
  std::vector<ReplaySample> samples;
  std::string first_error;

  // What was counted up to now, without a time.
  ReplaySample Totals() const {
    return {.blocks_requested = blocks_requested,
            .blocks_hit = blocks_hit,
            .bytes_read = bytes_read,
            .bytes_written = bytes_written};
  }

  // Adds the counts and latencies of another part of the same replay.
  void Merge(const ReplayReport& part);

  double hit_ratio() const { return Ratio(blocks_hit); }
  double Ratio(uint64_t blocks) const {
    return blocks_requested == 0 ? 0
                                 : static_cast<double>(blocks) /
                                       static_cast<double>(blocks_requested);
  }
};

std::string ReportText(const ReplayReport& report);
std::string ReportJson(const ReplayReport& report);
std::string ReportHtml(const ReplayReport& report);

}  // namespace banyan::ctl
