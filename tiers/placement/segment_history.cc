#include "tiers/placement/segment_history.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace banyan::tiers {
namespace {

// 0, then half octaves from 1.
int HalfOctaves(uint32_t count) {
  if (count == 0) return 0;
  const int octave = std::bit_width(count) - 1;
  const bool is_upper = uint64_t{count} * count >> (2 * octave + 1) != 0;
  return 1 + 2 * octave + (is_upper ? 1 : 0);
}

// Exact for the first few, then coarser.
int SmallCount(uint32_t count) {
  if (count <= 4) return static_cast<int>(count);
  return 2 + HalfOctaves(count) / 2;
}

// 1, then half octaves from half a second.
int GapBin(double seconds) {
  constexpr double kFirstSeconds = 0.5;
  if (!(seconds >= kFirstSeconds)) return 1;
  return static_cast<int>(
      std::min(38.0, 2 + 2 * std::log2(seconds / kFirstSeconds)));
}

// One row of features for each kind of fact, of so many values.
enum Fact {
  kKindAndTouches,
  kTouches,
  kGap,
  kGapMean,
  kTurn,
  kPromptBlocks,
  kNewBlocks,
  kMatchedBlocks,
  kLeftBlocks,
  kDepth,
  kLength,
  kBelow,
  kForks,
  kAge,
  kAnswer,
  kPreviousAnswer,
  kRepeats,
  kFacts
};
static_assert(kFacts + 1 == kSegmentFeatures, "and the hint");

constexpr int kValues[kFacts] = {20, 12, 20, 20, 12, 24, 24, 24, 24,
                                 24, 24, 12, 12, 20, 24, 24, 12};

constexpr std::array<int, kFacts + 1> Offsets() {
  std::array<int, kFacts + 1> offsets = {};
  for (int i = 0; i < kFacts; ++i) offsets[i + 1] = offsets[i] + kValues[i];
  return offsets;
}
constexpr std::array<int, kFacts + 1> kOffsets = Offsets();
int KindAndTouches(const SegmentHistory& history) {
  return 4 * static_cast<int>(history.kind) +
         std::min<int>(history.touches, 4) - 1;
}

// Hints are believed at first, and may turn out to mean the opposite: an ending
// makes a return 150 times less likely, the others 3 times more likely.
constexpr float kEndedLogit = -5.0f;
constexpr float kWantedLogit = 1.0f;
constexpr float kHintVariance = 1.0f;

// What came back once comes back again more often than what never did: this
// much on the logit, four times the odds.
constexpr float kReturnedLogit = 1.4f;
constexpr float kReturnedVariance = 0.1f;

constexpr int kHintRows = 2 * kReuseKinds;  // Of one owner.

}  // namespace

void DescribeKind(const SegmentHistory& history, SegmentFeatures& features) {
  features[kKindAndTouches] = static_cast<uint16_t>(kOffsets[kKindAndTouches] +
                                                    KindAndTouches(history));
}

void NoteAnswer(uint32_t tokens, SegmentHistory& history,
                SegmentFeatures& features) {
  const int bin = std::min(1 + HalfOctaves(tokens), kValues[kAnswer] - 1);
  history.answer = static_cast<uint8_t>(bin);
  features[kAnswer] = static_cast<uint16_t>(kOffsets[kAnswer] + bin);
}

void SegmentHistory::NoteReturn(double now) {
  const int bin = GapBin(now - touched);
  gap_bin = static_cast<uint8_t>(bin);
  gap_bin_mean = gap_bin_mean == 0
                     ? static_cast<float>(bin)
                     : (gap_bin_mean + static_cast<float>(bin)) / 2;
  previous_answer = answer;
  answer = 0;
  if (touches < UINT16_MAX) ++touches;
  touched = now;
}

void SegmentHistory::NoteRepeat() {
  if (repeats < UINT16_MAX) ++repeats;
}

void SegmentHistory::InheritFrom(const SegmentHistory& above) {
  born = above.born;
  gap_bin = above.gap_bin;
  gap_bin_mean = above.gap_bin_mean;
  previous_answer = above.answer > 0 ? above.answer : above.previous_answer;
  repeats = above.repeats;
  turn = above.turn < UINT16_MAX ? above.turn + 1 : above.turn;
}

size_t SegmentFeatureCount() {
  return kOffsets[kFacts] + kOwnerSlots * kHintRows;
}

uint16_t HintFeature(uint32_t owner_slot, Reuse reuse, bool is_shared) {
  return static_cast<uint16_t>(kOffsets[kFacts] + owner_slot * kHintRows +
                               2 * static_cast<int>(reuse) +
                               (is_shared ? 1 : 0));
}

void SetPriors(HazardModel& model) {
  // An answer that is not told may still be on its way: nobody returns before
  // it is complete, which says nothing of the time after.
  model.Silence(static_cast<uint16_t>(kOffsets[kAnswer]));
  for (int touches = 2; touches < kValues[kTouches]; ++touches) {
    model.SetPrior(static_cast<uint16_t>(kOffsets[kTouches] + touches),
                   kReturnedLogit, kReturnedVariance);
  }
  for (uint32_t slot = 0; slot < kOwnerSlots; ++slot) {
    for (const bool is_shared : {false, true}) {
      // Somebody else's ending says nothing of what others share.
      model.SetPrior(HintFeature(slot, Reuse::kEnded, is_shared),
                     is_shared ? 0 : kEndedLogit, kHintVariance);
      model.SetPrior(HintFeature(slot, Reuse::kExpected, is_shared),
                     kWantedLogit, kHintVariance);
      model.SetPrior(HintFeature(slot, Reuse::kKeep, is_shared), kWantedLogit,
                     kHintVariance);
    }
  }
}

SegmentFeatures Describe(const SegmentHistory& history,
                         const PromptShape& prompt, uint32_t below,
                         double now) {
  const uint32_t fresh = prompt.blocks - std::min(prompt.blocks, prompt.known);
  const int mean = static_cast<int>(std::lround(history.gap_bin_mean));
  const int values[kFacts] = {
      KindAndTouches(history),
      SmallCount(history.touches),
      (history.gap_bin + 1) / 2,
      (mean + 1) / 2,
      SmallCount(history.turn),
      HalfOctaves(prompt.blocks),
      HalfOctaves(fresh),
      HalfOctaves(prompt.known),
      HalfOctaves(prompt.left),
      HalfOctaves(history.depth),
      HalfOctaves(history.length),
      SmallCount(below),
      SmallCount(history.forks),
      now > history.born ? 1 + HazardModel::BinOf(now - history.born) / 2 : 0,
      history.answer,
      history.previous_answer,
      SmallCount(history.repeats)};
  SegmentFeatures features;
  for (int i = 0; i < kFacts; ++i) {
    features[i] = static_cast<uint16_t>(
        kOffsets[i] + std::clamp(values[i], 0, kValues[i] - 1));
  }
  features[kFacts] = HintFeature(0, Reuse::kUnknown, false);
  return features;
}

}  // namespace banyan::tiers
