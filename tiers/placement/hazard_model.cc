#include "tiers/placement/hazard_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace banyan::tiers {
namespace {

constexpr int kFirstAgeExponent = 2;
static_assert(HazardModel::kFirstAgeSeconds == 1 << kFirstAgeExponent);

// What a model knows before it has learned: the hazard falls with the square root
// of age up to half a minute, and then as 1 / age, which ranks as LRU does: half
// an octave brings one return in twenty.
constexpr float kBaseLogit = -3.0f;
constexpr int kYoungBins = 6;
constexpr double kYoungFall = 0.5;

// How far weights may be from there (docs/eviction.md): the base by a sixth of a
// unit at all ages and by 0.7 at one, of which bins two octaves apart share a
// third; one feature by a third of a unit, its curve by a tenth at each knot.
constexpr float kBaseLevelVariance = 0.03f;
constexpr float kBaseVariance = 0.5f;
constexpr float kBaseBins = 4;
constexpr float kSharedVariance = 0.1f;
constexpr float kCurveVariance = 0.01f;

float Sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

using Lanes = HazardModel::Lanes;
using Covariance = std::array<Lanes, HazardModel::kLanes>;

// Numbers that are computed at once. With the same results on every processor: no
// lane depends on another.
typedef float Floats4 __attribute__((vector_size(16)));
typedef int Ints4 __attribute__((vector_size(16)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef int Ints8 __attribute__((vector_size(32)));
constexpr int kWidth = 8;  // Of Floats8.

// z becomes 1 / (1 + e^-z), to six digits.
[[gnu::always_inline]] inline void ToSigmoids(Floats8& z) {
  constexpr float kLog2E = 1.44269504f;
  Floats8 power = z * -kLog2E;
  // In this order a NaN becomes a bound.
  power = power > -126.0f ? power : Floats8{} - 126.0f;
  power = power < 126.0f ? power : Floats8{} + 126.0f;
  const Ints8 whole = __builtin_convertvector(power + 127.5f, Ints8) - 127;
  // e^x around 0: Taylor's series, |x| below 0.35.
  const Floats8 x =
      (power - __builtin_convertvector(whole, Floats8)) * 0.693147181f;
  const Floats8 part =
      1 + x * (1 + x * (0.5f +
                        x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120)))));
  const Ints8 bits = (whole + 127) << 23;
  Floats8 scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  z = 1 / (1 + part * scale);
}

// P(return) in each bin from kFrom on. A curve is linear between its knots, of
// which each lies where an even bin does.
template <int kFrom, typename Curve>
[[gnu::always_inline]] inline void PredictFrom(const SegmentFeatures& features,
                                               const Curve* curves,
                                               const Lanes& base, float shared,
                                               Lanes& hazards) {
  constexpr int kVectors = HazardModel::kLanes / kWidth;
  static_assert(sizeof(Curve) == kVectors * sizeof(Floats8));
  // Means of the knots in even lanes. In odd ones their variances, unused.
  Floats8 sums[kVectors + 1] = {};
  for (const uint16_t i : features) {
    const auto* bytes = reinterpret_cast<const char*>(curves + i);
    for (int v = kFrom / kWidth; v < kVectors; ++v) {
      Floats8 part;
      std::memcpy(&part, bytes + v * sizeof(part), sizeof(part));
      sums[v] += part;
    }
  }
  for (int v = kFrom / kWidth; v < kVectors; ++v) {
    // Half of each is its own in even lanes.
    const Floats8 left =
        __builtin_shufflevector(sums[v], sums[v], 0, 0, 2, 2, 4, 4, 6, 6);
    const Floats8 right =
        __builtin_shufflevector(sums[v], sums[v + 1], 0, 2, 2, 4, 4, 6, 6, 8);
    Floats8 logits;
    std::memcpy(&logits, base.data() + v * kWidth, sizeof(logits));
    logits += shared + 0.5f * (left + right);
    ToSigmoids(logits);
    std::memcpy(hazards.data() + v * kWidth, &logits, sizeof(logits));
  }
}

template <typename Curve>
[[gnu::always_inline]] inline void PredictBins(const SegmentFeatures& features,
                                               const Curve* curves,
                                               const Lanes& base, float shared,
                                               int from, Lanes& hazards) {
  switch (from / kWidth) {
    case 0:
      return PredictFrom<0>(features, curves, base, shared, hazards);
    case 1:
      return PredictFrom<kWidth>(features, curves, base, shared, hazards);
    case 2:
      return PredictFrom<2 * kWidth>(features, curves, base, shared, hazards);
    default:
      return PredictFrom<3 * kWidth>(features, curves, base, shared, hazards);
  }
}

// matrix -= factor * with * with^T
[[gnu::always_inline]] inline void SubtractOuter(const Lanes& with,
                                                 float factor,
                                                 Covariance& matrix) {
  for (int i = 0; i < HazardModel::kBins; ++i) {
    const float part = with[i] * factor;
    for (int j = 0; j < HazardModel::kLanes; ++j) {
      matrix[i][j] -= part * with[j];
    }
  }
}

