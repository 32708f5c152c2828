// Codecs from a spec and the bytes of a calibration: as those that are made by
// hand; and what is refused, in words that say what to do.
#include "kernels/codec/calibrated_codec.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/codec/calibrate.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

KvLayout Layout(uint32_t layers = 1) {
  return *KvLayout::Make({.element_bytes = 2,
                          .layers = layers,
                          .planes = 2,
                          .block_tokens = 32,
                          .kv_heads = 2,
                          .head_dim = 16});
}

std::vector<std::byte> Made(const std::string& spec,
                            std::optional<RopeSpec> rope = std::nullopt) {
  const auto calibrator = *Calibrator::Make({.spec = *ParseBlockSpec(spec),
                                             .layout = Layout(),
                                             .rope = rope,
                                             .layers = 1});
  EXPECT_TRUE(
      calibrator
          ->Add(0, 64, testing::SomeLayer(Layout(), ElementType::kFp16, 1))
          .ok());
  return (*calibrator->Finish()).Serialize();
}

absl::Status Check(const std::string& spec,
                   absl::Span<const std::byte> calibration,
                   const KvLayout& layout = Layout()) {
  return CheckBlockCodec(*ParseBlockSpec(spec), layout, ElementType::kFp16,
                         calibration);
}

TEST(CalibratedCodecTest, KnowsWhoWantsACalibration) {
  EXPECT_TRUE(WantsCalibration(*ParseBlockSpec("nuq4")));
  EXPECT_TRUE(WantsCalibration(*ParseBlockSpec("k=raw,v=nuq2")));
  EXPECT_FALSE(WantsCalibration(*ParseBlockSpec("k=raw,v=nuq2"), 1));
  EXPECT_FALSE(WantsCalibration(*ParseBlockSpec("rotlm4")));
}

TEST(CalibratedCodecTest, IsTheCodecWithThatCalibration) {
  const auto bytes = Made("nuq3");
  const Calibration calibration = *Calibration::Parse(bytes);
  const auto by_bytes = *MakeBlockCodec(
      {.spec = *ParseBlockSpec("nuq3"), .layout = Layout()}, bytes);
  const auto by_hand = *BlockCodec::Make({.spec = *ParseBlockSpec("nuq3"),
                                          .layout = Layout(),
                                          .calibration = &calibration});
  const auto layer = testing::SomeLayer(Layout(), ElementType::kFp16, 2);
  std::vector<std::vector<std::byte>> encoded;
  for (const BlockCodec* const codec : {by_bytes.get(), by_hand.get()}) {
    auto work = codec->MakeWorkspace();
    ASSERT_TRUE(codec->StartEncoding(64, work).ok());
    encoded.emplace_back(codec->EncodedLayerBytes(64));
    ASSERT_TRUE(
        codec->EncodeLayer(layer, work, absl::MakeSpan(encoded.back())).ok());
  }
  EXPECT_EQ(encoded[0], encoded[1]);
}

// The rotary embedding is the client's to know.
TEST(CalibratedCodecTest, ChecksWithoutTheRotaryEmbedding) {
  const std::string spec = "k=nuq4:channel:pre,v=nuq4";
  const auto bytes = Made(spec, testing::SomeRope(16));
  EXPECT_EQ(Check(spec, bytes), absl::OkStatus());
  EXPECT_EQ(Check("k=rotlm4:pre,v=int4", {}), absl::OkStatus());
  EXPECT_EQ(ErrorReason(
                MakeBlockCodec(
                    {.spec = *ParseBlockSpec(spec), .layout = Layout()}, bytes)
                    .status()),
            "CODEC");
}

TEST(CalibratedCodecTest, SaysWhatIsWrong) {
  const auto bytes = Made("nuq4");
  const auto expect = [](const absl::Status& status,
                         absl::string_view message) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(status), "CALIBRATION");
    EXPECT_EQ(status.message(), message);
  };
  EXPECT_EQ(Check("nuq4", bytes), absl::OkStatus());
  EXPECT_EQ(Check("nuq4:qnorm", bytes), absl::OkStatus());
  expect(Check("nuq4", {}),
         "calibration: nuq4 wants one of the model. Send it, or use rotlm, "
         "which wants none.");
  expect(Check("int4", bytes),
         "calibration: int4 works without. Leave it out.");
  expect(Check("nuq4", absl::MakeSpan(bytes).first(100)),
         "calibration: 100 bytes, none that are one. Send the file as it was "
         "made.");
  expect(Check("nuq3", bytes),
         "calibration: made for k=nuq4,v=nuq4 of 1 layers and 32 channels; "
         "want nuq3 of 1 and 32.");
  expect(Check("nuq4", bytes, Layout(2)),
         "calibration: made for k=nuq4,v=nuq4 of 1 layers and 32 channels; "
         "want nuq4 of 2 and 32.");
}

}  // namespace
}  // namespace banyan::codec
