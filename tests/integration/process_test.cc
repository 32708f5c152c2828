// Goal: the programs keep the names and habits that scripts rely on: the READY
// line, free ports, signals, and exit codes.
// Method: the built programs are started as processes, with a port that the
// kernel picks; what they print and how they end is compared with the contract.
#include "tests/testing/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using testing::Output;
using testing::RunProgram;
using testing::ServerProcess;

constexpr const char* kMemory = "--host-bytes=16MiB";

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server_.Start({"--dev", "--grpc-port=0", kMemory}));
  }

  Output Ctl(std::vector<std::string> arguments, const std::string& in = "") {
    arguments.insert(arguments.begin(), {"--server", server_.endpoint()});
    return RunProgram("banyanctl", arguments, in);
  }

  ServerProcess server_;
};

TEST_F(ProcessTest, TheReadyLineNamesAllDoorsAndRealPorts) {
#ifdef BANYAN_HAS_UCX
  const std::string ucx = "[1-9][0-9]+";
#else
  const std::string ucx = "0";
#endif
  EXPECT_THAT(server_.ready_line(),
              MatchesRegex("READY grpc=127.0.0.1:[1-9][0-9]+ "
                           "resp=127.0.0.1:[0-9]+ http=127.0.0.1:[0-9]+ "
                           "ucx=127.0.0.1:" +
                           ucx + " shm=/.*[.]sock"));
}

TEST_F(ProcessTest, ReadyIsTheOnlyLineOnStdout) {
  const int code = server_.Stop(SIGTERM);

  EXPECT_EQ(code, 0);
  EXPECT_THAT(server_.rest_of_stdout(), IsEmpty());
}

TEST_F(ProcessTest, SigtermAndSigintEndItInGoodOrder) {
  EXPECT_EQ(server_.Stop(SIGTERM), 0);
  ServerProcess other;
  ASSERT_TRUE(other.Start({"--dev", "--grpc-port=0", kMemory}));
  EXPECT_EQ(other.Stop(SIGINT), 0);
}

TEST_F(ProcessTest, APutAMatchAndAGet) {
  const std::string block(100000, 'b');
  ASSERT_EQ(Ctl({"namespace", "create", "demo"}).code, 0);
  EXPECT_EQ(Ctl({"put", "demo", "00aa"}, block).code, 0);
  EXPECT_EQ(Ctl({"put", "demo", "00aa", "00bb"}, block).code, 0);

  const Output match = Ctl({"match", "demo", "00aa", "00bb", "00cc"});
  EXPECT_EQ(match.code, 0);
  EXPECT_EQ(match.out, "2 of 3 blocks\n");
  const Output get = Ctl({"get", "demo", "00aa", "00bb"});
  EXPECT_EQ(get.code, 0);
  EXPECT_EQ(get.out, block);
}

TEST_F(ProcessTest, ExitCodesAreThoseOfTheContract) {
  ASSERT_EQ(Ctl({"namespace", "create", "demo"}).code, 0);

  EXPECT_EQ(Ctl({"status"}).code, 0);
  EXPECT_EQ(Ctl({}).code, 2);
  EXPECT_EQ(Ctl({"sttus"}).code, 2);
  EXPECT_EQ(Ctl({"put", "demo", "xyz"}).code, 2);
  EXPECT_EQ(Ctl({"namespace", "describe", "absent"}).code, 3);
  EXPECT_EQ(Ctl({"get", "demo", "00aa"}).code, 3);
  EXPECT_EQ(Ctl({"key", "stat", "demo", "00aa"}).code, 3);
  EXPECT_EQ(RunProgram("banyanctl", {"--server", "127.0.0.1:1", "--timeout-ms",
                                     "300", "status"})
                .code,
            5);
  ASSERT_EQ(Ctl({"put", "demo", "00aa"}, "x").code, 0);
  EXPECT_EQ(Ctl({"key", "stat", "demo", "00aa", "00bb"}).code, 6);
}

