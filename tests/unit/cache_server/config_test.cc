// Goal: every value of the configuration comes from where it should, and what
// is wrong is refused with its place and what is wanted.
// Method: ParseCommandLine with a made-up environment and real small files.
#include "cache_server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace banyan::server {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& arguments,
                                  const Environment& environment = {}) {
  return ParseCommandLine(arguments, [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

std::string MessageOf(const std::vector<std::string>& arguments,
                      const Environment& environment = {}) {
  const auto line = Parse(arguments, environment);
  EXPECT_TRUE(absl::IsInvalidArgument(line.status())) << line.status();
  return std::string(line.status().message());
}

// A file of this text; its path.
std::string WriteFile(const std::string& text) {
  const std::string path = absl::StrCat(
      ::testing::TempDir(), "/",
      ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".yaml");
  std::ofstream(path) << text;
  return path;
}

TEST(ConfigTest, DefaultsAreThoseOfTheStruct) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok()) << line.status();
  const Config defaults;
  const Config& config = line->config;
  EXPECT_EQ(line->action, Action::kServe);
  EXPECT_EQ(config.bind, defaults.bind);
  EXPECT_EQ(config.grpc_port, defaults.grpc_port);
  EXPECT_EQ(config.host_bytes, defaults.host_bytes);
  EXPECT_EQ(config.prefault, defaults.prefault);
  EXPECT_EQ(config.huge_pages, defaults.huge_pages);
  EXPECT_EQ(config.eviction, defaults.eviction);
  EXPECT_EQ(config.block_bytes_max, defaults.block_bytes_max);
  EXPECT_EQ(config.keys_max, defaults.keys_max);
  EXPECT_EQ(config.group_blocks, defaults.group_blocks);
  EXPECT_EQ(config.calls_max, defaults.calls_max);
  EXPECT_EQ(config.sessions_max, defaults.sessions_max);
  EXPECT_EQ(config.leases_max, defaults.leases_max);
  EXPECT_EQ(config.lease_ttl_max, defaults.lease_ttl_max);
  EXPECT_EQ(config.session_timeout, defaults.session_timeout);
  EXPECT_EQ(config.write_idle_timeout, defaults.write_idle_timeout);
}

TEST(ConfigTest, TheUcxPortIsANumberOrOff) {
  EXPECT_EQ(Parse({})->config.ucx_port, std::nullopt);
  EXPECT_FALSE(Parse({})->config.is_ucx_off);
  EXPECT_EQ(Parse({"--ucx-port", "0"})->config.ucx_port, 0);
  EXPECT_EQ(Parse({"--ucx-port", "7613"})->config.ucx_port, 7613);
  EXPECT_TRUE(Parse({"--ucx-port", "off"})->config.is_ucx_off);
  for (const char* port : {"65536", "-1", "on", "7603x"}) {
    EXPECT_THAT(MessageOf({"--ucx-port", port}),
                HasSubstr("want a port, 0 to 65535, or off"));
  }
}

TEST(ConfigTest, WithDevTheUcxPortIsAFreeOneUnlessSomebodySaysOtherwise) {
  const auto line = Parse({"--dev"});
  EXPECT_EQ(line->config.ucx_port, 0);
  EXPECT_THAT(line->effective, Contains("ucx-port: 0  # --dev"));
  EXPECT_EQ(Parse({"--dev", "--ucx-port", "1"})->config.ucx_port, 1);
  EXPECT_EQ(Parse({"--dev"}, {{"BANYAN_UCX_PORT", "2"}})->config.ucx_port, 2);
}

TEST(ConfigTest, AFlagBeatsTheEnvironmentBeatsTheFileBeatsTheDefault) {
  const std::string path = WriteFile(
      "host-bytes: 1MiB\ngrpc-port: 1\nmax-keys: 11\n"
      "session-timeout: 1s\n");
  const Environment environment = {{"BANYAN_HOST_BYTES", "2MiB"},
                                   {"BANYAN_GRPC_PORT", "2"}};
  const auto line =
      Parse({"--host-bytes", "3MiB", "--config", path}, environment);
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.host_bytes, 3 * kMiB);
  EXPECT_EQ(line->config.grpc_port, 2);
  EXPECT_EQ(line->config.keys_max, 11u);
  EXPECT_EQ(line->config.session_timeout, absl::Seconds(1));
  EXPECT_EQ(line->config.leases_max, 65536u);
}

TEST(ConfigTest, PrintConfigSaysWhereEachValueComesFrom) {
  const std::string path = WriteFile("# comment\n\nmax-keys: 11\n");
  const auto line =
      Parse({"--print-config", "--config=" + path, "--prefault=false"},
            {{"BANYAN_BIND", "127.0.0.2"}});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->action, Action::kPrintConfig);
  EXPECT_THAT(line->effective, Contains("prefault: false  # --prefault"));
  EXPECT_THAT(line->effective, Contains("bind: 127.0.0.2  # BANYAN_BIND"));
  EXPECT_THAT(line->effective,
              Contains(absl::StrCat("max-keys: 11  # ", path, ":3")));
  EXPECT_THAT(line->effective, Contains("eviction: hazard  # default"));
}

