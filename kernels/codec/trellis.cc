#include <algorithm>
#include <cstddef>
#include <limits>

#include "kernels/codec/trellis_search.h"

namespace banyan::codec {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();

// How paths go on: the magnitude below the size, the one above it, or 0.
enum Choice : uint8_t { kBelow = 0, kAbove = 1, kZero = 2 };
constexpr uint32_t kChoices = 3;

// What a quantizer may make of a size: the magnitude below it, and the squared
// error of each choice.
struct Levels {
  uint32_t below;
  float errors[kChoices];
};

struct Path {
  float cost;
  float row_level;
};

// A number behind a path: the best choice of even magnitude, and the odd one.
struct Step {
  float cost;
  uint8_t choice;
};
struct Steps {
  Step even;
  Step odd;
};

Levels LevelsOf(float size, uint32_t quantizer) {
  Levels levels{.below = MagnitudeBelow(size, quantizer)};
  const auto below = static_cast<float>(levels.below);
  const float under = size - LevelOf(quantizer, below);
  const float over = size - LevelOf(quantizer, below + 1);
  levels.errors[kBelow] = under * under;
  levels.errors[kAbove] = over * over;
  levels.errors[kZero] = size * size;
  return levels;
}

uint32_t MagnitudeOf(uint32_t below, uint8_t choice) {
  return choice == kZero ? 0 : below + choice;
}

// `costs` are those of the number's class.
float CostOf(uint32_t magnitude, const float* costs, float bit_worth) {
  return costs[std::min(magnitude, kCoefficientSteps)] +
         bit_worth * BitsBeyond(magnitude);
}

Steps StepsOf(const Path& path, const Levels& levels, const float* costs,
              float bit_worth) {
  const auto step = [&](Choice choice) {
    const float cost =
        levels.errors[choice] +
        CostOf(MagnitudeOf(levels.below, choice), costs, bit_worth);
    return Step{path.cost + cost, choice};
  };
  const Step below = step(kBelow);
  const Step above = step(kAbove);
  const Step zero = step(kZero);
  const bool is_odd = levels.below % 2 != 0;
  const Step& even = is_odd ? above : below;
  return {zero.cost < even.cost ? zero : even, is_odd ? below : above};
}

}  // namespace

void ChoosePlainly(const TrellisRow& row, uint32_t state, uint8_t* trace,
                   float* magnitudes) {
  Path paths[kTrellisStates];
  for (uint32_t s = 0; s < kTrellisStates; ++s) {
    paths[s] = {s == state ? 0 : kNever, 0};
  }
  for (uint32_t c = 0; c < row.width; ++c) {
    const Levels levels[kQuantizers] = {LevelsOf(row.sizes[c], 0),
                                        LevelsOf(row.sizes[c], 1)};
    Steps steps[kTrellisStates];
    for (uint32_t s = 0; s < kTrellisStates; ++s) {
      const uint32_t q = QuantizerOf(s);
      const uint32_t of =
          CoefficientClass(row.column_levels[c], paths[s].row_level);
      steps[s] = StepsOf(
          paths[s], levels[q],
          row.costs + q * TrellisModel::kCostsOfSet + of * TrellisModel::kCosts,
          row.bit_worth);
    }
    Path next[kTrellisStates];
    // Into each state there are two ways, from the two states of a quantizer.
    const auto join = [&](uint32_t from, const Step& first,
                          const Step& second) {
      const bool is_second = second.cost < first.cost;
      const Step& step = is_second ? second : first;
      from += is_second ? 1 : 0;
      const uint32_t magnitude =
          MagnitudeOf(levels[QuantizerOf(from)].below, step.choice);
      const uint32_t to = NextState(from, magnitude);
      next[to] = {step.cost, NextRowLevel(paths[from].row_level,
                                          static_cast<float>(magnitude))};
      trace[size_t{c} * kTrellisStates + to] =
          static_cast<uint8_t>(from * kChoices + step.choice);
    };
    for (uint32_t s = 0; s < kTrellisStates; s += 2) {
      join(s, steps[s].even, steps[s + 1].odd);
      join(s, steps[s].odd, steps[s + 1].even);
    }
    for (uint32_t s = 0; s < kTrellisStates; ++s) paths[s] = next[s];
  }
  uint32_t last = 0;
  for (uint32_t s = 1; s < kTrellisStates; ++s) {
    if (paths[s].cost < paths[last].cost) last = s;
  }
  for (uint32_t c = row.width; c-- > 0;) {
    const uint8_t step = trace[size_t{c} * kTrellisStates + last];
    last = step / kChoices;
    const auto choice = static_cast<uint8_t>(step % kChoices);
    magnitudes[c] = static_cast<float>(
        MagnitudeOf(MagnitudeBelow(row.sizes[c], QuantizerOf(last)), choice));
  }
}

}  // namespace banyan::codec
