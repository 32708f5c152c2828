#include "client/ctl/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/ctl/chart.h"

namespace banyan::ctl {
namespace {

double Gigabytes(uint64_t bytes) { return static_cast<double>(bytes) / 1e9; }

nlohmann::ordered_json LatencyJson(const Latencies& latencies) {
  return {{"p50", latencies.Percentile(0.50)},
          {"p90", latencies.Percentile(0.90)},
          {"p99", latencies.Percentile(0.99)},
          {"max", latencies.max()}};
}

nlohmann::ordered_json TierJson(const TierShare& share) {
  return {{"blocks_hit", share.blocks_hit}, {"bytes_read", share.bytes_read}};
}

// Share of calls (y) that took at most so long (x, log10 of microseconds).
std::string DistributionChart(const std::string& title,
                              const Latencies& latencies) {
  std::string path;
  for (int percent = 0; percent <= 100; ++percent) {
    const double us = std::max(1.0, latencies.Percentile(percent / 100.0));
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ",
                          std::log10(us) / 6 * kChartWidth,
                          kChartHeight - percent / 100.0 * kChartHeight);
  }
  return absl::StrFormat(
      "<h2>%s</h2><svg viewBox='%s' role='img' aria-label='%s'>"
      "<rect width='%d' height='%d' class='f'/><polyline points='%s'/>"
      "<text x='-6' y='8' text-anchor='end'>100 %%</text>"
      "<text x='0' y='%d'>1 us</text><text x='%d' y='%d' "
      "text-anchor='middle'>1 ms</text><text x='%d' y='%d' "
      "text-anchor='end'>1 s</text></svg>",
      title, kChartFrame, title, kChartWidth, kChartHeight, path,
      kChartHeight + 18, kChartWidth / 2, kChartHeight + 18, kChartWidth,
      kChartHeight + 18);
}

std::string TimeChart(const ReplayReport& report, const std::string& title,
                      const std::string& unit,
                      const std::function<double(const ReplaySample&)>& y) {
  Points points;
  for (const ReplaySample& sample : report.samples) {
    points.emplace_back(sample.seconds, y(sample));
  }
  return Chart(title, unit, points);
}

}  // namespace

double Latencies::Percentile(double ratio) const {
  if (values_us_.empty()) return 0;
  std::vector<double> sorted = values_us_;
  const auto at = static_cast<size_t>(
      std::ceil(ratio * static_cast<double>(sorted.size())));
  const size_t index = std::min(sorted.size() - 1, at == 0 ? 0 : at - 1);
  std::nth_element(sorted.begin(), sorted.begin() + index, sorted.end());
  return sorted[index];
}

void ReplayReport::Merge(const ReplayReport& part) {
  requests += part.requests;
  blocks_requested += part.blocks_requested;
  blocks_hit += part.blocks_hit;
  wrong_bytes += part.wrong_bytes;
  wrong_blocks += part.wrong_blocks;
  errors += part.errors;
  bytes_read += part.bytes_read;
  bytes_written += part.bytes_written;
  tokens_saved += part.tokens_saved;
  for (const auto& [to, from] :
       {std::pair(&host, &part.host), std::pair(&ssd, &part.ssd)}) {
    to->blocks_hit += from->blocks_hit;
    to->bytes_read += from->bytes_read;
  }
  match_us.Merge(part.match_us);
  get_us.Merge(part.get_us);
  put_us.Merge(part.put_us);
  lag_us.Merge(part.lag_us);
  if (first_error.empty()) first_error = part.first_error;
}

