// T-PSEUDO: errors of a codec do not add up while a model decodes on its own
// encoded cache.
//
// Method: a real model reads a text block by block. Queries of a block attend to
// its own keys and values as they are, and to those of all blocks before it as
// the codec gave them back; so what is encoded next was computed from what was
// decoded before. The tokens are those of the text, 16 blocks a window. The model
// has 512 positions, so a block is 32 of them.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "client/ctl/codec_eval.h"
#include "client/ctl/model/calibrate_model.h"
#include "client/ctl/model/divergence.h"
#include "client/ctl/model/kv_codec.h"
#include "kernels/codec/calibrated_codec.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

constexpr uint32_t kBlockTokens = 32;
constexpr uint32_t kBlocks = 16;
constexpr uint32_t kWindowTokens = kBlockTokens * kBlocks;
constexpr uint32_t kWindows = 16;
constexpr uint32_t kCalibrationWindows = 8;

class PseudoDecodeTest : public ::testing::Test {
 protected:
  using Tokens = std::vector<uint32_t>;

  // The window's tokens, of the part of the text that nothing is calibrated on.
  Tokens Window(uint32_t i) const {
    const auto first =
        tokens_.begin() + size_t{kCalibrationWindows + i} * kWindowTokens;
    return {first, first + kWindowTokens};
  }

  std::unique_ptr<KvRoundTrip> CodecOf(const std::string& spec) const {
    const codec::BlockSpec parsed = *codec::ParseBlockSpec(spec);
    std::vector<codec::Calibration> calibrations;
    if (codec::WantsCalibration(parsed)) {
      CalibrationText text{.block_tokens = kBlockTokens};
      for (uint32_t i = 0; i < kCalibrationWindows; ++i) {
        const auto first = tokens_.begin() + size_t{i} * kWindowTokens;
        text.sequences.emplace_back(first, first + kWindowTokens);
      }
      calibrations =
          *CalibrateModel(model_.llama, text, {parsed}, ElementType::kFp16);
    }
    auto codec = KvRoundTrip::Make(
        spec, model_.llama.shape(),
        {.block_tokens = kBlockTokens,
         .calibration = calibrations.empty() ? nullptr : &calibrations[0]});
    BANYAN_CHECK(codec.ok());
    return *std::move(codec);
  }

  // What the model says after each token of the window; through the codec, if
  // there is one.
  std::vector<float> Logits(const Tokens& window, KvRoundTrip* codec) const {
    const LlamaShape& shape = model_.llama.shape();
    const ElementType type =
        codec == nullptr ? ElementType::kFp32 : ElementType::kFp16;
    KvCache cache(*shape.Layout(type, kBlockTokens), type, kWindowTokens);
    const size_t block_logits = size_t{kBlockTokens} * shape.vocabulary;
    std::vector<float> logits(kBlocks * block_logits);
    for (uint32_t block = 0; block < kBlocks; ++block) {
      const uint32_t first = block * kBlockTokens;
      BANYAN_CHECK(
          model_.llama
              .Forward(absl::MakeConstSpan(window).subspan(first, kBlockTokens),
                       cache,
                       absl::MakeSpan(logits).subspan(block * block_logits,
                                                      block_logits))
              .ok());
      for (uint32_t layer = 0; codec != nullptr && layer < shape.layers;
           ++layer) {
        BANYAN_CHECK(
            codec->Apply(layer, first, cache.BlockLayer(block, layer)).ok());
      }
    }
    return logits;
  }

  // Of the next tokens of each block, over all windows, from an exact run.
  std::vector<Divergence> DivergenceOfBlocks(const std::string& spec) const {
    const auto codec = CodecOf(spec);
    const uint32_t vocabulary = model_.llama.shape().vocabulary;
    std::vector<Divergence> blocks(kBlocks);
    for (uint32_t i = 0; i < kWindows; ++i) {
      const Tokens window = Window(i);
      const auto exact = Logits(window, nullptr);
      const auto coded = Logits(window, codec.get());
      for (uint32_t t = 0; t < kWindowTokens; ++t) {
        const size_t at = size_t{t} * vocabulary;
        blocks[t / kBlockTokens].AddLogits(
            absl::MakeConstSpan(exact).subspan(at, vocabulary),
            absl::MakeConstSpan(coded).subspan(at, vocabulary));
      }
    }
    return blocks;
  }

  const LoadedModel model_ = testing::LoadStories();
  const Tokens tokens_ =
      TokensOfText(*model_.tokenizer, *ReadFile(testing::kStoriesText),
                   uint64_t{kWindowTokens} * (kCalibrationWindows + kWindows));
};

// Single blocks differ by a half from one to the next, so halves are compared.
double MeanKl(const std::vector<Divergence>& blocks, uint32_t begin,
              uint32_t end) {
  double sum = 0;
  for (uint32_t i = begin; i < end; ++i) sum += blocks[i].kl();
  return sum / (end - begin);
}

TEST_F(PseudoDecodeTest, DivergenceDoesNotGrow) {
  for (const char* const spec : {"k=kvarn4:channel,v=kvarn4,sink=4",
                                 "k=nuq4:channel:pre,v=nuq4,sink=4"}) {
    const auto blocks = DivergenceOfBlocks(spec);

    // Nothing has been decoded before the first one.
    EXPECT_LE(blocks[0].kl(), 1e-5);
    const double early = MeanKl(blocks, 1, kBlocks / 2);
    const double late = MeanKl(blocks, kBlocks / 2, kBlocks);
    EXPECT_GT(early, 0);
    EXPECT_LE(late, 1.5 * early) << spec;
  }
}

}  // namespace
}  // namespace banyan::ctl
