#include "tiers/placement/hazard_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

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

// e to the power of z, to six digits; without a call or a branch, so that many are
// computed at once.
[[gnu::always_inline]] inline float FastExp(float z) {
  constexpr float kLog2E = 1.44269504f;
  // In this order a NaN becomes a bound.
  const float power = std::min(126.0f, std::max(-126.0f, z * kLog2E));
  const int whole = static_cast<int>(power + 127.5f) - 127;  // Nearest.
  // e^x around 0: Taylor's series, |x| below 0.35.
  const float x = (power - static_cast<float>(whole)) * 0.693147181f;
  const float part =
      1 + x * (1 + x * (0.5f + x * (1.0f / 6 + x * (1.0f / 24 + x / 120))));
  return part * std::bit_cast<float>((whole + 127) << 23);
}

using Lanes = HazardModel::Lanes;
using Covariance = std::array<Lanes, HazardModel::kLanes>;

// With the same results on every processor: no lane depends on another.
[[gnu::always_inline]] inline void Sigmoids(const Lanes& logits, int from,
                                            Lanes& to) {
  for (int i = from / 8 * 8; i < HazardModel::kLanes; ++i) {
    to[i] = 1 / (1 + FastExp(-logits[i]));
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
[[gnu::target("avx2")]] void SigmoidsAvx2(const Lanes& logits, int from,
                                          Lanes& to) {
  Sigmoids(logits, from, to);
}
[[gnu::target("avx2")]] void SubtractOuterAvx2(const Lanes& with, float factor,
                                               Covariance& matrix) {
  SubtractOuter(with, factor, matrix);
}
#endif

// The factor of a weight in the logit is `x`.
inline void MoveWeight(float& mean, float& variance, float x, float step,
                       float shrink) {
  mean += x * variance * step;
  variance *= 1 - x * x * variance * shrink;
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

HazardModel::HazardModel(size_t rows) : base_{}, rows_(rows) {
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
  for (Row& row : rows_) {
    row.shared.variance = kSharedVariance;
    row.curve_variance.fill(kCurveVariance);
  }
}

void HazardModel::Silence(uint16_t row) {
  rows_[row].shared.variance = 0;
  rows_[row].curve_variance.fill(0);
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

double HazardModel::PartEndSeconds(double age_seconds, int parts) {
  const double age = std::max(0.0, age_seconds);
  const int bin = BinOf(age);
  const double begin = bin == 0 ? 0 : kBinEnds[bin - 1];
  const double part = (kBinEnds[bin] - begin) / parts;
  return begin + part * (1 + std::floor((age - begin) / part));
}

void HazardModel::Base::Move(int bin, float step, float shrink) {
  const Lanes with = covariance[bin];
  for (int i = 0; i < kLanes; ++i) mean[i] += with[i] * step;
#if defined(__x86_64__)
  if (HasAvx2()) return SubtractOuterAvx2(with, shrink, covariance);
#endif
  SubtractOuter(with, shrink, covariance);
}

void HazardModel::Row::MoveKnot(int knot, float x, float step, float shrink) {
  MoveWeight(curve_mean[knot], curve_variance[knot], x, step, shrink);
}

void HazardModel::Learn(const SegmentFeatures& features, int bin,
                        bool is_return, float weight) {
  const int knot = bin / kKnotBins;
  const float right = static_cast<float>(bin % kKnotBins) / kKnotBins;
  const float left = 1 - right;
  float logit = base_.mean[bin];
  float variance = base_.covariance[bin][bin];
  for (const uint16_t i : features) {
    const Row& row = rows_[i];
    logit += row.shared.mean + left * row.curve_mean[knot] +
             right * row.curve_mean[knot + 1];
    variance += row.shared.variance + left * left * row.curve_variance[knot] +
                right * right * row.curve_variance[knot + 1];
  }
  const float p = Sigmoid(logit);
  const float curvature = weight * p * (1 - p);
  const float scale = 1 / (1 + curvature * variance);
  const float step = weight * ((is_return ? 1.0f : 0.0f) - p) * scale;
  const float shrink = curvature * scale;
  base_.Move(bin, step, shrink);
  for (const uint16_t i : features) {
    Row& row = rows_[i];
    MoveWeight(row.shared.mean, row.shared.variance, 1, step, shrink);
    row.MoveKnot(knot, left, step, shrink);
    row.MoveKnot(knot + 1, right, step, shrink);
  }
}

void HazardModel::Predict(const SegmentFeatures& features, int from_bin,
                          Hazards& hazards) const {
  float shared = 0;
  std::array<float, kKnots> knots = {};
  for (const uint16_t i : features) {
    const Row& row = rows_[i];
    shared += row.shared.mean;
    for (int k = 0; k < kKnots; ++k) knots[k] += row.curve_mean[k];
  }
  Lanes logits = {};
  for (int k = 0; k < kKnots - 1; ++k) {
    logits[2 * k] = base_.mean[2 * k] + shared + knots[k];
    logits[2 * k + 1] =
        base_.mean[2 * k + 1] + shared + 0.5f * (knots[k] + knots[k + 1]);
  }
#if defined(__x86_64__)
  if (HasAvx2()) return SigmoidsAvx2(logits, from_bin, hazards);
#endif
  Sigmoids(logits, from_bin, hazards);
}

double BestDensity(const HazardModel::Hazards& hazards, double age_seconds) {
  const int first = HazardModel::BinOf(age_seconds);
  double stays = 1;         // Chance of no return so far.
  double held = 0;          // Seconds, on average.
  double best_returns = 0;  // Their ratio is the best so far.
  double best_held = 1;
  const auto live_through = [&](double seconds, double returns) {
    held += stays * (1 - returns / 2) * seconds;
    stays *= 1 - returns;
    if ((1 - stays) * best_held > best_returns * held) {
      best_returns = 1 - stays;
      best_held = held;
    }
  };
  const auto begin_of = [](int bin) {
    return bin == 0 ? 0 : HazardModel::BinEndSeconds(bin - 1);
  };
  // The rest of the first bin. The last one has no end: it is taken to be as wide
  // as it is far.
  const double end =
      std::max(HazardModel::BinEndSeconds(first), age_seconds * 1.0001);
  live_through(end - age_seconds, static_cast<double>(hazards[first]) *
                                      (end - age_seconds) /
                                      (end - begin_of(first)));
  for (int bin = first + 1; bin < HazardModel::kBins; ++bin) {
    live_through(HazardModel::BinEndSeconds(bin) - begin_of(bin),
                 static_cast<double>(hazards[bin]));
  }
  return best_returns / best_held;
}

}  // namespace banyan::tiers
