// Conversions between fp16 and float, all of one way, against plain arithmetic.
#include "client/ctl/model/fp16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/testing/codec_cases.h"

namespace banyan::ctl {
namespace {

TEST(Fp16Test, EveryFp16BecomesItsValueAndComesBack) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const double expected = testing::Fp16Value(static_cast<uint16_t>(half));
    const float value = FloatOfFp16(static_cast<uint16_t>(half));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << half;
      ASSERT_TRUE(std::isnan(FloatOfFp16(Fp16OfFloat(value)))) << half;
      continue;
    }
    ASSERT_EQ(value, expected) << half;
    ASSERT_EQ(Fp16OfFloat(value), half);
  }
}

TEST(Bf16Test, EveryBf16ComesBack) {
  for (uint32_t half = 0; half < 65536; ++half) {
    const float value = FloatOfBf16(static_cast<uint16_t>(half));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(FloatOfBf16(Bf16OfFloat(value)))) << half;
      continue;
    }
    ASSERT_EQ(Bf16OfFloat(value), half);
  }
}

TEST(Bf16Test, RoundsToNearestEven) {
  EXPECT_EQ(Bf16OfFloat(0x1.01p0f), 0x3F80);        // Tie.
  EXPECT_EQ(Bf16OfFloat(0x1.03p0f), 0x3F82);        // Tie.
  EXPECT_EQ(Bf16OfFloat(0x1.0101p0f), 0x3F81);      // Above.
  EXPECT_EQ(Bf16OfFloat(-0x1.01p0f), 0xBF80);       // Tie.
  EXPECT_EQ(Bf16OfFloat(0x1.FFFFFEp127f), 0x7F80);  // To infinity.
}

TEST(Fp16Test, RoundsToNearestEven) {
  std::mt19937_64 rng(3);
  for (int i = 0; i < 1000000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(Fp16OfFloat(value), testing::Fp16Bits(value)) << value;
  }
  for (uint32_t half = 0; half < 0x7BFF; ++half) {  // Ties.
    const double low = testing::Fp16Value(static_cast<uint16_t>(half));
    const double high = testing::Fp16Value(static_cast<uint16_t>(half + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(Fp16OfFloat(middle), half + half % 2) << middle;
    ASSERT_EQ(Fp16OfFloat(-middle), 0x8000 + half + half % 2) << middle;
  }
}

}  // namespace
}  // namespace banyan::ctl
