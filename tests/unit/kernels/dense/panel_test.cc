// Products and softmax by every instruction set, against plain arithmetic in
// double; what becomes of a column is the same in every panel, to the bit.
#include "kernels/dense/panel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/testing/codec_cases.h"

namespace banyan::dense {
namespace {

class PanelTest : public ::testing::Test {
 protected:
  std::vector<float> Numbers(size_t count) {
    std::vector<float> numbers(count);
    for (float& x : numbers) x = normal_(rng_);
    return numbers;
  }

  std::mt19937_64 rng_{1};
  std::normal_distribution<float> normal_;
};

// Error of a sum: its size times the rounding of so many steps.
void ExpectProducts(const MatrixView& matrix, const std::vector<float>& panel,
                    uint32_t width, const std::vector<float>& got,
                    const char* target) {
  for (uint32_t row = 0; row < matrix.rows; ++row) {
    for (uint32_t column = 0; column < width; ++column) {
      double sum = 0;
      double size = 0;
      for (uint32_t k = 0; k < matrix.columns; ++k) {
        const double term = double{matrix.elements[row * matrix.row_stride +
                                                   k * matrix.column_stride]} *
                            panel[size_t{k} * width + column];
        sum += term;
        size += std::fabs(term);
      }
      const double bound = 0x1p-23 * (matrix.columns + 1) * size;
      ASSERT_TRUE(std::fabs(got[row * width + column] - sum) <= bound)
          << target << " row " << row << " column " << column;
    }
  }
}

TEST_F(PanelTest, ProductsAreWhatTheFormulaSays) {
  for (const uint32_t width : {16u, 32u, 48u, 64u}) {
    for (const uint32_t rows : {1u, 3u, 4u, 37u}) {
      for (const uint32_t columns : {1u, 7u, 128u, 300u}) {
        const auto elements = Numbers(size_t{rows} * columns);
        const auto panel = Numbers(size_t{columns} * width);
        const MatrixView by_rows{elements.data(), columns, 1, rows, columns};
        const MatrixView by_columns{elements.data(), 1, rows, rows, columns};
        testing::ForEachTarget([&](const char* target) {
          for (const MatrixView& matrix : {by_rows, by_columns}) {
            std::vector<float> got(size_t{rows} * width);
            Multiply(matrix, panel.data(), width, got.data());
            ExpectProducts(matrix, panel, width, got, target);
          }
        });
      }
    }
  }
}

TEST_F(PanelTest, AColumnIsTheSameInEveryPanel) {
  constexpr uint32_t kRows = 21;
  constexpr uint32_t kColumns = 200;
  const auto elements = Numbers(kRows * kColumns);
  const auto vectors = Numbers(64 * kColumns);
  const MatrixView matrix{elements.data(), kColumns, 1, kRows, kColumns};
  const auto product = [&](uint32_t first, uint32_t count) {
    std::vector<const float*> from;
    std::vector<float> results(size_t{count} * kRows);
    std::vector<float*> to;
    for (uint32_t i = 0; i < count; ++i) {
      from.push_back(&vectors[(first + i) * kColumns]);
      to.push_back(&results[i * kRows]);
    }
    const uint32_t width = PanelWidth(count);
    std::vector<float> panel(kColumns * width);
    std::vector<float> result(kRows * width);
    Pack(from.data(), count, kColumns, panel.data());
    Multiply(matrix, panel.data(), width, result.data());
    Unpack(result.data(), count, kRows, to.data());
    return results;
  };
  testing::ForEachTarget([&](const char* target) {
    const auto all = product(0, 64);
    for (const uint32_t count : {1u, 5u, 16u, 33u}) {
      const std::vector<float> expected(all.begin() + 20 * kRows,
                                        all.begin() + (20 + count) * kRows);
      EXPECT_EQ(product(20, count), expected) << target << " " << count;
    }
  });
}

TEST_F(PanelTest, WeightsOfWhatIsSeenSumToOne) {
  constexpr uint32_t kRows = 50;
  constexpr uint32_t kWidth = 32;
  constexpr float kScale = 0.25f;
  auto scores = Numbers(kRows * kWidth);
  for (float& x : scores) x *= 30;
  std::vector<uint32_t> counts(kWidth);
  for (uint32_t i = 0; i < kWidth; ++i) counts[i] = 1 + i * 49 / 31;
  testing::ForEachTarget([&](const char* target) {
    std::vector<float> weights = scores;
    Softmax(kScale, counts.data(), kRows, kWidth, weights.data());
    for (uint32_t column = 0; column < kWidth; ++column) {
      double sum = 0;
      for (uint32_t row = 0; row < counts[column]; ++row) {
        sum += std::exp(double{kScale} * scores[row * kWidth + column]);
      }
      for (uint32_t row = 0; row < kRows; ++row) {
        const double expected =
            row < counts[column]
                ? std::exp(double{kScale} * scores[row * kWidth + column]) / sum
                : 0;
        ASSERT_TRUE(std::fabs(weights[row * kWidth + column] - expected) <=
                    1e-5 * expected)
            << target << " row " << row << " column " << column;
      }
    }
  });
}

}  // namespace
}  // namespace banyan::dense
