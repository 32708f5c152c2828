// Damage on disk is never served: 10^5 injections into payloads, record headers,
// segment headers and catalogue rows, each of which must be caught.
//
// Method: one good disk in memory, cloned for each round; in a round every block
// is damaged in a way of its own, then read as a client would. Whether the bytes
// really changed is checked, so that an injection that did nothing does not pass
// as caught.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "tests/testing/fault_disk.h"
#include "tests/testing/repetitions.h"
#include "tests/testing/ssd_cases.h"
#include "tiers/ssd/segment_scan.h"

namespace banyan::tiers {
namespace {

using testing::FaultDisk;
using testing::IdNo;
using testing::SsdOptionsOn;

constexpr uint64_t kBlocks = 200;
// 90,000 injections in records, and the rest in rows and headers.
constexpr uint64_t kRounds = testing::Repetitions(450);
constexpr uint64_t kRowInjections = 8000;
constexpr uint64_t kHeaderInjections = 2000;

uint64_t PayloadBytesOf(uint64_t n) { return 2000 + n * 37 % 9000; }

struct RecordAt {
  std::string path;
  uint64_t number = 0;
  uint64_t offset = 0;
  uint64_t header_bytes = 0;
  uint64_t payload_bytes = 0;
};

enum class Damage {
  kPayloadBit,
  kHeaderBit,
  kPayloadSectorZero,
  kPayloadPageOfAnother,
  kHeaderOfAnother,
  kHeaderZero,
  kPayloadGarbage,
  kSwappedRecords,
};
constexpr int kDamages = 8;

class SsdCorruptionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    {
      auto tier = testing::OpenSsd(SsdOptionsOn(good_));
      for (uint64_t n = 0; n < kBlocks; ++n) {
        ASSERT_TRUE(testing::StoreNo(*tier, n, PayloadBytesOf(n), 1500).ok());
      }
      ASSERT_TRUE(tier->Sync().ok());
    }
    FindRecords();
    ASSERT_EQ(records_.size(), kBlocks);
  }

  void FindRecords() {
    for (const std::string& path : good_.Paths("/ssd/segments")) {
      auto file = *good_.Open(path, OpenMode::kRead);
      uint64_t id = 0;
      ASSERT_TRUE(ParseSegmentFileName(path.substr(path.rfind('/') + 1), id));
      const auto header = ReadSegmentHeader(*file, NodeDigest("node-1"), id);
      ASSERT_TRUE(header.ok()) << header.status();
      const auto scan = ScanSegment(
          *file, *header, kSegmentHeaderBytes, BadHeader::kEnds,
          [&](FoundRecord found) {
            for (uint64_t n = 0; n < kBlocks; ++n) {
              if (!(found.header.id == IdNo(n))) continue;
              const BlockHeader& block = found.header.block;
              records_.push_back(
                  {.path = path,
                   .number = n,
                   .offset = found.offset,
                   .header_bytes = RecordHeaderBytes(block.piece_count()),
                   .payload_bytes = block.payload_bytes});
            }
          });
      ASSERT_TRUE(scan.ok()) << scan.status();
    }
  }

  std::string Bytes(const RecordAt& at) {
    std::string bytes;
    good_.Edit(at.path, [&](std::string& file) {
      bytes = file.substr(at.offset, at.header_bytes + at.payload_bytes);
    });
    return bytes;
  }

  // The record's bytes as damaged, or the same bytes if it cannot be so.
  std::string Damaged(const RecordAt& at, const RecordAt& other, Damage damage,
                      std::mt19937_64& random) {
    std::string bytes = Bytes(at);
    const std::string others = Bytes(other);
    char* const payload = bytes.data() + at.header_bytes;
    const uint64_t place = random() % at.payload_bytes;
    switch (damage) {
      case Damage::kPayloadBit:
        payload[place] ^= static_cast<char>(1 << random() % 8);
        break;
      case Damage::kHeaderBit:
        bytes[random() % at.header_bytes] ^=
            static_cast<char>(1 << random() % 8);
        break;
      case Damage::kPayloadSectorZero: {
        const uint64_t from = place / 512 * 512;
        std::memset(payload + from, 0,
                    std::min<uint64_t>(512, at.payload_bytes - from));
        break;
      }
      case Damage::kPayloadPageOfAnother: {
        const uint64_t size =
            std::min<uint64_t>({4096, at.payload_bytes, other.payload_bytes});
        std::memcpy(payload, others.data() + other.header_bytes, size);
        break;
      }
      case Damage::kHeaderOfAnother:
        if (other.header_bytes == at.header_bytes) {
          std::memcpy(bytes.data(), others.data(), at.header_bytes);
        }
        break;
      case Damage::kHeaderZero:
        std::memset(bytes.data(), 0, at.header_bytes);
        break;
      case Damage::kPayloadGarbage:
        for (uint64_t i = place; i < at.payload_bytes && i < place + 16; ++i) {
          payload[i] = static_cast<char>(random());
        }
        break;
      case Damage::kSwappedRecords:
        std::memcpy(bytes.data(), others.data(),
                    std::min(bytes.size(), others.size()));
        break;
    }
    return bytes;
  }

  FaultDisk good_;
  std::vector<RecordAt> records_;
};

