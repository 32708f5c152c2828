// Labels are read back as written, and refused when damaged or foreign.
#include "tiers/ssd/directory.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/testing/fault_disk.h"

namespace banyan::tiers {
namespace {

TEST(DirectoryLabelTest, ReadBackAsWritten) {
  for (const std::string& node :
       {std::string("node-1"), std::string("\n\\\0x", 4)}) {
    const DirectoryLabel label = {
        .node_id = node, .number = 1, .count = 3, .boot = 17};

    const auto parsed = ParseLabel(FormatLabel(label));

    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, label);
  }
}

TEST(DirectoryLabelTest, AnyChangedByteIsRefused) {
  const std::string text =
      FormatLabel({.node_id = "node-1", .count = 1, .boot = 2});
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(ParseLabel(damaged).ok()) << i;
    EXPECT_FALSE(ParseLabel(text.substr(0, i)).ok()) << i;
  }
}

TEST(DirectoryLabelTest, AnotherFormatIsNamed) {
  const auto label =
      ParseLabel("banyan ssd directory\nformat 7\nwhat ever follows\n");

  EXPECT_EQ(ErrorReason(label.status()), "DIRECTORY_FOREIGN");
  EXPECT_NE(label.status().message().find("format 7"), absl::string_view::npos);
}

TEST(SsdDirectoryTest, OrderOfDirectoriesIsKept) {
  testing::FaultDisk disk;
  {
    auto directory = *SsdDirectory::Claim(
        disk, "/d", {.node_id = "n", .number = 0, .count = 2});
    ASSERT_TRUE(directory->SetBoot(4).ok());
  }
  EXPECT_EQ((*SsdDirectory::Claim(disk, "/d",
                                  {.node_id = "n", .number = 0, .count = 2}))
                ->boot(),
            4u);

  const auto swapped = SsdDirectory::Claim(
      disk, "/d", {.node_id = "n", .number = 1, .count = 2});

  EXPECT_EQ(ErrorReason(swapped.status()), "DIRECTORY_FOREIGN");
}

TEST(SegmentFileNameTest, OnlyExactNamesAreRead) {
  uint64_t id = 0;
  EXPECT_TRUE(ParseSegmentFileName("00000000000000ff.seg", id));
  EXPECT_EQ(id, 255u);
  for (const char* const name :
       {"ff.seg", "00000000000000FF.seg", "00000000000000ff.seg.unreadable",
        "0x000000000000ff.seg", "00000000000000ff.sst", ""}) {
    EXPECT_FALSE(ParseSegmentFileName(name, id)) << name;
  }
}

}  // namespace
}  // namespace banyan::tiers
