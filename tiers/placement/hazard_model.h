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
// Cost:    about 150 ns an example; 144 bytes a row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::tiers {

inline constexpr int kSegmentFeatures = 18;

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
  static double BinBeginSeconds(int bin) {
    return bin == 0 ? 0 : kBinEnds[bin - 1];
  }
  static int BinOf(double age_seconds);

  // A segment with these features lived through `bin`, or was asked for again
  // in it. `weight` > 0 counts as so many examples.
  void Learn(const SegmentFeatures& features, int bin, bool is_return,
             float weight);

  // P(return in bin | none before), for the bins from `from_bin` on.
  void Predict(const SegmentFeatures& features, int from_bin,
               Hazards& hazards) const;

  // Where the shared weight of a row starts, and how far it may be from there.
  void SetPrior(uint16_t row, float weight, float variance) {
    shared_[row].weight = {.mean = weight, .variance = variance};
  }

  // The row says nothing, and never will.
  void Silence(uint16_t row);

  size_t memory_bytes() const {
    return shared_.capacity() * sizeof(Shared) +
           curves_.capacity() * sizeof(Curve);
  }

 private:
  static constexpr int kKnotBins = 2;  // One octave.
  static constexpr int kKnots = kBins / kKnotBins + 1;

  struct Weight {
    float mean = 0;
    float variance = 0;
  };
  // As wide as two knots, so that both are moved in the same way.
  struct alignas(16) Shared {
    Weight weight;
    Weight nothing;
  };
  // Two cache lines, of which an example needs one or both, and a prediction
  // adds up all.
  struct alignas(64) Curve {
    std::array<Weight, kKnots> knots;
  };
  // The covariance as it was before the last examples, which were all of one
  // bin: they moved along one direction, its row of the covariance. So its
  // 960 elements are only moved once for all of them:
  //   covariance - shrink * direction * direction^T
  struct Base {
    Lanes mean;
    std::array<Lanes, kLanes> covariance;
    int bin = 0;
    Lanes direction = {};
    float shrink = 0;
    float scale = 0;  // The row of the bin is now this times the direction.
    void GoTo(int to_bin);
    float variance() const { return scale * direction[bin]; }
    void Move(float step, float shrink_by);
  };
  static const std::array<double, kBins> kBinEnds;

  Base base_;
  // By row.
  std::vector<Shared> shared_;
  std::vector<Curve> curves_;
};

// What is ahead of a few segments, each with its hazards from its age on.
struct Outlook {
  static constexpr int kSegmentsMax = 4;
  std::array<HazardModel::Hazards, kSegmentsMax> hazards;
  std::array<double, kSegmentsMax> age_seconds;
};

// The best hit density ahead of each of the first `count` segments: the largest,
// over all horizons, of (chance of a return by then) / (seconds held until
// then, on average). Gittins' index of the hazard. Those behind them are 0.
std::array<float, Outlook::kSegmentsMax> BestDensities(const Outlook& outlook,
                                                       int count);

}  // namespace banyan::tiers
