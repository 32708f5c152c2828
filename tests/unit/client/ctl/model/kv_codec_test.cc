// What goes through a codec comes back as the codec has it, and is counted with
// all that is stored.
#include "client/ctl/model/kv_codec.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/testing/codec_cases.h"

namespace banyan::ctl {
namespace {

constexpr LlamaShape kShape{.dim = 64,
                            .hidden_dim = 64,
                            .layers = 2,
                            .heads = 4,
                            .kv_heads = 2,
                            .vocabulary = 300,
                            .positions = 64};

class KvRoundTripTest : public ::testing::Test {
 protected:
  KvRoundTripTest() : cache_(layout_, ElementType::kFp16, 64) {
    for (uint32_t block = 0; block < 4; ++block) {
      for (uint32_t layer = 0; layer < 2; ++layer) {
        const auto values =
            testing::SomeLayer(layout_, ElementType::kFp16, 7 * block + layer);
        std::copy(values.begin(), values.end(),
                  cache_.BlockLayer(block, layer).begin());
      }
    }
  }

  static std::unique_ptr<KvRoundTrip> Make(const std::string& spec) {
    auto made = KvRoundTrip::Make(spec, kShape, {.block_tokens = 16});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  KvLayout layout_ = *kShape.Layout(ElementType::kFp16, 16);
  KvCache cache_;
};

TEST_F(KvRoundTripTest, RawLeavesBlocksAsTheyAre) {
  const KvCache before = cache_;
  const auto raw = Make("raw");

  ASSERT_TRUE(raw->ApplyToBlocks(4, cache_).ok());

  for (uint32_t block = 0; block < 4; ++block) {
    KvCache copy = before;
    EXPECT_EQ(cache_.Block(block), copy.Block(block));
  }
  EXPECT_EQ(raw->raw_bytes(), 4 * layout_.block_bytes());
  const double head_bits =
      8.0 * codec::kLayerHeadBytes / (layout_.layer_bytes() / 2);
  EXPECT_TRUE(std::fabs(raw->bits() - (16 + head_bits)) <= 1e-9);
}

TEST_F(KvRoundTripTest, IsWhatTheCodecDoesAtThatPosition) {
  const auto keys_at = [&](uint32_t position) {
    auto codec = Make("k=rotlm4:white:pre,v=rotlm4,sink=4");
    const auto from = cache_.BlockLayer(1, 1);
    std::vector<std::byte> layer(from.begin(), from.end());
    EXPECT_TRUE(codec->Apply(1, position, absl::MakeSpan(layer)).ok());
    return layer;
  };
  KvCache whole = cache_;
  const auto codec = Make("k=rotlm4:white:pre,v=rotlm4,sink=4");

  ASSERT_TRUE(codec->ApplyToBlocks(4, whole).ok());

  EXPECT_EQ(whole.BlockLayer(1, 1), absl::MakeConstSpan(keys_at(16)));
  EXPECT_NE(keys_at(16), keys_at(0));  // The first tokens are kept there.
  EXPECT_LT(codec->bits(), 9);
  EXPECT_GT(codec->bits(), 4);
}

TEST_F(KvRoundTripTest, LayersThatCannotBeEncodedStay) {
  StoreLe16(0x7C00, cache_.BlockLayer(2, 0).data());  // Infinity.
  KvCache before = cache_;
  const auto codec = Make("int8");

  ASSERT_TRUE(codec->ApplyToBlocks(4, cache_).ok());

  EXPECT_EQ(codec->layers_kept(), 1u);
  EXPECT_EQ(cache_.BlockLayer(2, 0), before.BlockLayer(2, 0));
  EXPECT_NE(cache_.BlockLayer(2, 1), before.BlockLayer(2, 1));
}

TEST_F(KvRoundTripTest, LosslessTakesFewerBitsForTheSameBytes) {
  const auto lossless = *KvRoundTrip::Make(
      "lossless", kShape, {.block_tokens = 512, .type = ElementType::kBf16});
  const auto values = testing::SomeLayer(
      *kShape.Layout(ElementType::kBf16, 512), ElementType::kBf16, 1);
  auto layer = values;

  ASSERT_TRUE(lossless->Apply(0, 0, absl::MakeSpan(layer)).ok());

  EXPECT_EQ(layer, values);
  EXPECT_LT(lossless->bits(), 13);
  EXPECT_GT(lossless->bits(), 8);
}

TEST_F(KvRoundTripTest, Bf16HasARoundingOfItsOwn) {
  const auto codec = *KvRoundTrip::Make(
      "int8", kShape, {.block_tokens = 16, .type = ElementType::kBf16});
  const auto values = testing::SomeLayer(layout_, ElementType::kBf16, 1);
  auto layer = values;

  ASSERT_TRUE(codec->Apply(0, 0, absl::MakeSpan(layer)).ok());

  const auto was = testing::Values(ElementType::kBf16, values);
  const auto is = testing::Values(ElementType::kBf16, layer);
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    error += (was[i] - is[i]) * (was[i] - is[i]);
    size += was[i] * was[i];
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 1e-3 * size);
}

TEST_F(KvRoundTripTest, CalibratedCodecsWantACalibration) {
  EXPECT_EQ(
      ErrorReason(
          KvRoundTrip::Make("nuq4", kShape, {.block_tokens = 16}).status()),
      "CALIBRATION");
}

TEST_F(KvRoundTripTest, RefusesWhatIsNoCodec) {
  EXPECT_EQ(
      ErrorReason(
          KvRoundTrip::Make("int5", kShape, {.block_tokens = 16}).status()),
      "CODEC");
}

}  // namespace
}  // namespace banyan::ctl