TEST_F(SsdCorruptionTest, DamagedRecordsAreNeverServed) {
  std::mt19937_64 random(1);
  std::array<uint64_t, kDamages> injected{};
  uint64_t served = 0;
  uint64_t caught = 0;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const auto disk = good_.Clone();
    std::vector<bool> is_damaged(kBlocks);
    for (const RecordAt& at : records_) {
      const int kind = static_cast<int>(random() % kDamages);
      const RecordAt& other = records_[random() % kBlocks];
      std::string bytes = Damaged(at, other, static_cast<Damage>(kind), random);
      if (bytes == Bytes(at)) {
        bytes = Damaged(at, other, Damage::kPayloadBit, random);
      }
      is_damaged[at.number] = bytes != Bytes(at);
      ++injected[kind];
      disk->Edit(at.path, [&](std::string& file) {
        file.replace(at.offset, bytes.size(), bytes);
      });
    }
    auto tier = testing::OpenSsd(SsdOptionsOn(*disk));
    for (uint64_t n = 0; n < kBlocks; ++n) {
      ASSERT_TRUE(is_damaged[n]);
      const absl::Status status = testing::ReadNo(*tier, n, PayloadBytesOf(n));
      ASSERT_FALSE(absl::IsInternal(status)) << status;
      served += status.ok() ? 1 : 0;
      caught += absl::IsDataLoss(status) ? 1 : 0;
    }
  }

  EXPECT_EQ(served, 0u);
  EXPECT_EQ(caught, kBlocks * kRounds);
  for (int kind = 0; kind < kDamages; ++kind) {
    EXPECT_GT(injected[kind], kBlocks * kRounds / 18) << kind;
  }
}

TEST_F(SsdCorruptionTest, DamagedCatalogueRowsAreRefusedAndCostNothing) {
  std::mt19937_64 random(2);
  std::vector<std::pair<std::string, std::string>> rows;
  const Catalogue::Options options = {.directory = "/ssd/catalogue",
                                      .file_system = good_.ForRocksDb()};
  {
    auto catalogue = *Catalogue::Open(options);
    ASSERT_TRUE(
        catalogue
            ->ForEach("b",
                      [&](absl::string_view key, absl::string_view value) {
                        rows.emplace_back(key, value);
                        return absl::OkStatus();
                      })
            .ok());
  }
  ASSERT_EQ(rows.size(), kBlocks);
  for (uint64_t i = 0; i < kRowInjections; ++i) {
    auto [key, value] = rows[random() % rows.size()];
    std::string& target = random() % 8 == 0 ? key : value;
    target[random() % target.size()] ^= static_cast<char>(1 << random() % 8);
    ASSERT_EQ(ErrorReason(ParseBlockRow(key, value).status()), "HEADER");
  }

  // In the catalogue itself: rebuilt from the segments, and nothing is lost.
  for (int round = 0; round < 10; ++round) {
    const auto disk = good_.Clone();
    {
      auto catalogue = *Catalogue::Open(
          {.directory = "/ssd/catalogue", .file_system = disk->ForRocksDb()});
      auto [key, value] = rows[random() % rows.size()];
      value[random() % value.size()] ^= 1;
      Catalogue::Batch batch;
      batch.Put(key, value);
      ASSERT_TRUE(catalogue->Write(batch, Catalogue::Log::kSynced).ok());
    }
    auto tier = testing::OpenSsd(SsdOptionsOn(*disk));
    EXPECT_TRUE(tier->open_report().is_rebuilt);
    for (uint64_t n = 0; n < kBlocks; ++n) {
      ASSERT_TRUE(testing::ReadNo(*tier, n, PayloadBytesOf(n)).ok()) << n;
    }
  }
}

TEST_F(SsdCorruptionTest, DamagedSegmentHeadersAreRefused) {
  std::mt19937_64 random(3);
  std::string page;
  good_.Edit(records_[0].path, [&](std::string& file) {
    page = file.substr(0, kSegmentHeaderBytes);
  });
  ASSERT_TRUE(ParseSegmentHeader(AsBytes(page)).ok());
  for (uint64_t i = 0; i < kHeaderInjections; ++i) {
    std::string damaged = page;
    damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
    ASSERT_EQ(ErrorReason(ParseSegmentHeader(AsBytes(damaged)).status()),
              "HEADER");
  }
}

TEST_F(SsdCorruptionTest, ScrubFindsEveryDamagedRecordAndNoOther) {
  std::mt19937_64 random(4);
  const auto disk = good_.Clone();
  for (uint64_t i = 0; i < kBlocks; i += 4) {
    const RecordAt& at = records_[i];
    disk->Edit(at.path, [&](std::string& file) {
      file[at.offset + at.header_bytes + random() % at.payload_bytes] ^= 1;
    });
  }
  auto tier = testing::OpenSsd(SsdOptionsOn(*disk));

  const SsdTier::ScrubReport report = tier->ScrubSome(64 * kMiB);

  EXPECT_EQ(report.findings, kBlocks / 4);
  EXPECT_EQ(report.records, kBlocks);
  EXPECT_EQ(tier->counters().corruptions, kBlocks / 4);
  EXPECT_EQ(tier->usage().blocks, kBlocks - kBlocks / 4);
}

}  // namespace
}  // namespace banyan::tiers
