// The basis of a weighted cold codec, and the trellis that its numbers go
// through: what they promise.
#include "kernels/codec/cold_basis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/codec/coefficient_coder.h"
#include "kernels/codec/trellis.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kHeads = 2;
constexpr uint32_t kDim = 6;

std::vector<float> Mixed(std::mt19937_64& rng, uint32_t head, double scale) {
  std::normal_distribution<double> normal;
  std::vector<float> mixed(kDim);
  for (uint32_t k = 0; k < kDim; ++k) {
    const double part = scale * normal(rng) / (1 + k);
    for (uint32_t i = 0; i < kDim; ++i) {
      mixed[i] += static_cast<float>(part * std::cos(1.0 + head + k * i));
    }
  }
  return mixed;
}

TEST(InvertTest, ProductIsOne) {
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  constexpr uint32_t kSize = 9;
  std::vector<double> matrix(kSize * kSize);
  for (double& x : matrix) x = normal(rng);
  matrix[0] = 0;  // Wants another row.
  auto inverse = matrix;
  ASSERT_TRUE(Invert(kSize, absl::MakeSpan(inverse)));
  for (uint32_t i = 0; i < kSize; ++i) {
    for (uint32_t j = 0; j < kSize; ++j) {
      double sum = 0;
      for (uint32_t k = 0; k < kSize; ++k) {
        sum += matrix[i * kSize + k] * inverse[k * kSize + j];
      }
      EXPECT_NEAR(sum, i == j, 1e-9);
    }
  }
  std::fill_n(matrix.begin(), kSize, 0.0);
  EXPECT_FALSE(Invert(kSize, absl::MakeSpan(matrix)));
}

// In components, tokens have nothing in common, and errors weigh alike.
TEST(ColdMomentsTest, ComponentsAreApartAndWeighAlike) {
  ColdMoments moments(kHeads, kDim);
  std::mt19937_64 rng(2);
  std::vector<std::vector<float>> tokens;
  std::vector<std::vector<float>> gradients;
  for (int t = 0; t < 4000; ++t) {
    std::vector<float> token;
    std::vector<float> gradient;
    for (uint32_t head = 0; head < kHeads; ++head) {
      for (const float x : Mixed(rng, head, 3)) token.push_back(x + 5);
      for (const float x : Mixed(rng, head + 5, 0.1)) gradient.push_back(x);
    }
    moments.Add(token, gradient);
    tokens.push_back(token);
    gradients.push_back(gradient);
  }
  std::vector<double> variances;
  const ColdTables tables = moments.Tables(variances);
  ASSERT_EQ(variances.size(), kHeads * kDim);
  double weight = 0;  // Of one component; all are like it.
  for (uint32_t head = 0; head < kHeads; ++head) {
    const float* const basis = &tables.basis[head * kDim * kDim];
    std::vector<double> inverse(basis, basis + kDim * kDim);
    ASSERT_TRUE(Invert(kDim, absl::MakeSpan(inverse)));
    std::vector<double> products(kDim * kDim);
    std::vector<double> weights(kDim * kDim);
    for (size_t t = 0; t < tokens.size(); ++t) {
      std::vector<double> y(kDim);
      std::vector<double> g(kDim);
      for (uint32_t k = 0; k < kDim; ++k) {
        for (uint32_t i = 0; i < kDim; ++i) {
          const uint32_t c = head * kDim + i;
          y[k] += (tokens[t][c] - tables.means[c]) * inverse[i * kDim + k];
          g[k] += gradients[t][c] * basis[k * kDim + i];
        }
      }
      for (uint32_t k = 0; k < kDim * kDim; ++k) {
        products[k] += y[k / kDim] * y[k % kDim] / tokens.size();
        weights[k] += g[k / kDim] * g[k % kDim] / tokens.size();
      }
    }
    if (head == 0) weight = weights[0];
    for (uint32_t k = 0; k < kDim * kDim; ++k) {
      const uint32_t i = k / kDim;
      const uint32_t j = k % kDim;
      if (i != j) {
        EXPECT_NEAR(
            products[k], 0,
            0.02 * std::sqrt(products[i * kDim + i] * products[j * kDim + j]));
        EXPECT_NEAR(weights[k], 0, 0.1 * weight);
      } else {
        EXPECT_NEAR(weights[k], weight, 0.1 * weight);
        if (i > 0) {
          EXPECT_LE(variances[head * kDim + i], variances[head * kDim + i - 1]);
        }
      }
    }
  }
}

