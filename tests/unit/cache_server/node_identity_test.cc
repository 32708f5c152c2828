// Goal: a node is the same one at every start, and never takes another file for
// its own.
// Method: a directory of its own; loads, reloads and damaged files.
#include "cache_server/node_identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "tests/testing/temp_directory.h"

namespace banyan::server {
namespace {

TEST(NodeIdentityTest, IsMadeOnceAndKept) {
  const testing::TempDirectory directory;
  const std::string path = directory.path() + "/a/b";

  const auto first = LoadNodeIdentity(path);
  const auto second = LoadNodeIdentity(path);

  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(first->node_id.size(), 32u);
  EXPECT_EQ(first->secret.size(), 32u);
}

TEST(NodeIdentityTest, OthersMayNotReadIt) {
  const testing::TempDirectory directory;
  ASSERT_TRUE(LoadNodeIdentity(directory.path()).ok());

  struct stat status;
  ASSERT_EQ(stat((directory.path() + "/node.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(NodeIdentityTest, TwoNodesDiffer) {
  EXPECT_NE(MakeNodeIdentity().node_id, MakeNodeIdentity().node_id);
  EXPECT_NE(MakeNodeIdentity().secret, MakeNodeIdentity().secret);
}

TEST(NodeIdentityTest, ADamagedFileIsRefusedAndKept) {
  const testing::TempDirectory directory;
  const std::string path = directory.path() + "/node.json";
  for (const char* text :
       {"", "{}", "{\"format\": 2, \"node_id\": \"a\", \"secret\": \"00\"}",
        "{\"format\": 1, \"node_id\": \"a\", \"secret\": \"00\"}"}) {
    std::ofstream(path) << text;

    const auto identity = LoadNodeIdentity(directory.path());

    EXPECT_TRUE(absl::IsFailedPrecondition(identity.status())) << text;
    EXPECT_EQ(ErrorReason(identity.status()), "NODE_FILE");
    EXPECT_EQ(std::filesystem::file_size(path), std::string(text).size());
  }
}

}  // namespace
}  // namespace banyan::server
