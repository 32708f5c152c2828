// What ChooseMagnitudes promises: on every target the path that docs/formats/
// codec_cold.md says is the best one.
//
// Method: the plain search, a path at a time, over rows of all kinds: short ones,
// sizes at which choices cost alike, sizes beyond the table of costs.
#include "kernels/codec/trellis.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <random>
#include <vector>

#include "kernels/codec/coefficient_coder.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

using Model = CoefficientModel<kQuantizers>;
using Magnitudes = std::vector<float>;

struct Row {
  std::vector<float> sizes;
  std::vector<float> column_levels;
  std::vector<float> costs;
  float bit_worth = 0.08f;
};

struct Path {
  float cost = std::numeric_limits<float>::infinity();
  float row_level = 0;
  Magnitudes magnitudes;
};

float CostOf(const Row& row, uint32_t quantizer, const Path& path,
             uint32_t magnitude) {
  const size_t at = path.magnitudes.size();
  const float error =
      row.sizes[at] - LevelOf(quantizer, static_cast<float>(magnitude));
  const float* const costs =
      row.costs.data() + quantizer * Model::kCostsOfSet +
      CoefficientClass(row.column_levels[at], path.row_level) * Model::kCosts;
  float bits = costs[std::min(magnitude, kCoefficientSteps)];
  if (magnitude >= kCoefficientSteps) {
    const uint32_t rest = magnitude - kCoefficientSteps + 1;
    bits += row.bit_worth * static_cast<float>(2 * std::bit_width(rest) - 1);
  }
  return path.cost + (error * error + bits);
}

// Of this parity, the first of those that cost least.
Path GoOn(const Row& row, uint32_t quantizer, const Path& path,
          uint32_t parity) {
  const float size = row.sizes[path.magnitudes.size()];
  const auto below = static_cast<uint32_t>(quantizer == 0 ? size : size + 0.5f);
  Path best;
  bool is_first = true;
  for (const uint32_t magnitude : {below, below + 1, 0u}) {
    if (magnitude % 2 != parity) continue;
    const float cost = CostOf(row, quantizer, path, magnitude);
    if (!is_first && !(cost < best.cost)) continue;
    is_first = false;
    best = path;
    best.cost = cost;
    best.row_level =
        NextRowLevel(path.row_level, static_cast<float>(magnitude));
    best.magnitudes.push_back(static_cast<float>(magnitude));
  }
  return best;
}

Magnitudes Expected(const Row& row, uint32_t state) {
  std::vector<Path> paths(kTrellisStates);
  paths[state].cost = 0;
  for (size_t at = 0; at < row.sizes.size(); ++at) {
    std::vector<Path> next(kTrellisStates);
    for (uint32_t from = 0; from < kTrellisStates; ++from) {
      for (const uint32_t parity : {0, 1}) {
        Path path = GoOn(row, QuantizerOf(from), paths[from], parity);
        Path& best = next[NextState(from, parity)];
        if (best.magnitudes.empty() || path.cost < best.cost) {
          best = std::move(path);
        }
      }
    }
    paths = std::move(next);
  }
  uint32_t last = 0;
  for (uint32_t s = 1; s < kTrellisStates; ++s) {
    if (paths[s].cost < paths[last].cost) last = s;
  }
  return paths[last].magnitudes;
}

Magnitudes Chosen(const Row& row, uint32_t state) {
  const auto width = static_cast<uint32_t>(row.sizes.size());
  std::vector<uint8_t> trace(kTrellisStates * width);
  Magnitudes magnitudes(width, -1);
  ChooseMagnitudes(
      {.sizes = row.sizes.data(),
       .size_max = *std::max_element(row.sizes.begin(), row.sizes.end()),
       .column_levels = row.column_levels.data(),
       .width = width,
       .costs = row.costs.data(),
       .bit_worth = row.bit_worth},
      state, trace.data(), magnitudes.data());
  return magnitudes;
}

// Sizes up to about `most`, in parts of `grain`, or any if that is 0.
Row SomeRow(size_t width, float most, float grain, std::mt19937& rng) {
  std::exponential_distribution<float> any;
  Row row;
  for (size_t i = 0; i < width; ++i) {
    const float size = any(rng) * most / 3;
    row.sizes.push_back(grain > 0 ? std::floor(size / grain) * grain : size);
    row.column_levels.push_back(rng() % 3 == 0 ? 0 : any(rng) * most / 3);
  }
  // Those of a class are unlike in steps that add up exactly, so that ties show.
  for (uint32_t i = 0; i < kQuantizers * Model::kCostsOfSet; ++i) {
    const float noise = grain > 0 ? 0.0f : any(rng) / 64;
    row.costs.push_back(static_cast<float>(i % Model::kCosts) / 16 + noise);
  }
  if (grain > 0) row.bit_worth = 0x1p-4f;
  return row;
}

void ExpectAsPlain(size_t width, float most, float grain) {
  std::mt19937 rng(static_cast<uint32_t>(width * 31 + most * 7));
  for (int repeat = 0; repeat < 20; ++repeat) {
    const Row row = SomeRow(width, most, grain, rng);
    const uint32_t state = repeat % kTrellisStates;
    const Magnitudes expected = Expected(row, state);
    testing::ForEachTarget([&](const char* target) {
      EXPECT_EQ(Chosen(row, state), expected)
          << target << ", width " << width << ", up to " << most << ", grain "
          << grain;
    });
  }
}

TEST(TrellisTest, ChoosesThePathOfLeastCost) {
  for (const size_t width : {1, 2, 3, 7, 64, 200}) {
    for (const float most : {0.0f, 0.5f, 2.0f, 11.0f, 13.0f, 40.0f}) {
      ExpectAsPlain(width, most, 0);
    }
  }
}

TEST(TrellisTest, OfPathsThatCostAlikeTheFirstWins) {
  for (const float most : {1.0f, 4.0f, 30.0f}) ExpectAsPlain(100, most, 0.25f);
}

TEST(TrellisTest, LargeSizesAreNoLarger) { ExpectAsPlain(20, 0x1p22f, 0); }

}  // namespace
}  // namespace banyan::codec