TEST_F(ProcessTest, DestructiveCommandsNeedYesWithoutATerminal) {
  ASSERT_EQ(Ctl({"namespace", "create", "demo"}).code, 0);

  const Output refused = Ctl({"namespace", "drop", "demo"});

  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--yes"));
  EXPECT_EQ(Ctl({"namespace", "describe", "demo"}).code, 0);
  EXPECT_EQ(Ctl({"namespace", "drop", "demo", "--yes"}).code, 0);
  EXPECT_EQ(Ctl({"namespace", "describe", "demo"}).code, 3);
}

TEST_F(ProcessTest, EveryCommandHasHelpWithAnExample) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{},
                                             {"status"},
                                             {"usage"},
                                             {"trim"},
                                             {"version"},
                                             {"namespace", "create"},
                                             {"namespace", "list"},
                                             {"namespace", "describe"},
                                             {"namespace", "drop"},
                                             {"put"},
                                             {"key", "ls"},
                                             {"tier", "describe"},
                                             {"scrub", "start"},
                                             {"scrub", "status"},
                                             {"verify"},
                                             {"bench"},
                                             {"simulate"},
                                             {"get"},
                                             {"match"},
                                             {"key", "stat"},
                                             {"key", "rm"},
                                             {"bench"},
                                             {"replay"}}) {
    std::vector<std::string> arguments = command;
    arguments.push_back("--help");
    const Output help = RunProgram("banyanctl", arguments);
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out, HasSubstr("Example: banyanctl"));
  }
  EXPECT_THAT(RunProgram("banyan-server", {"--help"}).out,
              HasSubstr("--host-bytes"));
}

TEST_F(ProcessTest, AReplayWritesItsReports) {
  const std::filesystem::path trace =
      std::filesystem::path(::testing::TempDir()) / "process_test.jsonl";
  std::ofstream(trace) << "{\"timestamp\":0,\"hash_ids\":[1,2,3]}\n"
                          "{\"timestamp\":5,\"hash_ids\":[1,2,3,4]}\n"
                          "{\"timestamp\":9,\"hash_ids\":[9]}\n";
  const std::string json = trace.string() + ".report.json";
  const std::string html = trace.string() + ".report.html";

  const Output replay = Ctl({"replay", trace.string(), "--block-bytes", "8KiB",
                             "--json", json, "--html", html});

  EXPECT_EQ(replay.code, 0) << replay.err;
  std::ifstream file(json);
  const auto report = nlohmann::json::parse(file);
  EXPECT_EQ(report["requests"], 3);
  EXPECT_EQ(report["blocks_requested"], 8);
  EXPECT_EQ(report["blocks_hit"], 3);
  EXPECT_EQ(report["hit_ratio"], 3.0 / 8);
  EXPECT_EQ(report["hit_ratio_infinite"], 3.0 / 8);
  EXPECT_EQ(report["hit_ratio_belady"], 3.0 / 8);
  EXPECT_EQ(report["wrong_bytes"], 0);
  EXPECT_EQ(report["wrong_blocks"], 0);
  EXPECT_EQ(report["errors"], 0);
  EXPECT_EQ(report["bytes_read"], 3 * 8192);
  EXPECT_EQ(report["bytes_written"], 5 * 8192);
  EXPECT_EQ(report["tokens_saved"], 3 * 512);
  EXPECT_EQ(report["tiers"]["host"]["blocks_hit"], 3);
  EXPECT_EQ(report["tiers"]["host"]["bytes_read"], 3 * 8192);
  EXPECT_TRUE(report["seconds"].is_number());
  for (const char* call : {"match_us", "get_us", "put_us"}) {
    for (const char* figure : {"p50", "p90", "p99", "max"}) {
      EXPECT_TRUE(report[call][figure].is_number()) << call << figure;
    }
  }
  std::ifstream page(html);
  const std::string text(std::istreambuf_iterator<char>(page), {});
  EXPECT_THAT(text, HasSubstr("<svg"));
  EXPECT_THAT(text, ::testing::Not(ContainsRegex("src=|href=|https?://")));
}

