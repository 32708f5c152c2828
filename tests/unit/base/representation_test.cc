// The codec field of headers: every value comes back, and the class of an error
// bounds it, from near.
#include "base/representation.h"

#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace banyan
