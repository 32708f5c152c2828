// Gradients of keys and values are what the likelihood does when they change.
//
// Method: differences over a small change in a random direction, of all keys, or
// all values, of a layer.
#include "client/ctl/model/kv_gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "client/ctl/model/divergence.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

using Direction = std::vector<float>;

// Adds a multiple of a direction to the keys, or the values, of a layer.
class Change final : public ForwardObserver {
 public:
  Change(uint32_t layer, uint32_t plane, float factor,
         const Direction& direction)
      : layer_(layer), plane_(plane), factor_(factor), direction_(direction) {}

  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override {
    if (layer != layer_) return absl::OkStatus();
    std::vector<float> row(direction_.size() / count);
    for (uint32_t i = 0; i < count; ++i) {
      cache.Read(layer, plane_, first + i, 1, absl::MakeSpan(row));
      for (size_t c = 0; c < row.size(); ++c) {
        row[c] += factor_ * direction_[i * row.size() + c];
      }
      cache.Write(layer, plane_, first + i, row);
    }
    return absl::OkStatus();
  }
  void OnAttention(uint32_t, uint32_t, absl::Span<const float>,
                   absl::Span<const float>) override {}

 private:
  uint32_t layer_;
  uint32_t plane_;
  float factor_;
  const Direction& direction_;
};

class KvGradientsTest : public ::testing::Test {
 protected:
  // Of the drawn tokens.
  double Likelihood(absl::Span<const uint32_t> drawn, Change change) const {
    const LlamaShape& shape = model_.llama.shape();
    const auto count = static_cast<uint32_t>(tokens_.size());
    KvCache cache(*shape.Layout(ElementType::kFp32, count), ElementType::kFp32,
                  count);
    std::vector<float> logits(tokens_.size() * shape.vocabulary);
    EXPECT_TRUE(
        model_.llama.Forward(tokens_, cache, absl::MakeSpan(logits), &change)
            .ok());
    double sum = 0;
    for (size_t i = 0; i < drawn.size(); ++i) {
      sum += LogProbabilities(absl::MakeConstSpan(logits).subspan(
          i * shape.vocabulary, shape.vocabulary))[drawn[i]];
    }
    return sum;
  }

  const LoadedModel model_ = testing::LoadStories();
  const std::vector<uint32_t> tokens_ = [this] {
    std::vector<uint32_t> tokens =
        model_.tokenizer->Encode(testing::kGreedyStory);
    tokens.resize(70);  // More than a panel.
    return tokens;
  }();
};

TEST_F(KvGradientsTest, AreWhatTheLikelihoodDoes) {
  std::vector<KvGradient> gradients(model_.llama.shape().layers);
  const auto drawn = KvGradients(model_.llama, tokens_, 7,
                                 [&](uint32_t layer, const KvGradient& of) {
                                   gradients[layer] = of;
                                   return absl::OkStatus();
                                 });
  ASSERT_TRUE(drawn.ok());
  ASSERT_EQ(drawn->size(), tokens_.size());
  std::mt19937_64 rng(1);
  std::normal_distribution<float> normal;
  for (uint32_t layer = 0; layer < gradients.size(); ++layer) {
    for (uint32_t plane = 0; plane < 2; ++plane) {
      const std::vector<float>& gradient =
          plane == 0 ? gradients[layer].keys : gradients[layer].values;
      Direction direction(gradient.size());
      double expected = 0;
      double length = 0;
      for (size_t i = 0; i < direction.size(); ++i) {
        direction[i] = normal(rng);
        expected += direction[i] * gradient[i];
        length += gradient[i] * gradient[i];
      }
      constexpr float kChange = 2e-3f;
      const double change =
          (Likelihood(*drawn, {layer, plane, kChange, direction}) -
           Likelihood(*drawn, {layer, plane, -kChange, direction})) /
          (2 * kChange);
      EXPECT_NEAR(change, expected, 0.02 * std::sqrt(length))
          << layer << " " << plane;
    }
  }
}

TEST_F(KvGradientsTest, RotationKeepsLengths) {
  ASSERT_TRUE(KvGradients(model_.llama, tokens_, 7,
                          [&](uint32_t, const KvGradient& of) {
                            double bare = 0;
                            double rotated = 0;
                            for (size_t i = 0; i < of.keys.size(); ++i) {
                              bare += of.bare_keys[i] * of.bare_keys[i];
                              rotated += of.keys[i] * of.keys[i];
                            }
                            EXPECT_NEAR(bare, rotated, 1e-4 * rotated);
                            EXPECT_NE(of.bare_keys, of.keys);
                            return absl::OkStatus();
                          })
                  .ok());
}

}  // namespace
}  // namespace banyan::ctl
