// Learns from what happened how likely a segment of a chain is asked for again
// at each age: its hazard. A logistic model per bin of age, learned online.
//
//   logit P(return in bin b | none before) =
//       base(b) + sum over features f of shared[f] + curve[f](b)
//
// A curve is linear between knots, so that neighbouring ages teach each other.
// The base has a value for each bin, because what all segments share may end
// as suddenly as a time limit does; its values are correlated, the more the
// closer two bins are, so that ages nobody has lived to follow those before
// them (a Gaussian process with an exponential kernel).
// Each weight is kept as a normal distribution with its own variance (assumed
// density filtering): what is well known moves little, what is new moves far.
//
// Domain:  bins are half octaves of age from kFirstAgeSeconds; the last is open.
// Threads: not thread-safe.
// Cost:    about 150 ns an example; 136 bytes a row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::tiers {

inline constexpr int kSegmentFeatures = 17;

// One row of the model for each feature of a segment.
using SegmentFeatures = std::array<uint16_t, kSegmentFeatures>;

class HazardModel {
 public:
  static constexpr int kBins = 30;
  static constexpr double kFirstAgeSeconds = 4;

  static constexpr int kLanes = 32;  // Bins, and some that mean nothing.

  using Lanes = std::array<float, kLanes>;
  using Hazards = Lanes;  // By bin.

  explicit HazardModel(size_t rows);

  // Age at which bin `bin` ends; its successor begins there.
  static double BinEndSeconds(int bin) { return kBinEnds[bin]; }
  static int BinOf(double age_seconds);
  // The age at which the part of its bin ends that this age lies in, of `parts`
  // equal ones. Parts of the last bin go on for ever.
  static double PartEndSeconds(double age_seconds, int parts);

  // A segment with these features lived through `bin`, or was asked for again
  // in it. `weight` > 0 counts as so many examples.
  void Learn(const SegmentFeatures& features, int bin, bool is_return,
             float weight);

  // P(return in bin | none before), for the bins from `from_bin` on.
  void Predict(const SegmentFeatures& features, int from_bin,
               Hazards& hazards) const;

  // Where the shared weight of a row starts, and how far it may be from there.
  void SetPrior(uint16_t row, float weight, float variance) {
    rows_[row].shared = {.mean = weight, .variance = variance};
  }

  // The row says nothing, and never will.
  void Silence(uint16_t row);

  size_t memory_bytes() const { return rows_.capacity() * sizeof(Row); }

 private:
  static constexpr int kKnotBins = 2;  // One octave.
  static constexpr int kKnots = kBins / kKnotBins + 1;

  struct Weight {
    float mean = 0;
    float variance = 0;
  };
  // Means and variances apart, so that rows are added up many knots at a time.
  struct Row {
    Weight shared;
    std::array<float, kKnots> curve_mean;
    std::array<float, kKnots> curve_variance;
    void MoveKnot(int knot, float x, float step, float shrink);
  };
  struct Base {
    Lanes mean;
    std::array<Lanes, kLanes> covariance;
    void Move(int bin, float step, float shrink);
  };
  static const std::array<double, kBins> kBinEnds;

  Base base_;
  std::vector<Row> rows_;
};

// The best hit density ahead of a segment of age `age_seconds`: the largest,
// over all horizons, of (chance of a return by then) / (seconds held until
// then, on average). Gittins' index of the hazard.
double BestDensity(const HazardModel::Hazards& hazards, double age_seconds);

}  // namespace banyan::tiers
