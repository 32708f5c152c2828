// The codec field of headers: every value comes back, and the class of an error
// bounds it, from near.
#include "base/representation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace banyan {
namespace {

TEST(RepresentationTest, ComesBackFromItsField) {
  EXPECT_EQ(Representation().Packed(), 0);
  for (int e = 0; e < 256; ++e) {
    for (const bool is_encoded : {false, true}) {
      const Representation r{.is_encoded = is_encoded,
                             .error_class = static_cast<uint8_t>(e)};
      EXPECT_EQ(Representation::Of(r.Packed()), r);
    }
  }
  EXPECT_EQ(Representation({.is_encoded = true, .error_class = 7}).Packed(),
            0x0701);
}

TEST(RepresentationTest, AClassBoundsItsErrorsFromNear) {
  for (double error = kErrorMax; error > 1e-17; error *= 0.97) {
    const uint8_t error_class = ErrorClassOf(error);
    ASSERT_GT(error_class, 0);
    EXPECT_GE(ErrorBound(error_class), error);
    EXPECT_LE(ErrorBound(error_class), error * std::exp2(0.2500001));
  }
  EXPECT_EQ(ErrorClassOf(kErrorMax), 4);
  EXPECT_EQ(ErrorClassOf(0), 255);
  EXPECT_EQ(ErrorBound(0), 0);
}

TEST(QualityFloorTest, TakesClassesThatAllowForNoMore) {
  EXPECT_TRUE(QualityFloor().is_any());
  for (double error_max = kErrorMax; error_max > 1e-17; error_max *= 0.9) {
    const QualityFloor floor = *QualityFloor::AtMost(error_max);
    EXPECT_FALSE(floor.is_any());
    EXPECT_TRUE(floor.Admits(0));
    EXPECT_FALSE(floor.Admits(std::nullopt));
    for (int c = 1; c < 256; ++c) {
      const auto error_class = static_cast<uint8_t>(c);
      EXPECT_EQ(floor.Admits(error_class), ErrorBound(error_class) <= error_max)
          << error_max << ", class " << c;
    }
    EXPECT_EQ(*QualityFloor::Of(floor.Packed()), floor);
    EXPECT_EQ(*QualityFloor::AtMost(floor.error_max()), floor);
  }
}

TEST(QualityFloorTest, ZeroIsWhatWasWritten) {
  for (const double error_max : {0.0, 1e-20}) {
    const QualityFloor floor = *QualityFloor::AtMost(error_max);
    EXPECT_EQ(floor.Packed(), 256);
    EXPECT_TRUE(floor.Admits(0));
    EXPECT_FALSE(floor.Admits(255));
    EXPECT_FALSE(floor.Admits(std::nullopt));
    EXPECT_EQ(floor.error_max(), 0);
  }
  EXPECT_TRUE(QualityFloor().Admits(std::nullopt));
  EXPECT_TRUE(QualityFloor().Admits(1));
}

TEST(QualityFloorTest, WhatIsNoneIsRefused) {
  for (const double bad : {-0.01, 0.51, double{NAN}, double{INFINITY}}) {
    const auto floor = QualityFloor::AtMost(bad);
    EXPECT_EQ(ErrorReason(floor.status()), "QUALITY") << bad;
  }
  EXPECT_EQ(QualityFloor::AtMost(0.75).status().message(),
            "error_max: 0.75; want 0 to 0.5. Leave it out to take any block.");
  EXPECT_EQ(ErrorReason(QualityFloor::Of(257).status()), "QUALITY");
}

}  // namespace
}  // namespace banyan
