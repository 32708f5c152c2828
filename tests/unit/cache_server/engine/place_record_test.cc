// Goal: place records are the bytes of their format page, and nothing else is
// taken for one.
// Method: the page's vectors, made by Python.
#include "cache_server/engine/place_record.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "base/error.h"

namespace banyan::engine {
namespace {

using Json = nlohmann::json;

Json Vectors() {
  std::ifstream file(BANYAN_SOURCE_DIR "/docs/formats/place_record.json");
  return Json::parse(file);
}

std::string Unhex(const Json& hex) {
  return absl::HexStringToBytes(hex.get<std::string>());
}

// High half first, as numbers are read.
BlockId IdOf(const std::string& hex) {
  BlockId id;
  EXPECT_TRUE(absl::SimpleHexAtoi(hex.substr(0, 16), &id.high));
  EXPECT_TRUE(absl::SimpleHexAtoi(hex.substr(16), &id.low));
  return id;
}

PlaceRecord RecordOf(const Json& vector) {
  PlaceRecord record{
      .namespace_id = Unhex(vector["namespace_id"]),
      .group_blocks = vector["group_blocks"],
      .place = {.head = IdOf(vector["head"]), .depth = vector["depth"]}};
  if (vector["parent"] != "") record.place.parent = IdOf(vector["parent"]);
  return record;
}

TEST(PlaceRecordTest, VectorsAreWrittenAndRead) {
  const Json vectors = Vectors()["vectors"];
  ASSERT_GT(vectors.size(), 0u);
  for (const Json& vector : vectors) {
    SCOPED_TRACE(vector["name"]);
    const PlaceRecord record = RecordOf(vector);
    const std::string bytes = Unhex(vector["record"]);

    EXPECT_EQ(absl::BytesToHexString(SerializePlaceRecord(record)),
              vector["record"].get<std::string>());
    const auto parsed = ParsePlaceRecord(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, record);
  }
}

TEST(PlaceRecordTest, DamagedOnesAreRefused) {
  const Json damaged = Vectors()["damaged"];
  ASSERT_GT(damaged.size(), 0u);
  for (const Json& vector : damaged) {
    SCOPED_TRACE(vector["name"]);
    const auto parsed = ParsePlaceRecord(Unhex(vector["record"]));
    EXPECT_TRUE(absl::IsDataLoss(parsed.status()));
    EXPECT_EQ(ErrorReason(parsed.status()), "PLACE");
  }
}

}  // namespace
}  // namespace banyan::engine