std::string ReportText(const ReplayReport& r) {
  const auto latency = [](const char* name, const Latencies& l) {
    return absl::StrFormat("%-8s p50 %8.0f us   p99 %8.0f us   max %8.0f us\n",
                           name, l.Percentile(0.5), l.Percentile(0.99),
                           l.max());
  };
  std::string text = absl::StrFormat(
      "requests        %d in %.1f s\n"
      "blocks          %d asked for, %d hit\n"
      "hit ratio       %.2f %%   (infinite cache %.2f %%, Belady at %d blocks "
      "%.2f %%)\n"
      "from memory     %d blocks, %.3f GB\n"
      "from SSD        %d blocks, %.3f GB\n"
      "read            %.3f GB, %.3f GB/s\n"
      "written         %.3f GB, %.3f GB/s\n",
      r.requests, r.seconds, r.blocks_requested, r.blocks_hit,
      100 * r.hit_ratio(), 100 * r.Ratio(r.infinite_hits), r.capacity_blocks,
      100 * r.Ratio(r.belady_hits), r.host.blocks_hit,
      Gigabytes(r.host.bytes_read), r.ssd.blocks_hit,
      Gigabytes(r.ssd.bytes_read), Gigabytes(r.bytes_read),
      Gigabytes(r.bytes_read) / std::max(r.seconds, 1e-9),
      Gigabytes(r.bytes_written),
      Gigabytes(r.bytes_written) / std::max(r.seconds, 1e-9));
  absl::StrAppend(&text, latency("match", r.match_us), latency("get", r.get_us),
                  latency("put", r.put_us),
                  r.lag_us.max() > 0 ? latency("lag", r.lag_us) : "");
  absl::StrAppendFormat(
      &text,
      "tokens saved    %d of prefill\n"
      "wrong bytes     %d in %d blocks\n"
      "errors          %d%s%s\n",
      r.tokens_saved, r.wrong_bytes, r.wrong_blocks, r.errors,
      r.first_error.empty() ? "" : ", first: ", r.first_error);
  return text;
}

std::string ReportJson(const ReplayReport& r) {
  const nlohmann::ordered_json json = {
      {"requests", r.requests},
      {"blocks_requested", r.blocks_requested},
      {"blocks_hit", r.blocks_hit},
      {"hit_ratio", r.hit_ratio()},
      {"hit_ratio_infinite", r.Ratio(r.infinite_hits)},
      {"hit_ratio_belady", r.Ratio(r.belady_hits)},
      {"capacity_blocks", r.capacity_blocks},
      {"stored_block_bytes", r.stored_block_bytes},
      {"wrong_bytes", r.wrong_bytes},
      {"wrong_blocks", r.wrong_blocks},
      {"errors", r.errors},
      {"first_error", r.first_error},
      {"bytes_read", r.bytes_read},
      {"bytes_written", r.bytes_written},
      {"seconds", r.seconds},
      {"match_us", LatencyJson(r.match_us)},
      {"get_us", LatencyJson(r.get_us)},
      {"put_us", LatencyJson(r.put_us)},
      {"lag_us", LatencyJson(r.lag_us)},
      {"tokens_saved", r.tokens_saved},
      {"tiers", {{"host", TierJson(r.host)}, {"ssd", TierJson(r.ssd)}}}};
  return json.dump(2) + "\n";
}

std::string ReportHtml(const ReplayReport& r) {
  const std::string charts = absl::StrCat(
      TimeChart(r, "Hit ratio over time", "hits per block asked for",
                [](const ReplaySample& s) {
                  return static_cast<double>(s.blocks_hit) /
                         static_cast<double>(
                             std::max<uint64_t>(1, s.blocks_requested));
                }),
      TimeChart(r, "Bytes read", "MB in each sample",
                [](const ReplaySample& s) {
                  return static_cast<double>(s.bytes_read) / 1e6;
                }),
      TimeChart(r, "Bytes written", "MB in each sample",
                [](const ReplaySample& s) {
                  return static_cast<double>(s.bytes_written) / 1e6;
                }),
      DistributionChart("Latency of match", r.match_us),
      DistributionChart("Latency of get", r.get_us),
      DistributionChart("Latency of put", r.put_us));
  return HtmlPage("Banyan replay", ReportText(r), charts);
}

}  // namespace banyan::ctl
