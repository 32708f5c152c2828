// Calibrations: what is made of samples, how it is kept, and who refuses it.
//
// Method: T-K1: levels of Gaussian numbers against those of Lloyd and Max.
// Every byte of a file changed once, every length.
#include "kernels/codec/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "kernels/codec/k_means.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

using testing::CodecLayout;

// The number that this share of Gaussian ones is below, by bisection.
double GaussianQuantile(double share) {
  double low = -10;
  double high = 10;
  while (high - low > 1e-12) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2)) / 2 < share ? low : high) = middle;
  }
  return low;
}

// T-K1. The levels are the published ones.
TEST(KMeansTest, LevelsOfGaussianNumbersAreThoseOfLloydAndMax) {
  std::vector<WeightedNumber> numbers(100000);
  for (size_t i = 0; i < numbers.size(); ++i) {
    numbers[i].x = static_cast<float>(
        GaussianQuantile((i + 0.5) / static_cast<double>(numbers.size())));
  }
  const std::vector<std::vector<double>> positive = {
      {0.452780, 1.510418},
      {0.245094, 0.756005, 1.343909, 2.151946},
      {0.128395, 0.388048, 0.656759, 0.942340, 1.256231, 1.618046, 2.069017,
       2.732590}};
  for (const auto& levels : positive) {
    const auto found = KMeans(numbers, 2 * levels.size());
    for (size_t i = 0; i < levels.size(); ++i) {
      EXPECT_NEAR(found[levels.size() + i], levels[i], 2e-3);
      EXPECT_NEAR(found[levels.size() - 1 - i], -levels[i], 2e-3);
    }
  }
}

TEST(KMeansTest, HeavierNumbersPullLevels) {
  const auto levels = KMeans({{0, 1}, {1, 3}, {10, 1}, {11, 0}}, 2);
  EXPECT_FLOAT_EQ(levels[0], 0.75);
  EXPECT_FLOAT_EQ(levels[1], 10);
}

TEST(KMeansTest, LevelsRiseWhateverTheNumbers) {
  for (const auto& numbers :
       {std::vector<WeightedNumber>{}, {{0.5, 1}}, {{0, 1}, {0, 1}, {1, 1}}}) {
    const auto levels = KMeans(numbers, 16);
    ASSERT_EQ(levels.size(), 16u);
    for (size_t i = 1; i < 16; ++i) EXPECT_LT(levels[i - 1], levels[i]);
  }
}

// ---- Files ----

Calibration Made(const std::string& spec, uint32_t layers = 2) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 32, 2, 16);
  const auto calibrator = Calibrator::Make({.spec = *ParseBlockSpec(spec),
                                            .layout = layout,
                                            .rope = testing::SomeRope(16),
                                            .layers = layers});
  BANYAN_CHECK(calibrator.ok());
  for (uint32_t i = 0; i < layers; ++i) {
    const auto layer = testing::SomeLayer(layout, ElementType::kFp16, i);
    BANYAN_CHECK((*calibrator)->Add(i, 64, layer).ok());
  }
  auto calibration = (*calibrator)->Finish();
  BANYAN_CHECK(calibration.ok());
  return *std::move(calibration);
}

TEST(CalibrationTest, WrittenOneIsReadAsTheSame) {
  for (const char* const spec :
       {"k=nuq4:channel:pre,v=nuq4", "k=nuq2:channel:dense,v=nuq3",
        "k=int4,v=nuq4", "k=cold2:weighted:pre,v=cold2:weighted",
        "k=cold3:weighted,v=nuq2"}) {
    const Calibration made = Made(spec);
    const auto read = Calibration::Parse(made.Serialize());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->shape(), made.shape());
    for (uint32_t layer = 0; layer < 2; ++layer) {
      EXPECT_EQ(read->layer(layer), made.layer(layer));
      EXPECT_EQ(read->digest(layer), made.digest(layer));
    }
    EXPECT_NE(made.digest(0), made.digest(1));
    EXPECT_EQ(Made(spec).Serialize(), made.Serialize());
  }
}

TEST(CalibrationTest, EveryChangedByteAndLengthIsFound) {
  auto bytes = Made("k=nuq2:channel:pre,v=nuq2").Serialize();
  const auto is_refused = [](absl::Span<const std::byte> from) {
    return ErrorReason(Calibration::Parse(from).status()) == "CALIBRATION";
  };
  for (std::byte& b : bytes) {
    b ^= std::byte{0x10};
    EXPECT_TRUE(is_refused(bytes));
    b ^= std::byte{0x10};
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(is_refused(absl::MakeConstSpan(bytes).first(size)));
  }
  bytes.push_back(std::byte{0});
  EXPECT_TRUE(is_refused(bytes));
}

