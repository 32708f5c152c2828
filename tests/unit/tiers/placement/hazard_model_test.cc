// The model learns hazards that it is shown, and the index is Gittins'.
//
// Method: (1) segments live by known hazards, drawn at random, and what is
// predicted is compared with what was drawn from; (2) the index is compared
// with a search over all horizons of a simulation in small steps, and with
// cases that have a closed form.
#include "tiers/placement/hazard_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace banyan::tiers {
namespace {

SegmentFeatures Features(uint16_t first) {
  SegmentFeatures features;
  for (int i = 0; i < kSegmentFeatures; ++i) {
    features[i] = static_cast<uint16_t>(first + i);
  }
  return features;
}

double BestDensity(const HazardModel::Hazards& hazards, double age_seconds) {
  Outlook outlook = {};
  outlook.hazards[0] = hazards;
  outlook.age_seconds[0] = age_seconds;
  return BestDensities(outlook, 1)[0];
}

TEST(HazardModelTest, BinsAreHalfOctaves) {
  EXPECT_EQ(HazardModel::BinOf(-1), 0);
  EXPECT_EQ(HazardModel::BinOf(0), 0);
  EXPECT_EQ(HazardModel::BinOf(NAN), 0);
  EXPECT_EQ(HazardModel::BinOf(1e30), HazardModel::kBins - 1);
  for (int bin = 0; bin + 1 < HazardModel::kBins; ++bin) {
    const double end = HazardModel::BinEndSeconds(bin);
    EXPECT_EQ(HazardModel::BinOf(end * 0.9999), bin);
    EXPECT_EQ(HazardModel::BinOf(end * 1.0001), bin + 1);
    EXPECT_NEAR(HazardModel::BinEndSeconds(bin + 1) / end, std::sqrt(2), 1e-9);
  }
}

TEST(HazardModelTest, UnlearnedItRanksByAgeAlone) {
  const HazardModel model(100);
  HazardModel::Hazards hazards;
  double last = INFINITY;
  for (double age = 0.6; age < 10000; age *= 1.3) {
    model.Predict(Features(0), HazardModel::BinOf(age), hazards);
    const double density = BestDensity(hazards, age);
    EXPECT_LE(density, last) << age;
    last = density;
  }
}

TEST(HazardModelTest, LearnsTheHazardsItIsShown) {
  // Two kinds of segments, one returns mostly around bin 8, one hardly ever.
  const auto truth = [](int kind, int bin) {
    // A peak with slopes as even as curves can be.
    const double logit =
        kind == 0 ? -4 + std::max(0.0, 4 - std::abs(bin - 8.0)) : -4;
    return 1 / (1 + std::exp(-logit));
  };
  HazardModel model(100);
  std::mt19937_64 rng(2);
  std::uniform_real_distribution<double> uniform;
  for (int life = 0; life < 6000; ++life) {
    const int kind = life % 2;
    for (int bin = 0; bin < 16; ++bin) {
      const bool is_return = uniform(rng) < truth(kind, bin);
      model.Learn(Features(kind == 0 ? 0 : 50), bin, is_return, 1);
      if (is_return) break;
    }
  }
  HazardModel::Hazards hazards;
  model.Predict(Features(0), 0, hazards);
  EXPECT_NEAR(hazards[2], 0.018, 0.01);
  EXPECT_NEAR(hazards[8], 0.5, 0.07);
  model.Predict(Features(50), 0, hazards);
  EXPECT_NEAR(hazards[2], 0.018, 0.01);
  EXPECT_NEAR(hazards[8], 0.018, 0.01);
}

TEST(HazardModelTest, LearnsThatReturnsEndAtOnce) {
  // Half of what is left returns in each bin up to 13, and nothing after it.
  HazardModel model(100);
  std::mt19937_64 rng(2);
  for (int life = 0; life < 3000; ++life) {
    for (int bin = 0; bin < 18; ++bin) {
      const bool is_return = bin <= 13 && rng() % 2 == 0;
      model.Learn(Features(0), bin, is_return, 1);
      if (is_return) break;
    }
    // A few live long enough to tell.
    if (life % 10 == 0) {
      for (int bin = 10; bin < 18; ++bin) {
        model.Learn(Features(0), bin, bin == 13, 1);
      }
    }
  }
  HazardModel::Hazards hazards;
  model.Predict(Features(0), 0, hazards);
  EXPECT_GT(hazards[8], 0.3);
  EXPECT_GT(hazards[13], 0.5);
  EXPECT_LT(hazards[14], 0.15);
  // Ages that nobody has lived to follow those before them.
  EXPECT_LT(hazards[20], hazards[8] / 2);
}

TEST(HazardModelTest, APriorHoldsUntilItIsRefuted) {
  HazardModel model(100);
  model.SetPrior(3, -5, 1);
  HazardModel::Hazards hazards;
  model.Predict(Features(0), 0, hazards);
  EXPECT_LT(hazards[4], 0.001f);

  for (int i = 0; i < 60; ++i) model.Learn(Features(0), 4, true, 1);

  model.Predict(Features(0), 0, hazards);
  EXPECT_GT(hazards[4], 0.3f);
}

TEST(HazardModelTest, RunsOfOneBinTeachAsSingleExamplesDo) {
  HazardModel runs(100);
  HazardModel singles(100);
  std::mt19937_64 rng(11);
  for (int run = 0; run < 100; ++run) {
    const int bin = static_cast<int>(rng() % HazardModel::kBins);
    for (int i = 0; i < 8; ++i) {
      const SegmentFeatures features = Features(rng() % 80);
      const bool is_return = rng() % 3 == 0;
      runs.Learn(features, bin, is_return, 0.2f);
      singles.Learn(features, bin, is_return, 0.2f);
      // Ends the run, and teaches nothing.
      singles.Learn(features, (bin + 1) % HazardModel::kBins, false, 1e-30f);
    }
  }
  HazardModel::Hazards of_runs;
  HazardModel::Hazards of_singles;
  runs.Predict(Features(20), 0, of_runs);
  singles.Predict(Features(20), 0, of_singles);
  for (int bin = 0; bin < HazardModel::kBins; ++bin) {
    EXPECT_NEAR(of_runs[bin] / of_singles[bin], 1, 1e-3) << bin;
  }
}

TEST(HazardModelTest, LaterBinsArePredictedAlone) {
  HazardModel model(100);
  std::mt19937_64 rng(12);
  for (int i = 0; i < 300; ++i) {
    model.Learn(Features(rng() % 80), static_cast<int>(rng() % 30),
                rng() % 4 == 0, 1);
  }
  HazardModel::Hazards all;
  model.Predict(Features(9), 0, all);
  for (int from = 0; from < HazardModel::kBins; ++from) {
    HazardModel::Hazards some = {};
    model.Predict(Features(9), from, some);
    for (int bin = from; bin < HazardModel::kBins; ++bin) {
      EXPECT_EQ(some[bin], all[bin]) << from << " " << bin;
    }
  }
}

TEST(HazardModelTest, ASilencedRowNeverSaysAnything) {
  HazardModel model(100);
  model.Silence(3);
  SegmentFeatures features = Features(50);
  features[3] = 3;
  for (int i = 0; i < 200; ++i) model.Learn(features, 4, true, 1);
  HazardModel::Hazards silenced;
  HazardModel::Hazards unlearned;
  model.Predict(features, 0, silenced);
  EXPECT_GT(silenced[4], 0.5f) << "the others have learned";
  features[3] = 99;
  model.Predict(features, 0, unlearned);
  EXPECT_EQ(silenced, unlearned);
}

TEST(BestDensityTest, OneSureReturnIsWorthItsWait) {
  // Comes in bin 10 for sure, so it is held until the middle of it on average.
  HazardModel::Hazards hazards = {};
  hazards[10] = 1;
  const double begin = HazardModel::BinEndSeconds(9);
  const double end = HazardModel::BinEndSeconds(10);
  for (const double age : {0.0, 0.7, 5.0}) {
    EXPECT_NEAR(BestDensity(hazards, age), 1 / ((begin + end) / 2 - age), 1e-6);
  }
  EXPECT_EQ(BestDensity(hazards, end * 1.001), 0);
}

TEST(BestDensityTest, IsTheBestOverAllHorizons) {
  std::mt19937_64 rng(6);
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 200; ++round) {
    HazardModel::Hazards hazards;
    for (float& hazard : hazards) {
      hazard = static_cast<float>(std::pow(uniform(rng), 4));
    }
    const int first = static_cast<int>(rng() % 20);
    // Starts where a bin does, so that bins can be taken whole.
    const double age =
        first == 0 ? 0 : HazardModel::BinEndSeconds(first - 1) * (1 + 1e-9);
    double best = 0;
    for (int last = first; last < HazardModel::kBins; ++last) {
      double stays = 1;
      double held = 0;
      double at = age;
      for (int bin = first; bin <= last; ++bin) {
        const double width = HazardModel::BinEndSeconds(bin) - at;
        held += stays * width * (1 - hazards[bin] / 2.0);
        stays *= 1 - hazards[bin];
        at = HazardModel::BinEndSeconds(bin);
      }
      best = std::max(best, (1 - stays) / held);
    }
    EXPECT_NEAR(BestDensity(hazards, age) / best, 1, 1e-4) << round;
  }
}

TEST(BestDensitiesTest, SegmentsDoNotMatterToOneAnother) {
  std::mt19937_64 rng(7);
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 200; ++round) {
    const int count = 1 + round % Outlook::kSegmentsMax;
    Outlook outlook = {};
    for (int i = 0; i < count; ++i) {
      outlook.age_seconds[i] = std::exp2(20 * uniform(rng)) - 1;
      for (float& hazard : outlook.hazards[i]) {
        hazard = static_cast<float>(std::pow(uniform(rng), 4));
      }
    }
    const auto together = BestDensities(outlook, count);
    for (int i = 0; i < count; ++i) {
      const double alone =
          BestDensity(outlook.hazards[i], outlook.age_seconds[i]);
      EXPECT_GT(alone, 0);
      EXPECT_NEAR(together[i] / alone, 1, 1e-6) << round << " " << i;
    }
    for (int i = count; i < Outlook::kSegmentsMax; ++i) {
      EXPECT_EQ(together[i], 0);
    }
  }
}

}  // namespace
}  // namespace banyan::tiers
