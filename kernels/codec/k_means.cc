#include "kernels/codec/k_means.h"

#include <algorithm>
#include <cmath>

namespace banyan::codec {
namespace {

constexpr int kStepsMax = 2000;

// Between levels that would be equal. Levels are about -1 to 1.
constexpr float kLevelStep = 0x1p-14f;

// Sums over the first i numbers.
struct Sums {
  std::vector<double> weight{0};
  std::vector<double> moment{0};

  explicit Sums(const std::vector<WeightedNumber>& numbers) {
    for (const WeightedNumber& n : numbers) {
      weight.push_back(weight.back() + n.weight);
      moment.push_back(moment.back() + double{n.weight} * n.x);
    }
  }
};

// The numbers that have so much weight below them.
std::vector<double> Quantiles(const std::vector<WeightedNumber>& numbers,
                              const Sums& sums, size_t count) {
  std::vector<double> levels;
  for (size_t i = 0; i < count; ++i) {
    const double below = sums.weight.back() * (i + 0.5) / count;
    const auto at =
        std::upper_bound(sums.weight.begin() + 1, sums.weight.end(), below);
    const auto index =
        std::min<size_t>(at - sums.weight.begin() - 1, numbers.size() - 1);
    levels.push_back(numbers[index].x);
  }
  return levels;
}

// Moves levels to the means of what is nearest to each. False if none moved.
bool Step(const std::vector<WeightedNumber>& numbers, const Sums& sums,
          std::vector<double>& levels) {
  bool has_moved = false;
  size_t first = 0;
  std::vector<double> moved = levels;
  for (size_t i = 0; i < levels.size(); ++i) {
    size_t end = numbers.size();
    if (i + 1 < levels.size()) {
      const double middle = (levels[i] + levels[i + 1]) / 2;
      end = std::partition_point(
                numbers.begin() + first, numbers.end(),
                [&](const WeightedNumber& n) { return n.x <= middle; }) -
            numbers.begin();
    }
    const double weight = sums.weight[end] - sums.weight[first];
    if (weight > 0) moved[i] = (sums.moment[end] - sums.moment[first]) / weight;
    has_moved |= std::fabs(moved[i] - levels[i]) > 1e-9;
    first = end;
  }
  levels = std::move(moved);
  return has_moved;
}

}  // namespace

std::vector<float> KMeans(std::vector<WeightedNumber> numbers, size_t count) {
  std::erase_if(numbers, [](const auto& n) { return n.weight <= 0; });
  std::vector<float> levels(count);
  for (size_t i = 0; i < count; ++i) {
    levels[i] = static_cast<float>(2.0 * i / (count - 1) - 1);
  }
  if (numbers.empty()) return levels;
  std::sort(numbers.begin(), numbers.end(),
            [](const auto& a, const auto& b) { return a.x < b.x; });
  const Sums sums(numbers);
  std::vector<double> exact = Quantiles(numbers, sums, count);
  for (int step = 0; step < kStepsMax; ++step) {
    if (!Step(numbers, sums, exact)) break;
  }
  for (size_t i = 0; i < count; ++i) {
    levels[i] = static_cast<float>(exact[i]);
    if (i > 0) levels[i] = std::max(levels[i], levels[i - 1] + kLevelStep);
  }
  return levels;
}

}  // namespace banyan::codec
