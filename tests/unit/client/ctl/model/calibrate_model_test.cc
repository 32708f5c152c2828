// A calibration of a model is that of a calibrator which is given the blocks that
// the model fills, however they are cut.
#include "client/ctl/model/calibrate_model.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/codec/calibrate.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

class CalibrateModelTest : public ::testing::Test {
 protected:
  const LoadedModel model_ = testing::LoadStories();
  const codec::BlockSpec spec_ =
      *codec::ParseBlockSpec("k=nuq3:channel:pre,v=nuq3,sink=2");
  const std::vector<uint32_t> tokens_ = [this] {
    std::vector<uint32_t> tokens =
        model_.tokenizer->Encode(testing::kGreedyStory);
    tokens.resize(128);
    return tokens;
  }();
};

TEST_F(CalibrateModelTest, IsThatOfTheBlocksOfTheModel) {
  const auto made = CalibrateModel(model_.llama, {{tokens_}, 16}, {spec_},
                                   ElementType::kFp16);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->size(), 1u);

  const LlamaShape& shape = model_.llama.shape();
  const KvLayout layout = *shape.Layout(ElementType::kFp32, 32);
  KvCache exact(layout, ElementType::kFp32, 128);
  std::vector<float> logits(shape.vocabulary);
  ASSERT_TRUE(
      model_.llama.Forward(tokens_, exact, absl::MakeSpan(logits)).ok());
  const KvLayout rounded = *shape.Layout(ElementType::kFp16, 128);
  KvCache cache(rounded, ElementType::kFp16, 128);
  const auto calibrator = *codec::Calibrator::Make({.spec = spec_,
                                                    .layout = rounded,
                                                    .type = ElementType::kFp16,
                                                    .rope = shape.Rope(),
                                                    .layers = shape.layers});
  std::vector<float> row(shape.kv_dim());
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (uint32_t i = 0; i < 2 * 128; ++i) {
      exact.Read(layer, i % 2, i / 2, 1, absl::MakeSpan(row));
      cache.Write(layer, i % 2, i / 2, row);
    }
    ASSERT_TRUE(calibrator->Add(layer, 0, cache.BlockLayer(0, layer)).ok());
  }

  EXPECT_EQ(made->at(0).Serialize(), calibrator->Finish()->Serialize());
}

TEST_F(CalibrateModelTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorReason(CalibrateModel(model_.llama, {{}, 16}, {spec_},
                                       ElementType::kFp16)
                            .status()),
            "CALIBRATION");
}

}  // namespace
}  // namespace banyan::ctl
