// The code writes and reads the bytes of docs/formats/ssd_segment.md and
// docs/formats/ssd_catalogue.md.
//
// Method: vectors made by another implementation, read from the pages' folder.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "base/bytes.h"
#include "base/error.h"
#include "tiers/ssd/catalogue_row.h"
#include "tiers/ssd/segment_format.h"

namespace banyan::tiers {
namespace {

using Json = nlohmann::json;

Json ReadVectors(const std::string& name) {
  std::ifstream file(std::string(BANYAN_SOURCE_DIR "/docs/formats/") + name);
  EXPECT_TRUE(file.good()) << name;
  return Json::parse(file);
}

std::string Unhex(const Json& text) {
  return absl::HexStringToBytes(text.get<std::string>());
}

uint64_t HexNumber(const Json& text) {
  uint64_t value = 0;
  EXPECT_TRUE(absl::SimpleHexAtoi(text.get<std::string>(), &value));
  return value;
}

// A list of [hex, count of zeros that follow].
std::string Unpack(const Json& parts) {
  std::string bytes;
  for (const Json& part : parts) {
    bytes += Unhex(part[0]);
    bytes.append(part[1].get<size_t>(), '\0');
  }
  return bytes;
}

BlockIdentity IdentityOf(const Json& vector) {
  return {.namespace_id = Unhex(vector["namespace_id"]),
          .salt_digest = Unhex(vector["salt_digest"]),
          .key = *BlockKey::FromBytes(Unhex(vector["key"]))};
}

SegmentHeader SegmentOf(const Json& vector) {
  return {.name = {.node = NodeDigest(Unhex(vector["node"])),
                   .id = HexNumber(vector["id"]),
                   .generation = HexNumber(vector["generation"])},
          .segment_bytes = vector["segment_bytes"]};
}

RecordPlace PlaceOf(const Json& vector) {
  return {.segment = {.node = NodeDigest(Unhex(vector["node"])),
                      .id = HexNumber(vector["segment_id"]),
                      .generation = HexNumber(vector["segment_generation"])},
          .offset = vector["offset"]};
}

RecordHeader RecordOf(const Json& vector) {
  RecordHeader record;
  record.id = {.low = HexNumber(vector["id_low"]),
               .high = HexNumber(vector["id_high"])};
  record.annotation = Unhex(vector["annotation"]);
  record.block.identity = IdentityOf(vector);
  record.block.codec = vector["codec"];
  record.block.generation = HexNumber(vector["generation"]);
  record.block.payload_bytes = vector["payload_bytes"];
  record.block.piece_bytes = vector["piece_bytes"];
  for (const Json& piece : vector["pieces"]) {
    record.block.pieces.push_back(LoadChecksum(AsBytes(Unhex(piece)).data()));
  }
  return record;
}

BlockRow RowOf(const Json& vector) {
  BlockRow row;
  row.directory = vector["directory"];
  row.heat = vector["heat"];
  row.segment_id = HexNumber(vector["segment_id"]);
  row.segment_generation = HexNumber(vector["segment_generation"]);
  row.offset = vector["offset"];
  row.record_bytes = vector["record_bytes"];
  const std::string sum = Unhex(vector["header_checksum"]);
  row.header_checksum = LoadChecksum(AsBytes(sum).data());
  row.facts = {.identity = IdentityOf(vector),
               .codec = vector["codec"],
               .generation = HexNumber(vector["generation"]),
               .payload_bytes = vector["payload_bytes"],
               .piece_bytes = vector["piece_bytes"]};
  row.annotation = Unhex(vector["annotation"]);
  return row;
}

class SegmentVectors : public ::testing::Test {
 protected:
  const Json doc_ = ReadVectors("ssd_segment.json");
};

TEST_F(SegmentVectors, SegmentHeadersHaveTheBytesOfThePage) {
  ASSERT_FALSE(doc_["segments"].empty());
  for (const Json& vector : doc_["segments"]) {
    const std::string want = Unpack(vector["page"]);
    std::string page(kSegmentHeaderBytes, 'x');

    WriteSegmentHeader(
        SegmentOf(vector),
        absl::MakeSpan(reinterpret_cast<std::byte*>(page.data()), page.size()));

    EXPECT_TRUE(page == want) << vector["name"];
    const auto parsed = ParseSegmentHeader(AsBytes(want));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(*parsed == SegmentOf(vector)) << vector["name"];
  }
}

TEST_F(SegmentVectors, RecordHeadersHaveTheBytesOfThePage) {
  ASSERT_FALSE(doc_["records"].empty());
  for (const Json& vector : doc_["records"]) {
    const RecordHeader record = RecordOf(vector);
    const std::string want = Unpack(vector["header"]);
    std::string out(RecordHeaderBytes(record.block.piece_count()), 'x');

    const Checksum128 sum = WriteRecordHeader(
        record, PlaceOf(vector),
        absl::MakeSpan(reinterpret_cast<std::byte*>(out.data()), out.size()));

    EXPECT_TRUE(out == want) << vector["name"];
    EXPECT_EQ(sum, LoadChecksum(AsBytes(want).data() + want.size() - 16));
    EXPECT_EQ(PeekRecordHeaderBytes(AsBytes(want)), want.size());
    const auto parsed = ParseRecordHeader(AsBytes(want), PlaceOf(vector));
    ASSERT_TRUE(parsed.ok()) << vector["name"] << parsed.status();
    EXPECT_TRUE(*parsed == record) << vector["name"];
  }
}

TEST_F(SegmentVectors, DamagedRecordsAreRefused) {
  const Json& damaged = doc_["damaged"];
  ASSERT_TRUE(
      ParseRecordHeader(AsBytes(Unpack(damaged["sound"])), PlaceOf(damaged))
          .ok());
  ASSERT_FALSE(damaged["records"].empty());
  for (const Json& vector : damaged["records"]) {
    const auto parsed =
        ParseRecordHeader(AsBytes(Unpack(vector["header"])), PlaceOf(damaged));

    EXPECT_EQ(ErrorReason(parsed.status()), "HEADER") << vector["name"];
  }
}

class CatalogueVectors : public ::testing::Test {
 protected:
  const Json doc_ = ReadVectors("ssd_catalogue.json");
};

TEST_F(CatalogueVectors, BlockRowsHaveTheBytesOfThePage) {
  ASSERT_FALSE(doc_["blocks"].empty());
  for (const Json& vector : doc_["blocks"]) {
    const BlockId id = {.low = HexNumber(vector["id_low"]),
                        .high = HexNumber(vector["id_high"])};
    const std::string key = Unhex(vector["row_key"]);
    const std::string value = Unhex(vector["row"]);

    EXPECT_EQ(BlockRowKey(id), key) << vector["name"];
    EXPECT_EQ(SerializeBlockRow(id, RowOf(vector)), value) << vector["name"];
    EXPECT_EQ(*ParseBlockRowKey(key), id);
    const auto parsed = ParseBlockRow(key, value);
    ASSERT_TRUE(parsed.ok()) << vector["name"] << parsed.status();
    EXPECT_TRUE(*parsed == RowOf(vector)) << vector["name"];
  }
}

TEST_F(CatalogueVectors, SegmentRowsHaveTheBytesOfThePage) {
  ASSERT_FALSE(doc_["segments"].empty());
  for (const Json& vector : doc_["segments"]) {
    const uint64_t id = HexNumber(vector["id"]);
    const SegmentRow row = {.generation = HexNumber(vector["generation"]),
                            .append_offset = vector["append_offset"]};

    EXPECT_EQ(SegmentRowKey(id), Unhex(vector["row_key"]));
    EXPECT_EQ(SerializeSegmentRow(id, row), Unhex(vector["row"]));
    const auto parsed =
        ParseSegmentRow(Unhex(vector["row_key"]), Unhex(vector["row"]));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(*parsed == row);
  }
}

TEST_F(CatalogueVectors, NotesHaveTheBytesOfThePage) {
  ASSERT_FALSE(doc_["notes"].empty());
  for (const Json& vector : doc_["notes"]) {
    const std::string key = Unhex(vector["key"]);

    EXPECT_EQ(NoteRowKey(key), Unhex(vector["row_key"]));
    EXPECT_EQ(SerializeNote(key, Unhex(vector["note"])), Unhex(vector["row"]));
    EXPECT_EQ(*ParseNote(Unhex(vector["row_key"]), Unhex(vector["row"])),
              Unhex(vector["note"]));
  }
}

TEST_F(CatalogueVectors, DamagedRowsAreRefused) {
  ASSERT_FALSE(doc_["damaged"].empty());
  for (const Json& vector : doc_["damaged"]) {
    const auto parsed =
        ParseBlockRow(Unhex(vector["row_key"]), Unhex(vector["row"]));

    EXPECT_EQ(ErrorReason(parsed.status()), "HEADER") << vector["name"];
  }
}

}  // namespace
}  // namespace banyan::tiers