#if defined(__x86_64__)
bool HasAvx2() {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  return has_avx2;
}
template <typename Curve>
[[gnu::target("avx2")]] void PredictBinsAvx2(const SegmentFeatures& features,
                                             const Curve* curves,
                                             const Lanes& base, float shared,
                                             int from, Lanes& hazards) {
  PredictBins(features, curves, base, shared, from, hazards);
}
[[gnu::target("avx2")]] void SubtractOuterAvx2(const Lanes& with, float factor,
                                               Covariance& matrix) {
  SubtractOuter(with, factor, matrix);
}
#endif

// Means and variances of two weights, whose factors in the logit are known: what
// they and their squares are, in the same order.
template <typename Weight>
Floats4 LoadTwo(const Weight& first) {
  Floats4 two;
  static_assert(2 * sizeof(Weight) == sizeof(two));
  std::memcpy(&two, &first, sizeof(two));
  return two;
}

// mean += x * variance * step, variance *= 1 - x^2 * variance * shrink, where
// `factors` has x and x^2, `moves` has step and shrink.
template <typename Weight>
void MoveTwo(Floats4 factors, Floats4 moves, Weight& first) {
  constexpr Ints4 kIsMean = {-1, 0, -1, 0};
  const Floats4 weights = LoadTwo(first);
  const Floats4 variances =
      __builtin_shufflevector(weights, weights, 1, 1, 3, 3);
  const Floats4 change = factors * variances * moves;
  const Floats4 moved = kIsMean ? weights + change : weights * (1 - change);
  std::memcpy(&first.mean, &moved, sizeof(moved));
}

using BinSeconds = std::array<float, HazardModel::kBins>;
BinSeconds MakeBinSeconds() {
  BinSeconds seconds;
  for (int bin = 0; bin < HazardModel::kBins; ++bin) {
    seconds[bin] = static_cast<float>(HazardModel::BinEndSeconds(bin) -
                                      HazardModel::BinBeginSeconds(bin));
  }
  return seconds;
}

std::array<double, HazardModel::kBins> MakeBinEnds() {
  std::array<double, HazardModel::kBins> ends;
  for (int bin = 0; bin < HazardModel::kBins; ++bin) {
    ends[bin] = HazardModel::kFirstAgeSeconds * std::exp2(0.5 * bin);
  }
  return ends;
}

}  // namespace

const std::array<double, HazardModel::kBins> HazardModel::kBinEnds =
    MakeBinEnds();

namespace {
const BinSeconds kBinSeconds = MakeBinSeconds();
}  // namespace

HazardModel::HazardModel(size_t rows) : base_{}, shared_(rows), curves_(rows) {
  std::fill_n(base_.mean.begin(), kBins, kBaseLogit);
  for (int bin = 0; bin < kYoungBins; ++bin) {
    const double seconds = kBinEnds[bin] - (bin == 0 ? 0 : kBinEnds[bin - 1]);
    const double old_seconds = kBinEnds[kYoungBins] - kBinEnds[kYoungBins - 1];
    const double hazard_ratio =
        std::pow(kBinEnds[kYoungBins] / kBinEnds[bin], kYoungFall);
    base_.mean[bin] +=
        static_cast<float>(std::log(hazard_ratio * seconds / old_seconds));
  }
  for (int i = 0; i < kBins; ++i) {
    for (int j = 0; j < kBins; ++j) {
      const auto distance = static_cast<float>(std::abs(i - j));
      base_.covariance[i][j] =
          kBaseLevelVariance + kBaseVariance * std::exp(-distance / kBaseBins);
    }
  }
  base_.direction = base_.covariance[base_.bin];
  base_.scale = 1;
  for (Shared& shared : shared_) shared.weight.variance = kSharedVariance;
  for (Curve& curve : curves_) curve.knots.fill({.variance = kCurveVariance});
}

void HazardModel::Silence(uint16_t row) {
  shared_[row].weight.variance = 0;
  for (Weight& knot : curves_[row].knots) knot.variance = 0;
}

int HazardModel::BinOf(double age_seconds) {
  if (!(age_seconds >= kFirstAgeSeconds)) return 0;
  // Every other bin ends with an octave.
  const int octave =
      static_cast<int>(std::bit_cast<uint64_t>(age_seconds) >> 52) - 1023 -
      kFirstAgeExponent;
  const int bin = 1 + 2 * octave;
  if (bin >= kBins - 1) return kBins - 1;
  return age_seconds < kBinEnds[bin] ? bin : bin + 1;
}

void HazardModel::Base::GoTo(int to_bin) {
  if (bin == to_bin) return;
#if defined(__x86_64__)
  if (HasAvx2()) {
    SubtractOuterAvx2(direction, shrink, covariance);
  } else {
    SubtractOuter(direction, shrink, covariance);
  }
#else
  SubtractOuter(direction, shrink, covariance);
#endif
  bin = to_bin;
  direction = covariance[bin];
  shrink = 0;
  scale = 1;
}

