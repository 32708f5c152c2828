// The command that makes calibrations: its file is one that the codec takes, and
// what is weighed by gradients costs less than what is not.
#include "client/ctl/codec_calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "client/ctl/codec_eval.h"
#include "kernels/codec/calibrated_codec.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

using ::testing::HasSubstr;

class CodecCalibrateTest : public ::testing::Test {
 protected:
  absl::StatusOr<CodecCalibration> Make(CodecCalibrateOptions options) const {
    return CalibrateCodec(model_, text_, options);
  }

  const LoadedModel model_ = testing::LoadStories();
  const std::string text_ =
      *ReadFile(BANYAN_SOURCE_DIR "/tests/testing/texts/jargon.txt");
};

TEST_F(CodecCalibrateTest, MakesWhatTheCodecTakes) {
  const KvLayout layout =
      *model_.llama.shape().Layout(codec::ElementType::kFp16, 16);
  for (const char* const spec : {"k=nuq3:channel:pre,v=nuq3,sink=1",
                                 "k=cold2:weighted:pre,v=cold2:weighted,sink=1",
                                 "k=raw,v=nuq4", "k=cold3:weighted,v=int4"}) {
    const auto made = Make({.spec = spec, .window_tokens = 128, .tokens = 256});
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->tokens, 256u);
    const auto codec =
        codec::MakeBlockCodec({.spec = *codec::ParseBlockSpec(spec),
                               .layout = layout,
                               .rope = model_.llama.shape().Rope()},
                              AsBytes(made->bytes));
    EXPECT_TRUE(codec.ok()) << codec.status();
    EXPECT_EQ(made->bytes,
              Make({.spec = spec, .window_tokens = 128, .tokens = 256})->bytes);
  }
}

TEST_F(CodecCalibrateTest, SaysWhatItMade) {
  const CodecCalibration made{
      .model = "m", .spec = "nuq3", .tokens = 7, .bytes = "abc"};
  constexpr char kDigest[] =
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_THAT(CodecCalibrationText(made), HasSubstr(kDigest));
  EXPECT_THAT(CodecCalibrationJson(made), HasSubstr(kDigest));
  EXPECT_THAT(CodecCalibrationJson(made), HasSubstr("\"bytes\": 3"));
}

TEST_F(CodecCalibrateTest, RefusesWhatMakesNoSense) {
  EXPECT_EQ(ErrorReason(Make({.spec = "cold2"}).status()), "CALIBRATION");
  EXPECT_EQ(ErrorReason(Make({.spec = "nuq5"}).status()), "CODEC");
  EXPECT_EQ(ErrorReason(Make({.spec = "nuq3", .window_tokens = 63}).status()),
            "EVAL");
  EXPECT_EQ(ErrorReason(Make({.spec = "nuq3", .tokens = 100}).status()),
            "EVAL");
}

// On another part of the text.
TEST_F(CodecCalibrateTest, WeighedErrorsCostLess) {
  constexpr size_t kSplit = 12000;
  const auto report =
      EvaluateCodecs(model_, absl::string_view(text_).substr(0, kSplit),
                     {.specs = {"k=cold2:pre,v=cold2",
                                "k=cold2:weighted:pre,v=cold2:weighted"},
                      .tokens = 1024,
                      .calibration_text = text_.substr(kSplit),
                      .calibration_tokens = 2048},
                     {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_LT(report->rows[1].bits, report->rows[0].bits + 0.05);
  EXPECT_LT(report->rows[1].kl, 0.7 * report->rows[0].kl);
}

}  // namespace
}  // namespace banyan::ctl
