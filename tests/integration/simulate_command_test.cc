// `banyanctl simulate` needs no server, writes what it is asked for, and ends
// with the documented exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/testing/process.h"

namespace banyan {
namespace {

using ::testing::HasSubstr;
using testing::Output;
using testing::RunProgram;

constexpr char kTrace[] =
    BANYAN_SOURCE_DIR "/tests/testing/traces/mooncake_conversation.jsonl.zst";

Output Simulate(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "simulate");
  return RunProgram("banyanctl", arguments);
}

TEST(SimulateCommandTest, PrintsATableOrJson) {
  const Output table = Simulate(
      {kTrace, "--policy", "lru,hazard", "--capacity-blocks", "300,900"});
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("Belady"));
  EXPECT_THAT(table.out, HasSubstr("hazard"));

  const Output json =
      Simulate({kTrace, "-o", "json", "--policy", "lru,hazard",
                "--capacity-blocks", "300,900", "--hint-told", "0.7"});
  ASSERT_EQ(json.code, 0) << json.err;
  EXPECT_EQ(nlohmann::json::parse(json.out).size(), 4u);
}

TEST(SimulateCommandTest, HasTheExitCodesOfTheTool) {
  EXPECT_EQ(Simulate({kTrace}).code, 2);
  const Output unknown =
      Simulate({kTrace, "--policy", "x", "--capacity-blocks", "5"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("hazard"));
  const std::vector<std::string> rest = {"--policy", "lru", "--capacity-blocks",
                                         "500"};
  std::vector<std::string> absent = {"/no/such/trace"};
  absent.insert(absent.end(), rest.begin(), rest.end());
  EXPECT_EQ(Simulate(absent).code, 3);
  EXPECT_EQ(Simulate({kTrace, "--policy", "lru", "--capacity-blocks", "500",
                      "--json", "/no/such/folder/x.json"})
                .code,
            1);
  EXPECT_EQ(Simulate({"--help"}).code, 0);
}

}  // namespace
}  // namespace banyan
