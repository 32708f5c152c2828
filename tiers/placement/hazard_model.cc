#include "tiers/placement/hazard_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace banyan::tiers {
namespace {

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

HazardModel::HazardModel(size_t rows) : rows_(rows) {
  base_.mean.fill(kBaseLogit);
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
    for (Weight& weight : row.curve) weight.variance = kCurveVariance;
  }
}

void HazardModel::Silence(uint16_t row) {
  rows_[row].shared.variance = 0;
  for (Weight& weight : rows_[row].curve) weight.variance = 0;
}

int HazardModel::BinOf(double age_seconds) {
  if (!(age_seconds >= kFirstAgeSeconds)) return 0;
  const double bin = 1 + 2 * std::log2(age_seconds / kFirstAgeSeconds);
  return static_cast<int>(std::min<double>(bin, kBins - 1));
}

double HazardModel::PartEndSeconds(double age_seconds, int parts) {
  const double age = std::max(0.0, age_seconds);
  const int bin = BinOf(age);
  const double begin = bin == 0 ? 0 : kBinEnds[bin - 1];
  const double part = (kBinEnds[bin] - begin) / parts;
  return begin + part * (1 + std::floor((age - begin) / part));
}

void HazardModel::Base::Move(int bin, float step, float shrink) {
  const std::array<float, kBins> with = covariance[bin];
  for (int i = 0; i < kBins; ++i) {
    mean[i] += with[i] * step;
    const float part = with[i] * shrink;
    for (int j = 0; j < kBins; ++j) covariance[i][j] -= part * with[j];
  }
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
    logit += row.shared.mean + left * row.curve[knot].mean +
             right * row.curve[knot + 1].mean;
    variance += row.shared.variance + left * left * row.curve[knot].variance +
                right * right * row.curve[knot + 1].variance;
  }
  const float p = Sigmoid(logit);
  const float curvature = weight * p * (1 - p);
  const float scale = 1 / (1 + curvature * variance);
  const float step = weight * ((is_return ? 1.0f : 0.0f) - p) * scale;
  const float shrink = curvature * scale;
  base_.Move(bin, step, shrink);
  for (const uint16_t i : features) {
    Row& row = rows_[i];
    row.shared.Move(1, step, shrink);
    row.curve[knot].Move(left, step, shrink);
    row.curve[knot + 1].Move(right, step, shrink);
  }
}

void HazardModel::Predict(const SegmentFeatures& features, int from_bin,
                          Hazards& hazards) const {
  float shared = 0;
  std::array<float, kKnots> knots = {};
  for (const uint16_t i : features) {
    const Row& row = rows_[i];
    shared += row.shared.mean;
    for (int k = 0; k < kKnots; ++k) knots[k] += row.curve[k].mean;
  }
  for (int bin = from_bin; bin < kBins; ++bin) {
    const int k = bin / kKnotBins;
    const float right = static_cast<float>(bin % kKnotBins) / kKnotBins;
    hazards[bin] = Sigmoid(base_.mean[bin] + shared + knots[k] +
                           right * (knots[k + 1] - knots[k]));
  }
}

double BestDensity(const HazardModel::Hazards& hazards, double age_seconds) {
  double begin = age_seconds;
  double stays = 1;  // Chance of no return so far.
  double held = 0;   // Seconds, on average.
  double best = 0;
  for (int bin = HazardModel::BinOf(age_seconds); bin < HazardModel::kBins;
       ++bin) {
    // The last bin has no end: it is taken to be as wide as it is far.
    const double end =
        std::max(HazardModel::BinEndSeconds(bin), begin * 1.0001);
    const double width =
        end - (bin == 0 ? 0 : HazardModel::BinEndSeconds(bin - 1));
    const double returns =
        (end - begin) / width * static_cast<double>(hazards[bin]);
    held += stays * (1 - returns / 2) * (end - begin);
    stays *= 1 - returns;
    best = std::max(best, (1 - stays) / held);
    begin = end;
  }
  return best;
}

}  // namespace banyan::tiers
