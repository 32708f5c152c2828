// Charts as SVG inside one self-contained HTML page: no script, no link.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace banyan::ctl {

using Points = std::vector<std::pair<double, double>>;

struct Line {
  std::string name;  // Empty: no legend.
  Points points;
};

// A line chart; y from 0 to the largest value, x from 0.
std::string Chart(const std::string& title, const std::string& unit,
                  const Points& points);

// Lines over a logarithmic x, with a legend; y from 0 to the largest value.
// x is labelled with its values. Requires: x > 0.
std::string LogChart(const std::string& title, const std::string& x_unit,
                     const std::string& y_unit, const std::vector<Line>& lines);

// Points with their names, over x from 0 and a logarithmic y, whose powers of
// ten are labelled. Points at y = 0 are left out.
struct Mark {
  std::string name;
  double x = 0;
  double y = 0;
};
std::string MarkChart(const std::string& title, const std::string& x_unit,
                      const std::string& y_unit,
                      const std::vector<Mark>& marks);

// Drawing area of a chart; the outer frame is kChartFrame.
inline constexpr int kChartWidth = 640;
inline constexpr int kChartHeight = 180;
inline constexpr char kChartFrame[] = "-60 -10 720 220";

// `text` stands as it is, in a fixed-width font, above the charts.
std::string HtmlPage(const std::string& title, const std::string& text,
                     const std::string& charts);

}  // namespace banyan::ctl