TEST(CalibrationTest, TablesThatMakeNoSenseAreRefused) {
  const Calibration made = Made("k=nuq2:channel,v=nuq2", 1);
  const auto is_refused = [&](const Calibration::Layer& layer) {
    return ErrorReason(Calibration::Make(made.shape(), {layer}).status()) ==
           "CALIBRATION";
  };
  EXPECT_FALSE(is_refused(made.layer(0)));
  for (const float bad : {NAN, INFINITY, 17.0f, -2.0f}) {
    auto layer = made.layer(0);
    layer[0].nuq.levels[3] = bad;
    EXPECT_TRUE(is_refused(layer)) << bad;
    layer = made.layer(0);
    layer[1].nuq.norm_scale = bad;
    EXPECT_TRUE(is_refused(layer)) << bad;
  }
  for (const float bad : {NAN, INFINITY, 70000.0f, 0.1f}) {
    auto layer = made.layer(0);
    layer[0].nuq.upper[5] = bad;
    EXPECT_TRUE(is_refused(layer)) << bad;
  }
  auto layer = made.layer(0);
  layer[0].nuq.upper[5] = layer[0].nuq.lower[5];
  EXPECT_TRUE(is_refused(layer));
  layer = made.layer(0);
  layer[1].nuq.levels.pop_back();
  EXPECT_TRUE(is_refused(layer));
}

TEST(CalibrationTest, BasesThatMakeNoSenseAreRefused) {
  const Calibration made = Made("k=cold2:weighted,v=cold2:weighted", 1);
  EXPECT_EQ(made.shape().dim, 16u);
  const auto is_refused = [&](const Calibration::Layer& layer) {
    return ErrorReason(Calibration::Make(made.shape(), {layer}).status()) ==
           "CALIBRATION";
  };
  EXPECT_FALSE(is_refused(made.layer(0)));
  for (const float bad : {NAN, INFINITY, 70000.0f, 0.1f}) {
    auto layer = made.layer(0);
    layer[0].cold.basis[7] = bad;
    EXPECT_TRUE(is_refused(layer)) << bad;
    layer = made.layer(0);
    layer[1].cold.means[3] = bad;
    EXPECT_TRUE(is_refused(layer)) << bad;
  }
  auto layer = made.layer(0);
  std::copy_n(layer[0].cold.basis.begin(), 16,
              layer[0].cold.basis.begin() + 16);  // A row twice.
  EXPECT_TRUE(is_refused(layer));
  for (const int bits : {0, 513}) {
    layer = made.layer(0);
    layer[1].cold.bits = static_cast<uint16_t>(bits);
    EXPECT_TRUE(is_refused(layer)) << bits;
  }
  layer = made.layer(0);
  layer[1].cold.basis.pop_back();
  EXPECT_TRUE(is_refused(layer));
  Calibration::Shape other = made.shape();
  other.dim = 3;
  EXPECT_FALSE(Calibration::Make(other, {made.layer(0)}).ok());
}

// ---- Samples ----

TEST(CalibratorTest, RangesLeaveOneInAHundredOut) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 1000, 1, 16);
  const auto values = testing::Values(
      ElementType::kFp16, testing::SomeLayer(layout, ElementType::kFp16, 7));
  const auto calibrator = Calibrator::Make(
      {.spec = *ParseBlockSpec("nuq4:channel"), .layout = layout, .layers = 1});
  ASSERT_TRUE(calibrator.ok());
  ASSERT_TRUE((*calibrator)
                  ->Add(0, 0, testing::Elements(ElementType::kFp16, values))
                  .ok());
  const auto made = (*calibrator)->Finish();
  ASSERT_TRUE(made.ok()) << made.status();
  int beyond = 0;
  for (size_t i = 0; i < 16000; ++i) {
    const NuqTables& keys = made->layer(0)[0].nuq;
    beyond += values[i] < keys.lower[i % 16] || values[i] > keys.upper[i % 16];
  }
  EXPECT_NEAR(beyond, 160, 20);
}

TEST(CalibratorTest, TokensThatAreKeptDoNotCount) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 1, 16);
  const auto made_of = [&](double first_token) {
    auto values = testing::Values(
        ElementType::kFp16, testing::SomeLayer(layout, ElementType::kFp16, 8));
    for (size_t i = 0; i < 16; ++i) values[i] = first_token;
    const auto calibrator =
        Calibrator::Make({.spec = *ParseBlockSpec("nuq4:channel,sink=1"),
                          .layout = layout,
                          .layers = 1});
    BANYAN_CHECK(calibrator.ok());
    BANYAN_CHECK((*calibrator)
                     ->Add(0, 0, testing::Elements(ElementType::kFp16, values))
                     .ok());
    return (*calibrator)->Finish()->digest(0);
  };
  EXPECT_EQ(made_of(1), made_of(1000));
}

TEST(CalibratorTest, WeightsMoveLevels) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 32, 1, 16, 1);
  const auto layer = testing::SomeLayer(layout, ElementType::kFp16, 9);
  std::vector<float> weights(layer.size() / 2, 1);
  const auto digest = [&](absl::Span<const float> of) {
    const auto calibrator = Calibrator::Make(
        {.spec = *ParseBlockSpec("nuq3"), .layout = layout, .layers = 1});
    BANYAN_CHECK((*calibrator)->Add(0, 0, layer, of).ok());
    return (*calibrator)->Finish()->digest(0);
  };
  EXPECT_EQ(digest(weights), digest({}));
  for (size_t i = 0; i < weights.size(); i += 2) weights[i] = 5;
  EXPECT_NE(digest(weights), digest({}));
}