void HazardModel::Base::Move(float step, float shrink_by) {
  for (int i = 0; i < kLanes; ++i) mean[i] += direction[i] * (scale * step);
  shrink += shrink_by * scale * scale;
  scale *= 1 - shrink_by * variance();
}

void HazardModel::Learn(const SegmentFeatures& features, int bin,
                        bool is_return, float weight) {
  const int knot = bin / kKnotBins;
  const float right = static_cast<float>(bin % kKnotBins) / kKnotBins;
  const float left = 1 - right;
  const Floats4 factors = {left, left * left, right, right * right};
  base_.GoTo(bin);
  // Logit and variance; of the curves, for the left and the right knots.
  Floats4 sums = {base_.mean[bin], base_.variance(), 0, 0};
  Floats4 curve_sums = {};
  for (const uint16_t i : features) {
    sums += LoadTwo(shared_[i].weight);
    curve_sums += factors * LoadTwo(curves_[i].knots[knot]);
  }
  sums += curve_sums;
  const float p = Sigmoid(sums[0] + sums[2]);
  const float variance = sums[1] + sums[3];
  const float curvature = weight * p * (1 - p);
  const float scale = 1 / (1 + curvature * variance);
  const float step = weight * ((is_return ? 1.0f : 0.0f) - p) * scale;
  const float shrink = curvature * scale;
  base_.Move(step, shrink);
  const Floats4 moves = {step, shrink, step, shrink};
  for (const uint16_t i : features) {
    MoveTwo(Floats4{1, 1, 0, 0}, moves, shared_[i].weight);
    MoveTwo(factors, moves, curves_[i].knots[knot]);
  }
}

void HazardModel::Predict(const SegmentFeatures& features, int from_bin,
                          Hazards& hazards) const {
  float shared = 0;
  for (const uint16_t i : features) shared += shared_[i].weight.mean;
#if defined(__x86_64__)
  if (HasAvx2()) {
    return PredictBinsAvx2(features, curves_.data(), base_.mean, shared,
                           from_bin, hazards);
  }
#endif
  PredictBins(features, curves_.data(), base_.mean, shared, from_bin, hazards);
}

std::array<float, Outlook::kSegmentsMax> BestDensities(const Outlook& outlook,
                                                       int count) {
  static_assert(sizeof(Floats4) == Outlook::kSegmentsMax * sizeof(float));
  // The rest of the bin that each is in. The last one has no end: it is taken to
  // be as wide as it is far.
  Ints4 firsts = Ints4{} + HazardModel::kBins;
  Floats4 first_chances = {};
  Floats4 first_seconds = {};
  int begin_bin = HazardModel::kBins;
  int whole_bins = 0;  // From here on none is in the middle of one.
  for (int i = 0; i < count; ++i) {
    const double age = outlook.age_seconds[i];
    const int bin = HazardModel::BinOf(age);
    const double begin = HazardModel::BinBeginSeconds(bin);
    const double end = std::max(HazardModel::BinEndSeconds(bin), age * 1.0001);
    firsts[i] = bin;
    first_seconds[i] = static_cast<float>(end - age);
    first_chances[i] = outlook.hazards[i][bin] *
                       static_cast<float>((end - age) / (end - begin));
    begin_bin = std::min(begin_bin, bin);
    whole_bins = std::max(whole_bins, bin + 1);
  }

  Floats4 stays = Floats4{} + 1;  // Chance of no return so far.
  Floats4 returns = {};           // Of one.
  Floats4 held = {};              // Seconds, on average.
  Floats4 best = {};
  const auto live_through = [&](const Floats4& chances,
                                const Floats4& seconds) {
    held += stays * (1 - chances / 2) * seconds;
    returns += stays * chances;
    stays *= 1 - chances;
    const Floats4 density = returns / held;
    best = density > best ? density : best;
  };
  const auto chances_in = [&](int bin) {
    return Floats4{outlook.hazards[0][bin], outlook.hazards[1][bin],
                   outlook.hazards[2][bin], outlook.hazards[3][bin]};
  };
  for (int bin = begin_bin; bin < whole_bins; ++bin) {
    const Floats4 seconds = Floats4{} + kBinSeconds[bin];
    const Floats4 none = {};
    live_through(firsts < bin    ? chances_in(bin)
                 : firsts == bin ? first_chances
                                 : none,
                 firsts < bin    ? seconds
                 : firsts == bin ? first_seconds
                                 : none);
  }
  for (int bin = whole_bins; bin < HazardModel::kBins; ++bin) {
    live_through(chances_in(bin), Floats4{} + kBinSeconds[bin]);
  }
  std::array<float, Outlook::kSegmentsMax> densities;
  std::memcpy(densities.data(), &best, sizeof(best));
  return densities;
}

}  // namespace banyan::tiers
