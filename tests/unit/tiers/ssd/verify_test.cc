// The offline check finds what is damaged, names it, and changes nothing.
#include "tiers/ssd/verify.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/units.h"
#include "tests/testing/ssd_cases.h"
#include "tests/testing/temp_directory.h"

namespace banyan::tiers {
namespace {

namespace fs = std::filesystem;

class VerifyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tier = testing::OpenSsd(testing::SsdOptionsIn(directory_.path()));
    for (uint64_t n = 0; n < 60; ++n) {
      ASSERT_TRUE(testing::StoreNo(*tier, n, 10'000).ok());
    }
    tier->Erase(testing::IdNo(5));
  }

  void Damage(uint64_t offset) {
    const auto first = fs::directory_iterator(directory_.path() + "/segments");
    std::fstream file(first->path(),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char old = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(old ^ 4));
  }

  absl::StatusOr<VerifyReport> Verify() {
    return VerifyDirectory(directory_.path(), FileSystem::Machine());
  }

  const testing::TempDirectory directory_;
};

TEST_F(VerifyTest, SoundDirectoryIsSoundTwice) {
  for (int i = 0; i < 2; ++i) {
    const auto report = Verify();

    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->is_sound());
    EXPECT_EQ(report->node_id, "node-1");
    EXPECT_EQ(report->records, 60u);
    EXPECT_EQ(report->rows, 59u);
    EXPECT_EQ(report->records_without_row, 1u);
    EXPECT_TRUE(report->findings.empty());
  }
}

TEST_F(VerifyTest, DamagedPayloadIsFoundAndNamed) {
  Damage(2 * kIoAlignment + 77);

  const auto report = Verify();

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->is_sound());
  EXPECT_EQ(report->records_damaged, 1u);
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_NE(report->findings[0].find("offset 4096"), std::string::npos);
}

TEST_F(VerifyTest, DamagedRecordHeaderIsARowWithoutRecord) {
  Damage(kIoAlignment + 50);

  const auto report = Verify();

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->headers_damaged, 1u);
  EXPECT_EQ(report->records, 59u);
}

TEST_F(VerifyTest, DirectoryInUseIsRefused) {
  const auto tier = testing::OpenSsd(testing::SsdOptionsIn(directory_.path()));

  EXPECT_EQ(ErrorReason(Verify().status()), "DIRECTORY_LOCKED");
}

TEST_F(VerifyTest, NoDirectoryIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(
      VerifyDirectory(directory_.path() + "/no", FileSystem::Machine())
          .status()));
}

}  // namespace
}  // namespace banyan::tiers
