// Sums of squares by every instruction set, against plain arithmetic in double.
#include "kernels/codec/layer_error.h"

#include <gtest/gtest.h>

#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

TEST(LayerErrorTest, IsThatOfPlainArithmetic) {
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  for (const ElementType type : {ElementType::kFp16, ElementType::kBf16}) {
    for (const size_t elements : {1u, 7u, 64u, 4096u, 9001u}) {
      std::vector<double> was(elements);
      std::vector<double> is(elements);
      for (size_t i = 0; i < elements; ++i) {
        was[i] = normal(rng);
        is[i] = was[i] + 0.01 * normal(rng);
      }
      const auto original = testing::Elements(type, was);
      const auto decoded = testing::Elements(type, is);
      was = testing::Values(type, original);
      is = testing::Values(type, decoded);
      double error = 0;
      double size = 0;
      for (size_t i = 0; i < elements; ++i) {
        error += (was[i] - is[i]) * (was[i] - is[i]);
        size += was[i] * was[i];
      }
      testing::ForEachTarget([&](const char* target) {
        const SquaredSums sums = CompareElements(type, original, decoded);
        EXPECT_NEAR(sums.error, error, 1e-4 * error) << target;
        EXPECT_NEAR(sums.size, size, 1e-4 * size) << target;
      });
      EXPECT_EQ(CompareElements(type, original, original).error, 0);
    }
  }
}

}  // namespace
}  // namespace banyan::codec