TEST(ConfigTest, WordsThatAreNoKeysChooseTheAction) {
  EXPECT_EQ(Parse({"--dev"})->action, Action::kServe);
  EXPECT_EQ(Parse({"--help"})->action, Action::kHelp);
  EXPECT_EQ(Parse({"-h"})->action, Action::kHelp);
  EXPECT_EQ(Parse({"--version"})->action, Action::kVersion);
  EXPECT_EQ(Parse({"--check-config"})->action, Action::kCheckConfig);
}

TEST(ConfigTest, ASwitchNeedsNoValue) {
  EXPECT_FALSE(Parse({})->config.is_insecure_allowed);
  EXPECT_TRUE(Parse({"--insecure-i-understand"})->config.is_insecure_allowed);
  EXPECT_FALSE(
      Parse({"--insecure-i-understand=false"})->config.is_insecure_allowed);
}

TEST(ConfigTest, AnUnknownKeyIsRefusedWithTheNearest) {
  EXPECT_EQ(MessageOf({"--host-byte", "1GiB"}),
            "unknown key \"host-byte\". Did you mean \"host-bytes\"?");
  EXPECT_EQ(MessageOf({"--frobnicate=1"}),
            "unknown key \"frobnicate\". See: banyan-server --help");
  EXPECT_EQ(MessageOf({"serve"}),
            "\"serve\": not a flag. See: banyan-server --help");
  EXPECT_EQ(MessageOf({"--host-bytes"}), "--host-bytes: needs a value.");
}

TEST(ConfigTest, BadValuesAreRefusedWithWhatIsWanted) {
  EXPECT_EQ(MessageOf({"--host-bytes", "10 GBB"}),
            "--host-bytes: host-bytes: \"10 GBB\": want a size such as 4096, "
            "64KiB or 10GiB.");
  EXPECT_EQ(MessageOf({}, {{"BANYAN_GRPC_PORT", "70000"}}),
            "BANYAN_GRPC_PORT: grpc-port: \"70000\": want a number from 0 to "
            "65535.");
  EXPECT_EQ(MessageOf({"--prefault=perhaps"}),
            "--prefault: prefault: \"perhaps\": want true or false.");
  for (const char* time : {"0s", "-1s", "25h", "10", "soon"}) {
    EXPECT_EQ(MessageOf({"--session-timeout", time}),
              absl::StrCat("--session-timeout: session-timeout: \"", time,
                           "\": want a duration such as 500ms, 10s or 5m."));
  }
  EXPECT_THAT(MessageOf({"--max-keys", "0"}), HasSubstr("from 1 to 65536"));
  EXPECT_THAT(MessageOf({"--resp-port", "x"}), HasSubstr("want a port"));
}

TEST(ConfigTest, FaultsOfAFileNameTheLine) {
  std::string path = WriteFile("# one\nmax-keys: 4\nhost-byts: 1GiB\n");
  EXPECT_EQ(MessageOf({"--config", path}),
            absl::StrCat(path,
                         ":3: unknown key \"host-byts\". Did you mean "
                         "\"host-bytes\"?"));
  path = WriteFile("bind: 127.0.0.1\nhost-bytes: 10 GBB\n");
  EXPECT_EQ(MessageOf({"--config", path}),
            absl::StrCat(path,
                         ":2: host-bytes: \"10 GBB\": want a size such "
                         "as 4096, 64KiB or 10GiB."));
  path = WriteFile("bind: [1, 2]\n");
  EXPECT_EQ(MessageOf({"--config", path}),
            absl::StrCat(path, ":1: want key: value."));
  path = WriteFile("- a\n- b\n");
  EXPECT_EQ(MessageOf({"--config", path}),
            absl::StrCat(path, ":1: want lines of the form key: value."));
  path = WriteFile("bind: 127.0.0.1\nmax-keys: [4\n");
  EXPECT_THAT(MessageOf({"--config", path}),
              HasSubstr(absl::StrCat(path, ":")));
  EXPECT_EQ(MessageOf({"--config", "/no/such/file"}),
            "config: cannot read \"/no/such/file\". Check the path.");
}

TEST(ConfigTest, AnEmptyFileChangesNothing) {
  const auto line = Parse({"--config", WriteFile("")});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->config.host_bytes, kGiB);
}

TEST(ConfigTest, HelpNamesEveryKey) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok());
  for (const std::string& effective : line->effective) {
    const std::string name = effective.substr(0, effective.find(':'));
    EXPECT_THAT(ConfigHelp(), HasSubstr(absl::StrCat("  --", name, " ")));
  }
}

}  // namespace
}  // namespace banyan::server
