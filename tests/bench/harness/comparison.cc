#include "tests/bench/harness/comparison.h"

#include <algorithm>

#include "base/check.h"
#include "tests/bench/harness/cpu_share.h"

namespace banyan::bench {
namespace {

nlohmann::ordered_json SideJson(const Side& side,
                                const std::vector<double>& values) {
  return {{"name", side.name},
          {"unit", side.unit},
          {"median", Median(values)},
          {"repeats", values}};
}

}  // namespace

double Median(std::vector<double> values) {
  BANYAN_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

nlohmann::ordered_json ResultJson(const Target& target,
                                  const std::vector<double>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return {{target.id,
           {{"value", Median(values)},
            {"unit", target.unit},
            {"floor", target.floor},
            {"goal", target.goal},
            {"better", target.better},
            {"repeats", values},
            {"min", *min},
            {"max", *max},
            {"what", target.what}}}};
}

nlohmann::ordered_json Compare(const Target& target, const Arguments& arguments,
                               const Side& a, const Side& b,
                               const std::vector<pid_t>& children) {
  std::vector<double> as, bs, ratios, others;
  CpuShare cpu(children);
  a.measure();
  b.measure();
  for (int i = 0; i < arguments.repeats; ++i) {
    cpu.Start();
    as.push_back(a.measure());
    bs.push_back(b.measure());
    others.push_back(cpu.OthersSinceStart());
    ratios.push_back(as.back() / bs.back());
  }
  nlohmann::ordered_json result = ResultJson(target, ratios);
  nlohmann::ordered_json& entry = result[target.id];
  entry["a"] = SideJson(a, as);
  entry["b"] = SideJson(b, bs);
  entry["other_cpu_cores"] = others;
  return result;
}

}  // namespace banyan::bench
