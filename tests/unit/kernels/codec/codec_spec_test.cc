// Specs as text: what is read, what is written, and what is refused.
#include "kernels/codec/codec_spec.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

TEST(CodecSpecTest, TextIsReadAsItsParts) {
  const auto spec = ParseBlockSpec("k=int4:channel:g16,v=rotlm3:white,sink=4");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->keys, (PlaneSpec{.id = CodecId::kInt,
                                   .bits = 4,
                                   .group = 16,
                                   .axis = Axis::kChannel}));
  EXPECT_EQ(
      spec->values,
      (PlaneSpec{.id = CodecId::kRotLm, .bits = 3, .centre = Centre::kWhiten}));
  EXPECT_EQ(spec->sink_tokens, 4u);
}

TEST(CodecSpecTest, OptionsOfNuqAreReadInAnyOrder) {
  const auto spec = ParseBlockSpec("k=nuq3:pre:qnorm:channel,v=nuq2:dense");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->keys, (PlaneSpec{.id = CodecId::kNuq,
                                   .bits = 3,
                                   .axis = Axis::kChannel,
                                   .is_pre_rope = true,
                                   .has_q_norm = true}));
  EXPECT_EQ(spec->values,
            (PlaneSpec{.id = CodecId::kNuq, .bits = 2, .is_dense = true}));
}

TEST(CodecSpecTest, OneCodecIsForKeysAndValues) {
  const auto spec = ParseBlockSpec("int8");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->keys, spec->values);
  EXPECT_EQ(spec->keys.group, 64);
}

TEST(CodecSpecTest, GroupsAlongTokensAreShorter) {
  EXPECT_EQ(ParseBlockSpec("int4:channel")->keys.group, 32);
  EXPECT_EQ(ParseBlockSpec("int4:g16:channel")->keys.group, 16);
}

TEST(CodecSpecTest, WrittenSpecIsReadAsTheSame) {
  for (const std::string& text : testing::CodecSpecs()) {
    const auto spec = ParseBlockSpec(text);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(ToString(*spec), text);
    EXPECT_EQ(*ParseBlockSpec(ToString(*spec)), *spec);
  }
  EXPECT_EQ(ToString(*ParseBlockSpec("k=int4:g64,v=int4")), "int4");
}

TEST(CodecSpecTest, NonsenseIsRefused) {
  for (const char* text : {"",
                           "int5",
                           "int4:",
                           "int4:g0",
                           "int4:g12",
                           "int4:g136",
                           "int4:white",
                           "fp8:g32",
                           "raw:pre",
                           "rotlm4:channel",
                           "k=int4",
                           "v=int4,k=int4",
                           "k=int4,v=",
                           "int4,sink=256",
                           "int4,sink=-1",
                           "int4,sink=",
                           "int4,v=int4",
                           "k=int4,v=int4,sink=1,sink=1",
                           "int4,",
                           "k=int4,x=int4",
                           "rotlm5",
                           "nuq8",
                           "cold5",
                           "cold2:white",
                           "cold2:g32",
                           "cold2:pre,",
                           "cold2:dense",
                           "rotlm4:weighted",
                           "kvarn5",
                           "kvarn4:pre",
                           "kvarn4:g64",
                           "nuq4:g32",
                           "nuq4:white",
                           "rotlm4:dense",
                           "lossless:pre"}) {
    const auto spec = ParseBlockSpec(text);
    EXPECT_FALSE(spec.ok()) << text;
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(spec.status()), "CODEC");
  }
}

}  // namespace
}  // namespace banyan::codec
