#include "client/ctl/chart.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace banyan::ctl {
namespace {

constexpr int kLegendLine = 15;
// Dark enough on white; told apart by most who see few colours.
constexpr const char* kColors[] = {"#19734d", "#b4461e", "#2a5d9f", "#8a6d00",
                                   "#7a3f94", "#55605b", "#008080", "#a0204a"};

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string Polyline(const Points& points, double y_max,
                     const std::string& attributes) {
  std::string path;
  for (const auto& [x, y] : points) {
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ",
                          x * kChartWidth,
                          kChartHeight - y / y_max * kChartHeight);
  }
  return absl::StrCat("<polyline points='", path, "'", attributes, "/>");
}

}  // namespace

std::string Chart(const std::string& title, const std::string& unit,
                  const Points& points) {
  double x_max = 1e-9;
  double y_max = 1e-9;
  for (const auto& [x, y] : points) {
    x_max = std::max(x_max, x);
    y_max = std::max(y_max, y);
  }
  Points scaled = points;
  for (auto& [x, y] : scaled) x /= x_max;
  return absl::StrFormat(
      "<h2>%s</h2><svg viewBox='%s' role='img' aria-label='%s'>"
      "<rect width='%d' height='%d' class='f'/>%s"
      "<text x='-6' y='8' text-anchor='end'>%.3g</text>"
      "<text x='-6' y='%d' text-anchor='end'>0</text>"
      "<text x='%d' y='%d' text-anchor='end'>%.3g s</text>"
      "<text x='0' y='%d'>%s</text></svg>",
      title, kChartFrame, title, kChartWidth, kChartHeight,
      Polyline(scaled, y_max, ""), y_max, kChartHeight, kChartWidth,
      kChartHeight + 18, x_max, kChartHeight + 18, unit);
}

std::string LogChart(const std::string& title, const std::string& x_unit,
                     const std::string& y_unit,
                     const std::vector<Line>& lines) {
  double y_max = 1e-9;
  std::set<double> ticks;
  for (const Line& line : lines) {
    for (const auto& [x, y] : line.points) {
      ticks.insert(x);
      y_max = std::max(y_max, y);
    }
  }
  const double low = ticks.empty() ? 0 : std::log(*ticks.begin());
  const double span = ticks.size() < 2 ? 1 : std::log(*ticks.rbegin()) - low;
  const int legend_height = static_cast<int>(lines.size()) * kLegendLine;
  std::string svg = absl::StrFormat(
      "<h2>%s</h2><svg viewBox='-60 -10 720 %d' role='img' aria-label='%s'>"
      "<rect width='%d' height='%d' class='f'/>"
      "<text x='-6' y='8' text-anchor='end'>%.3g</text>"
      "<text x='-6' y='%d' text-anchor='end'>0</text>"
      "<text x='0' y='%d'>%s by %s</text>",
      title, kChartHeight + 60 + legend_height, title, kChartWidth,
      kChartHeight, y_max, kChartHeight, kChartHeight + 36, y_unit, x_unit);
  for (const double tick : ticks) {
    absl::StrAppendFormat(
        &svg, "<text x='%.1f' y='%d' text-anchor='middle'>%.0f</text>",
        (std::log(tick) - low) / span * kChartWidth, kChartHeight + 18, tick);
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string style =
        absl::StrFormat(" style='stroke:%s'", kColors[i % std::size(kColors)]);
    Points scaled = lines[i].points;
    for (auto& [x, y] : scaled) x = (std::log(x) - low) / span;
    const int y = kChartHeight + 52 + static_cast<int>(i) * kLegendLine;
    absl::StrAppend(
        &svg, Polyline(scaled, y_max, style),
        absl::StrFormat("<polyline points='0,%d 20,%d'%s/>"
                        "<text x='26' y='%d'>%s</text>",
                        y - 4, y - 4, style, y, Escape(lines[i].name)));
  }
  return svg + "</svg>";
}

std::string MarkChart(const std::string& title, const std::string& x_unit,
                      const std::string& y_unit,
                      const std::vector<Mark>& marks) {
  constexpr int kHeight = 2 * kChartHeight;
  double x_max = 1e-9;
  double low = 1e9;
  double high = -1e9;
  for (const Mark& mark : marks) {
    if (!(mark.y > 0)) continue;
    x_max = std::max(x_max, mark.x);
    low = std::min(low, std::floor(std::log10(mark.y)));
    high = std::max(high, std::ceil(std::log10(mark.y)));
  }
  if (high <= low) high = low + 1;
  const auto height_of = [&](double exponent) {
    return kHeight - (exponent - low) / (high - low) * kHeight;
  };
  std::string svg = absl::StrFormat(
      "<h2>%s</h2><svg viewBox='-60 -10 760 %d' role='img' aria-label='%s'>"
      "<rect width='%d' height='%d' class='f'/>"
      "<text x='0' y='%d'>0</text>"
      "<text x='%d' y='%d' text-anchor='end'>%.3g</text>"
      "<text x='0' y='%d'>%s by %s</text>",
      title, kHeight + 60, title, kChartWidth, kHeight, kHeight + 18,
      kChartWidth, kHeight + 18, x_max, kHeight + 36, y_unit, x_unit);
  for (double exponent = low; exponent <= high && high < 1e9; ++exponent) {
    absl::StrAppendFormat(&svg,
                          "<text x='-6' y='%.1f' text-anchor='end'>%.0e</text>",
                          height_of(exponent) + 4, std::pow(10, exponent));
  }
  for (size_t i = 0; i < marks.size(); ++i) {
    if (!(marks[i].y > 0)) continue;
    const double x = marks[i].x / x_max * kChartWidth;
    const double y = height_of(std::log10(marks[i].y));
    const bool is_right = x > kChartWidth / 2.0;
    absl::StrAppendFormat(&svg,
                          "<circle cx='%.1f' cy='%.1f' r='4' style='fill:%s'/>"
                          "<text x='%.1f' y='%.1f' text-anchor='%s'>%s</text>",
                          x, y, kColors[i % std::size(kColors)],
                          x + (is_right ? -7 : 7), y + 4,
                          is_right ? "end" : "start", Escape(marks[i].name));
  }
  return svg + "</svg>";
}

std::string HtmlPage(const std::string& title, const std::string& text,
                     const std::string& charts) {
  return absl::StrCat(
      "<!doctype html><html lang='en'><meta charset='utf-8'><title>", title,
      "</title><style>"
      "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem "
      "auto;padding:0 1rem;color:#1c2421}pre{background:#f2f5f3;padding:1rem;"
      "overflow:auto}h2{font-size:1rem;margin:1.6rem 0 .2rem}svg{width:100%}"
      ".f{fill:#f2f5f3}polyline{fill:none;stroke:#19734d;stroke-width:2}"
      "text{font-size:11px;fill:#55605b}</style><h1>",
      title, "</h1><pre>", Escape(text), "</pre>", charts, "</html>\n");
}

}  // namespace banyan::ctl
