// A lost or damaged catalogue costs no durable block: it is rebuilt from the
// record headers, and never silently.
//
// Method: fill a tier, close it, damage the catalogue's files by hand in every
// way that a disk or a person might, open again, and read all blocks.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/units.h"
#include "tests/testing/ssd_cases.h"
#include "tests/testing/temp_directory.h"

namespace banyan::tiers {
namespace {

namespace fs = std::filesystem;
using testing::OpenSsd;
using testing::ReadNo;
using testing::StoreSsdNo;

constexpr uint64_t kBlocks = 150;
constexpr uint64_t kBlock = 10'000;

std::vector<fs::path> FilesOf(const fs::path& folder,
                              const std::string& ending) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name.ends_with(ending) || name.starts_with(ending)) {
      files.push_back(entry.path());
    }
  }
  return files;
}

void FlipBytes(const fs::path& file, uint64_t seed) {
  std::mt19937_64 random(seed);
  const uint64_t size = fs::file_size(file);
  if (size == 0) return;
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  for (uint64_t i = 0; i < 1 + size / 200; ++i) {
    const auto at = static_cast<std::streamoff>(random() % size);
    stream.seekg(at);
    const char old = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(old ^ (1 << random() % 8)));
  }
}

class SsdRebuildTest : public ::testing::Test {
 protected:
  void Fill() {
    auto tier = Open();
    for (uint64_t n = 0; n < kBlocks; ++n) {
      ASSERT_TRUE(
          StoreSsdNo(*tier, n, kBlock, SsdTier::Durability::kWritten).ok());
    }
    ASSERT_TRUE(tier->Sync().ok());
  }

  // All blocks are served, and their annotations are there.
  void ExpectAll(SsdTier& tier) {
    for (uint64_t n = 0; n < kBlocks; ++n) {
      EXPECT_TRUE(ReadNo(tier, n, kBlock).ok()) << n;
    }
    EXPECT_EQ(found_.by_annotation().size(), kBlocks);
    for (const auto& [annotation, id] : found_.by_annotation()) {
      EXPECT_EQ(id, testing::IdNo(std::stoull(annotation.substr(5))));
    }
  }

  // The tier that was opened last, told to a sink that knew nothing.
  std::unique_ptr<SsdTier> Open() {
    found_.OnForgotten();
    options_.found_sink = &found_;
    return OpenSsd(options_);
  }

  testing::TempDirectory directory_;
  testing::FoundBlocks found_;
  SsdTier::Options options_ = testing::SsdOptionsIn(directory_.path());
  const fs::path catalogue_ = fs::path(directory_.path()) / "catalogue";
};

TEST_F(SsdRebuildTest, DeletedCatalogueIsRebuilt) {
  Fill();
  fs::remove_all(catalogue_);

  auto tier = Open();

  EXPECT_TRUE(tier->open_report().is_rebuilt);
  EXPECT_EQ(tier->open_report().records_recovered, kBlocks);
  ExpectAll(*tier);
  tier.reset();
  auto again = Open();
  EXPECT_FALSE(again->open_report().is_rebuilt);
  ExpectAll(*again);
}

TEST_F(SsdRebuildTest, DeletedManifestIsRebuilt) {
  Fill();
  for (const fs::path& file : FilesOf(catalogue_, "MANIFEST")) fs::remove(file);

  auto tier = Open();

  EXPECT_TRUE(tier->open_report().is_rebuilt);
  ExpectAll(*tier);
}

TEST_F(SsdRebuildTest, DeletedCurrentIsRebuilt) {
  Fill();
  fs::remove(catalogue_ / "CURRENT");

  auto tier = Open();

  ExpectAll(*tier);
}

TEST_F(SsdRebuildTest, LogCutAnywhereCostsNoBlock) {
  Fill();
  for (int cut = 0; cut < 12; ++cut) {
    const auto logs = FilesOf(catalogue_, ".log");
    for (const fs::path& file : logs) {
      fs::resize_file(file, fs::file_size(file) * cut / 12);
    }

    auto tier = Open();

    ExpectAll(*tier);
  }
}

TEST_F(SsdRebuildTest, FlippedBytesInAnyFileCostNoBlock) {
  Fill();
  // A second start moves the rows from the log into tables.
  OpenSsd(options_).reset();
  const std::vector<std::string> kinds = {".sst",    ".log",    "MANIFEST",
                                          "CURRENT", "OPTIONS", "IDENTITY"};
  for (uint64_t round = 0; round < 24; ++round) {
    const std::string& kind = kinds[round % kinds.size()];
    for (const fs::path& file : FilesOf(catalogue_, kind)) {
      FlipBytes(file, round);
    }

    auto tier = Open();

    ExpectAll(*tier);
    ASSERT_FALSE(HasFailure()) << kind << ", round " << round;
  }
}

TEST_F(SsdRebuildTest, DamagedSegmentHeaderAndLostCatalogueAreBothSurvived) {
  Fill();
  fs::remove_all(catalogue_);
  for (const fs::path& file :
       FilesOf(fs::path(directory_.path()) / "segments", ".seg")) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(30);
    stream.put('x');
  }

  auto tier = Open();

  ExpectAll(*tier);
}

TEST_F(SsdRebuildTest, DamagedRecordHeaderCostsOneBlockOfARebuild) {
  Fill();
  fs::remove_all(catalogue_);
  const auto segments =
      FilesOf(fs::path(directory_.path()) / "segments", ".seg");
  ASSERT_FALSE(segments.empty());
  {
    std::fstream stream(segments[0],
                        std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(kSegmentHeaderBytes + 20);
    stream.put('x');
  }

  auto tier = Open();

  EXPECT_EQ(tier->usage().blocks, kBlocks - 1);
}

}  // namespace
}  // namespace banyan::tiers
