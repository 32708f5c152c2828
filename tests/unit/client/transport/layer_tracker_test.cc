// Goal: a layer is told of when, and only when, all leading blocks that still
// count have landed it; in order; and a cut is told of where it takes back what
// was told.
// Method: short scripts; then random ones against a naive model.
#include "client/transport/layer_tracker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace banyan::transport {
namespace {

// Writes down what it is told: "L<layer>x<blocks>", "C<blocks>".
class Recorder final : public LayerSink {
 public:
  void OnLayer(uint32_t layer, uint32_t blocks) override {
    absl::StrAppend(&text, "L", layer, "x", blocks, " ");
  }
  void OnCut(uint32_t blocks) override {
    absl::StrAppend(&text, "C", blocks, " ");
  }
  std::string text;
};

TEST(LayerTrackerTest, TellsALayerWithItsLastBlock) {
  Recorder told;
  LayerTracker tracker(0, 3, &told);
  tracker.OnLanded(2);
  tracker.OnLanded(0);
  EXPECT_EQ(told.text, "");
  tracker.OnLanded(1);
  EXPECT_EQ(told.text, "L0x3 ");
}

TEST(LayerTrackerTest, TellsSeveralLayersAtOnceInOrder) {
  Recorder told;
  LayerTracker tracker(5, 2, &told);
  for (int i = 0; i < 3; ++i) tracker.OnLanded(1);
  tracker.OnLanded(0);
  tracker.OnLanded(0);
  EXPECT_EQ(told.text, "L5x2 L6x2 ");
}

TEST(LayerTrackerTest, ALostBlockTakesThoseBehindItAlong) {
  Recorder told;
  LayerTracker tracker(0, 4, &told);
  for (uint32_t i = 0; i < 4; ++i) tracker.OnLanded(i);
  tracker.OnLanded(0);
  tracker.OnLost(1);
  EXPECT_EQ(told.text, "L0x4 C1 L1x1 ");
  tracker.OnLost(3);
  EXPECT_EQ(told.text, "L0x4 C1 L1x1 ");
  tracker.OnLost(0);
  EXPECT_EQ(told.text, "L0x4 C1 L1x1 C0 ");
}

TEST(LayerTrackerTest, WhatWasNeverToldIsNotTakenBack) {
  Recorder told;
  LayerTracker tracker(0, 4, &told);
  tracker.OnLost(2);
  tracker.OnLanded(0);
  tracker.OnLanded(1);
  EXPECT_EQ(told.text, "L0x2 ");
}

TEST(LayerTrackerTest, WithoutBlocksThereIsNothingToTell) {
  Recorder told;
  LayerTracker tracker(0, 1, &told);
  tracker.OnLost(0);
  tracker.OnLanded(0);
  EXPECT_EQ(told.text, "");
}

TEST(LayerTrackerTest, DoesAsANaiveModelDoes) {
  constexpr uint32_t kLayers = 6;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    std::mt19937_64 random(seed);
    const uint32_t size = 1 + random() % 7;
    Recorder told;
    LayerTracker tracker(0, size, &told);
    std::string want;
    std::vector<uint32_t> landed(size);
    uint32_t blocks = size;
    uint32_t layer = 0;
    for (int step = 0; step < 80; ++step) {
      const auto i = static_cast<uint32_t>(random() % size);
      if (random() % 20 == 0) {
        tracker.OnLost(i);
        if (i < blocks) {
          blocks = i;
          if (layer > 0) absl::StrAppend(&want, "C", blocks, " ");
        }
      } else if (landed[i] < kLayers) {
        ++landed[i];
        tracker.OnLanded(i);
      }
      while (blocks > 0 && *std::min_element(landed.begin(),
                                             landed.begin() + blocks) > layer) {
        absl::StrAppend(&want, "L", layer++, "x", blocks, " ");
      }
      ASSERT_EQ(told.text, want) << "seed " << seed << ", step " << step;
    }
    EXPECT_EQ(tracker.blocks(), blocks);
  }
}

}  // namespace
}  // namespace banyan::transport