TEST(ShareBitsTest, MoreGoToWhatIsLarger) {
  const std::vector<double> large(4, 16.0);
  const std::vector<double> small(4, 1.0);
  const SharedBits shared = ShareBits(large, small, 4);
  EXPECT_NEAR(shared.first, 3, 1e-6);  // 16 is two bits more.
  EXPECT_NEAR(shared.second, 1, 1e-6);
  const SharedBits none = ShareBits(large, {0.0}, 4);
  EXPECT_NEAR(none.first + none.second, 4, 1e-6);
}

// Of Gaussian numbers, at the bits they take by themselves.
TEST(TrellisTest, IsNearerThanRounding) {
  constexpr uint32_t kWidth = 64;
  constexpr uint32_t kRows = 400;
  constexpr float kBitWorth = 0.08f;
  const auto run = [&](bool has_trellis, float step) {
    std::mt19937_64 rng(3);
    std::normal_distribution<float> normal;
    CoefficientModel<kQuantizers> model;
    std::vector<float> levels(kWidth), sizes(kWidth), magnitudes(kWidth);
    std::vector<float> costs(kQuantizers *
                             CoefficientModel<kQuantizers>::kCostsOfSet);
    std::vector<uint8_t> trace(kWidth * kTrellisStates);
    std::vector<std::byte> bytes(kWidth * kRows);
    RangeEncoder encoder(absl::MakeSpan(bytes));
    double error = 0;
    uint32_t state = 0;
    for (uint32_t row = 0; row < kRows; ++row) {
      for (float& x : sizes) x = std::fabs(normal(rng)) / step;
      if (has_trellis) {
        model.FillCosts(kBitWorth, costs.data());
        ChooseMagnitudes({.sizes = sizes.data(),
                          .column_levels = levels.data(),
                          .width = kWidth,
                          .costs = costs.data(),
                          .bit_worth = kBitWorth},
                         state, trace.data(), magnitudes.data());
      }
      model.StartRow();
      for (uint32_t c = 0; c < kWidth; ++c) {
        const uint32_t q = has_trellis ? QuantizerOf(state) : 0;
        if (!has_trellis) magnitudes[c] = std::floor(sizes[c] + 0.46f);
        model.Put(rng() % 2 == 0 ? magnitudes[c] : -magnitudes[c], levels[c],
                  encoder, q);
        const double off = (sizes[c] - LevelOf(q, magnitudes[c])) * step;
        error += off * off / (kWidth * kRows);
        state = NextState(state, static_cast<uint32_t>(magnitudes[c]));
      }
    }
    const double bits = 8.0 * encoder.Finish() / (kWidth * kRows);
    return std::log2(error) / 2 + bits;  // Less is better: 0 is the bound.
  };
  for (const float step : {0.7f, 1.0f, 1.4f}) {
    EXPECT_LT(run(true, step), run(false, 0.9f * step) - 0.06) << step;
  }
}

// Whatever the rows before, decoders know the quantizer.
TEST(TrellisTest, StatesAreReachedFromTwo) {
  for (uint32_t to = 0; to < kTrellisStates; ++to) {
    int from = 0;
    for (uint32_t state = 0; state < kTrellisStates; ++state) {
      for (uint32_t magnitude = 0; magnitude < 2; ++magnitude) {
        from += NextState(state, magnitude) == to;
        EXPECT_EQ(NextState(state, magnitude), NextState(state, magnitude + 2));
      }
    }
    EXPECT_EQ(from, 2);
  }
}

}  // namespace
}  // namespace banyan::codec
