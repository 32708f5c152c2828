// `banyanctl model generate` against a node: a second process reads what the
// first one computed, computes none of it again, and says the same. `banyanctl
// codec eval` needs no node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/testing/process.h"
#include "tests/testing/stories.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using ::testing::HasSubstr;
using testing::Output;
using testing::RunProgram;
using testing::ServerProcess;

class ModelCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server_.Start({"--dev", "--grpc-port", "0"}));
  }

  Output Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(),
                     {"--server", server_.endpoint(), "model", "generate",
                      "--model", testing::kStoriesModel});
    return RunProgram("banyanctl", arguments);
  }

  nlohmann::json Generate(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"-o", "json"});
    const Output output = Run(arguments);
    EXPECT_EQ(output.code, 0) << output.err;
    return nlohmann::json::parse(output.out);
  }

  ServerProcess server_;
};

// The first sentences, so that several blocks are full.
const std::string& Prompt() {
  static const auto* const prompt =
      new std::string(std::string(testing::kGreedyStory).substr(0, 180));
  return *prompt;
}

TEST_F(ModelCommandTest, ASecondProcessComputesNothingTwice) {
  const auto alone =
      Generate({"--prompt", Prompt(), "--tokens", "60", "--no-store"});
  const auto first = Generate({"--prompt", Prompt(), "--tokens", "60"});
  const auto second = Generate({"--prompt", Prompt(), "--tokens", "60"});

  const int prompt_tokens = alone["prompt_tokens"];
  ASSERT_GT(prompt_tokens, 48);
  const int full = (prompt_tokens - 1) / 16 * 16;
  EXPECT_EQ(alone["stored_tokens"], 0);
  EXPECT_EQ(alone["computed_tokens"], prompt_tokens);
  EXPECT_EQ(first["stored_tokens"], 0);
  EXPECT_EQ(first["computed_tokens"], prompt_tokens);
  EXPECT_EQ(first["blocks_written"], (prompt_tokens + 59) / 16);
  EXPECT_EQ(second["stored_tokens"], full);
  EXPECT_EQ(second["computed_tokens"], prompt_tokens - full);
  EXPECT_EQ(second["blocks_written"], 0);
  EXPECT_EQ(first["text"], alone["text"]);
  EXPECT_EQ(second["text"], alone["text"]);
  EXPECT_THAT(std::string(testing::kGreedyStory),
              HasSubstr(alone["text"].get<std::string>()));
}

TEST_F(ModelCommandTest, WhatWasGeneratedIsAPrefixToo) {
  const auto first =
      Generate({"--prompt", "Once upon a time", "--tokens", "100"});
  const std::string text = first["text"];

  const auto next = Generate({"--prompt", text, "--tokens", "40"});

  // The last token was said, but not computed.
  const int written = first["blocks_written"];
  EXPECT_EQ(written, 104 / 16);
  EXPECT_EQ(next["stored_tokens"], 16 * written);
  EXPECT_EQ(next["text"].get<std::string>().substr(0, text.size()), text);
  const auto alone =
      Generate({"--prompt", text, "--tokens", "40", "--no-store"});
  EXPECT_EQ(next["text"], alone["text"]);
}

TEST_F(ModelCommandTest, NamespacesOfOtherBlocksDoNotMix) {
  Generate({"--prompt", Prompt(), "--tokens", "5"});

  const auto other = Run({"--prompt", Prompt(), "--tokens", "5",
                          "--block-tokens", "8", "-o", "json"});

  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_EQ(nlohmann::json::parse(other.out)["stored_tokens"], 0);
  EXPECT_EQ(Run({"--prompt", "x", "--namespace", "one"}).code, 0);
  EXPECT_EQ(
      Run({"--prompt", "x", "--namespace", "one", "--block-tokens", "8"}).code,
      1);
}

TEST_F(ModelCommandTest, ACodecShowsWhatItDoes) {
  const auto none = Generate({"--prompt", Prompt(), "--tokens", "40"});
  EXPECT_FALSE(none.contains("codec"));

  const auto raw =
      Generate({"--prompt", Prompt(), "--tokens", "40", "--codec", "raw"});
  EXPECT_GT(raw["stored_tokens"], 0);
  EXPECT_EQ(raw["codec"]["kl"], 0);
  EXPECT_EQ(raw["codec"]["same_top"], 1);
  EXPECT_EQ(raw["text"], none["text"]);

  const auto int8 =
      Generate({"--prompt", Prompt(), "--tokens", "40", "--codec", "int8"});
  const auto int2 =
      Generate({"--prompt", Prompt(), "--tokens", "40", "--codec", "int2"});
  EXPECT_GT(int8["codec"]["kl"], 0);
  EXPECT_GT(int2["codec"]["kl"], int8["codec"]["kl"]);
  EXPECT_LT(int2["codec"]["bits"], int8["codec"]["bits"]);
  EXPECT_EQ(int2["blocks_written"], 0);

  // It left nothing behind.
  EXPECT_EQ(Generate({"--prompt", Prompt(), "--tokens", "40"})["text"],
            none["text"]);
}

TEST_F(ModelCommandTest, HasTheExitCodesOfTheTool) {
  EXPECT_EQ(Run({"--prompt", "x", "--codec", "int5"}).code, 2);
  EXPECT_EQ(Run({"--prompt", "x", "--tokens", "600"}).code, 2);
  EXPECT_EQ(Run({"--prompt-file", "/no/such/file"}).code, 3);
  EXPECT_EQ(RunProgram("banyanctl",
                       {"model", "generate", "--model", "/no/such/model"})
                .code,
            3);
  const Output damaged =
      RunProgram("banyanctl", {"model", "generate", "--no-store", "--model",
                               testing::kStoriesVocabulary});
  EXPECT_EQ(damaged.code, 2);
  EXPECT_THAT(damaged.err, HasSubstr("model"));
  ASSERT_EQ(server_.Stop(SIGTERM), 0);
  EXPECT_EQ(Run({"--prompt", "x", "--timeout-ms", "300"}).code, 5);
  EXPECT_EQ(Run({"--prompt", "x", "--no-store"}).code, 0);
}

TEST(CodecCommandTest, EvaluatesCodecs) {
  const testing::TempDirectory directory;
  const std::string html = directory.path() + "/codecs.html";
  const Output output = RunProgram(
      "banyanctl", {"codec", "eval", "--model", testing::kStoriesModel,
                    "--text", testing::kStoriesText, "--codec", "int8",
                    "--codec", "k=int4:channel,v=int4", "--tokens", "512",
                    "--html", html, "-o", "json"});
  ASSERT_EQ(output.code, 0) << output.err;

  const auto json = nlohmann::json::parse(output.out);
  EXPECT_EQ(json["model"], "stories260K");
  EXPECT_EQ(json["codecs"].size(), 2u);
  EXPECT_LT(json["codecs"][0]["kl"], json["codecs"][1]["kl"]);
  EXPECT_LT(json["perplexity_fp32"], 8);  // It told these stories itself.
  std::ifstream page(html);
  EXPECT_TRUE(page.good());

  EXPECT_EQ(RunProgram("banyanctl", {"codec", "eval", "--codec", "int5",
                                     "--model", testing::kStoriesModel,
                                     "--text", testing::kStoriesText})
                .code,
            2);
  EXPECT_EQ(RunProgram("banyanctl",
                       {"codec", "eval", "--model", testing::kStoriesModel,
                        "--text", "/no/such/text"})
                .code,
            3);
}

}  // namespace
}  // namespace banyan