TEST(ProcessExitTest, WrongFlagsEndWithTwoAndTakenPortsWithThree) {
  EXPECT_EQ(RunProgram("banyan-server", {"--no-such-flag"}).code, 2);
  EXPECT_EQ(RunProgram("banyan-server", {"--host-bytes", "10GBB"}).code, 2);
  EXPECT_EQ(RunProgram("banyan-server", {"--host-bytes", "9000TiB"}).code, 2);
  EXPECT_EQ(RunProgram("banyan-server", {"--check-config"}).code, 0);
  EXPECT_EQ(RunProgram("banyan-server", {"--version"}).code, 0);

  ServerProcess first;
  ASSERT_TRUE(first.Start({"--dev", "--grpc-port=0", kMemory}));
  const Output second = RunProgram(
      "banyan-server", {"--dev", kMemory, "--grpc-port", first.port()});
  EXPECT_EQ(second.code, 3);
  EXPECT_THAT(second.err, HasSubstr("in use"));
}

TEST(SsdProcessTest, ARestartIsWarmAndADurableBlockSurvivesAKill) {
  const testing::TempDirectory directory;
  const std::vector<std::string> flags = {"--dev",
                                          "--grpc-port=0",
                                          kMemory,
                                          "--ssd-dir=" + directory.path(),
                                          "--ssd-bytes=64MiB",
                                          "--ssd-segment-bytes=4MiB"};
  const auto ctl = [](const ServerProcess& server,
                      std::vector<std::string> arguments,
                      const std::string& in = "") {
    arguments.insert(arguments.begin(), {"--server", server.endpoint()});
    return RunProgram("banyanctl", arguments, in);
  };
  const std::string block(50000, 'b');
  ServerProcess server;
  ASSERT_TRUE(server.Start(flags));
  EXPECT_EQ(ctl(server, {"put", "demo", "00aa", "--durable"}, block).out,
            "committed 48.8 KiB, durable\n");
  EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);

  // After a kill what was durable is there, after a stop everything.
  ASSERT_TRUE(server.Start(flags));
  EXPECT_EQ(ctl(server, {"get", "demo", "00aa"}).out, block);
  EXPECT_EQ(ctl(server, {"put", "demo", "00aa", "00bb"}, block).code, 0);
  EXPECT_EQ(server.Stop(SIGTERM), 0);
  ASSERT_TRUE(server.Start(flags));
  EXPECT_EQ(ctl(server, {"get", "demo", "00aa", "00bb"}).out, block);

  EXPECT_THAT(ctl(server, {"tier", "describe"}).out, HasSubstr("ssd"));
  EXPECT_EQ(ctl(server, {"scrub", "start"}).code, 0);
  EXPECT_EQ(ctl(server, {"scrub", "status"}).code, 0);
  EXPECT_EQ(RunProgram("banyanctl", {"verify", directory.path()}).code, 1)
      << "a directory in use is not checked";
  EXPECT_EQ(server.Stop(SIGTERM), 0);
  const Output verify = RunProgram("banyanctl", {"verify", directory.path()});
  EXPECT_EQ(verify.code, 0) << verify.err;
  EXPECT_THAT(verify.out, HasSubstr("sound"));
}

TEST(SsdProcessTest, ADirectoryBelongsToOneNode) {  // Rows 51, 52.
  const testing::TempDirectory directory;
  const std::vector<std::string> flags = {"--dev",
                                          "--grpc-port=0",
                                          kMemory,
                                          "--ssd-dir=" + directory.path(),
                                          "--ssd-bytes=64MiB",
                                          "--ssd-segment-bytes=4MiB"};
  ServerProcess first;
  ASSERT_TRUE(first.Start(flags));

  const Output second = RunProgram("banyan-server", flags);
  EXPECT_EQ(second.code, 3);
  EXPECT_THAT(second.err, HasSubstr(absl::StrCat("pid ", first.pid())));

  EXPECT_EQ(first.Stop(SIGTERM), 0);
  std::filesystem::remove(directory.path() + "/node.json");
  const Output other = RunProgram("banyan-server", flags);
  EXPECT_EQ(other.code, 3);
  EXPECT_THAT(other.err, HasSubstr("belongs to"));
}

}  // namespace
}  // namespace banyan