TEST(CalibratorTest, WhatCannotBeCountedIsRefused) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 1, 16);
  const auto reason = [&](const char* spec, uint32_t layers) {
    return ErrorReason(
        Calibrator::Make(
            {.spec = *ParseBlockSpec(spec), .layout = layout, .layers = layers})
            .status());
  };
  EXPECT_EQ(reason("nuq4", 1), "");
  EXPECT_EQ(reason("nuq4", 0), "CALIBRATION");
  EXPECT_EQ(reason("int4", 1), "CALIBRATION");
  EXPECT_EQ(reason("k=nuq4:channel:pre,v=nuq4", 1), "CALIBRATION");

  auto calibrator = *Calibrator::Make(
      {.spec = *ParseBlockSpec("nuq4"), .layout = layout, .layers = 1});
  auto layer = testing::SomeLayer(layout, ElementType::kFp16, 10);
  EXPECT_EQ(ErrorReason(calibrator->Finish().status()), "CALIBRATION");
  EXPECT_EQ(ErrorReason(calibrator->Add(1, 0, layer)), "CALIBRATION");
  EXPECT_EQ(ErrorReason(calibrator->Add(0, 0, layer, {1, 2})), "CALIBRATION");
  EXPECT_EQ(ErrorReason(calibrator->Add(
                0, 0, layer, std::vector<float>(layer.size() / 2, -1))),
            "CALIBRATION");
  StoreLe16(0x7C00, &layer[20]);
  EXPECT_EQ(ErrorReason(calibrator->Add(0, 0, layer)), "VALUE");
  EXPECT_EQ(ErrorReason(calibrator->Finish().status()), "CALIBRATION");
}

// ---- Codecs ----

TEST(CalibrationTest, CodecWantsTheOneForIt) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 2, 16);
  const Calibration calibration = Made("k=nuq3:channel:pre,v=nuq3");
  const auto reason = [&](const char* spec, const KvLayout& of,
                          std::optional<RopeSpec> rope,
                          const Calibration* with) {
    return ErrorReason(BlockCodec::Make({.spec = *ParseBlockSpec(spec),
                                         .layout = of,
                                         .rope = rope,
                                         .calibration = with})
                           .status());
  };
  const auto rope = testing::SomeRope(16);
  const auto other = testing::SomeRope(8);
  const char* const spec = "k=nuq3:channel:pre,v=nuq3";
  EXPECT_EQ(reason(spec, layout, rope, &calibration), "");
  EXPECT_EQ(reason("k=nuq3:channel:qnorm:pre,v=nuq3:qnorm", layout, rope,
                   &calibration),
            "");
  EXPECT_EQ(reason("int4", layout, rope, &calibration), "");
  EXPECT_EQ(reason(spec, layout, rope, nullptr), "CALIBRATION");
  EXPECT_EQ(reason(spec, layout, other, &calibration), "CALIBRATION");
  EXPECT_EQ(reason("k=nuq3:channel,v=nuq3", layout, rope, &calibration),
            "CALIBRATION");
  EXPECT_EQ(reason("k=nuq3:channel:pre,v=nuq4", layout, rope, &calibration),
            "CALIBRATION");
  EXPECT_EQ(
      reason(spec, CodecLayout(TokenOrder::kNhd, 8, 3, 16), rope, &calibration),
      "CALIBRATION");
}

TEST(CalibrationTest, LayersAreDecodedWithTheirOwnTables) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 2, 16);
  const Calibration calibration = Made("nuq3:channel");
  const auto codec = *BlockCodec::Make({.spec = *ParseBlockSpec("nuq3:channel"),
                                        .layout = layout,
                                        .calibration = &calibration});
  auto work = codec->MakeWorkspace();
  const auto layer = testing::SomeLayer(layout, ElementType::kFp16, 11);
  std::vector<std::byte> encoded(codec->EncodedLayerBytes(0));
  std::vector<std::byte> decoded(layer.size());
  const auto encode = [&] {
    return codec->EncodeLayer(layer, work, absl::MakeSpan(encoded));
  };
  const auto decode = [&] {
    return codec->DecodeLayer(encoded, work, absl::MakeSpan(decoded));
  };

  ASSERT_TRUE(codec->StartEncoding(0, work).ok());
  EXPECT_EQ(ErrorReason(encode()), "LAYER");
  EXPECT_EQ(ErrorReason(codec->SetLayer(2, work)), "LAYER");
  ASSERT_TRUE(codec->SetLayer(1, work).ok());
  ASSERT_TRUE(encode().ok());

  ASSERT_TRUE(codec->StartDecoding(0, work).ok());
  EXPECT_EQ(ErrorReason(decode()), "LAYER");
  ASSERT_TRUE(codec->SetLayer(0, work).ok());
  EXPECT_EQ(ErrorReason(decode()), "CODEC");
  ASSERT_TRUE(codec->SetLayer(1, work).ok());
  EXPECT_TRUE(decode().ok());
}

}  // namespace
}  // namespace banyan::codec
