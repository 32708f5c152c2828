// A prompt is continued with the likeliest tokens, and what was done is counted.
// With a node: tests/integration/model_command_test.cc.
#include "client/ctl/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

using ::testing::HasSubstr;

TEST(GenerateTest, ContinuesAPrompt) {
  const LoadedModel model = testing::LoadStories();
  const auto report =
      Generate(model, nullptr, {.prompt = "Once upon a time", .tokens = 196});
  ASSERT_TRUE(report.ok()) << report.status();

  EXPECT_EQ(report->text, testing::kGreedyStory);
  EXPECT_EQ(report->prompt_tokens, 5u);
  EXPECT_EQ(report->computed_tokens, 5u);
  EXPECT_EQ(report->stored_tokens, 0u);
  EXPECT_EQ(report->generated_tokens, 196u);
  EXPECT_EQ(report->blocks_written, 0u);
  EXPECT_GT(report->first_token_ms, 0);
}

TEST(GenerateTest, BeginsWithoutAPrompt) {
  const LoadedModel model = testing::LoadStories();
  const auto report = Generate(model, nullptr, {.tokens = 200});
  ASSERT_TRUE(report.ok()) << report.status();

  EXPECT_EQ(report->text, testing::kGreedyStory);
}

TEST(GenerateTest, RefusesAPromptThatLeavesNoRoom) {
  const LoadedModel model = testing::LoadStories();
  std::string prompt;
  for (int i = 0; i < 510; ++i) prompt += "a ";
  const auto report = Generate(model, nullptr, {.prompt = prompt});

  EXPECT_EQ(ErrorReason(report.status()), "PROMPT");
}

TEST(GenerateReportTest, IsTextOrJson) {
  const GenerateReport report{
      .text = "bad \xFF byte",
      .stored_tokens = 32,
      .codec = CodecEffect{.spec = "int4", .bits = 4.5, .kl = 0.25}};

  EXPECT_THAT(GenerateText(report), HasSubstr("KL 0.25 nats"));
  const auto json = nlohmann::json::parse(GenerateJson(report));
  EXPECT_EQ(json["stored_tokens"], 32);
  EXPECT_EQ(json["codec"]["bits"], 4.5);
}

}  // namespace
}  // namespace banyan::ctl
