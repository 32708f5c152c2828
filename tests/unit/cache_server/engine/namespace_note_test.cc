// Goal: a namespace read back from its note is the same one; anything else is
// refused.
// Method: a round trip with a value in every field, and damaged texts.
#include "cache_server/engine/namespace_note.h"

#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"

namespace banyan::engine {
namespace {

NamespaceNote Sample() {
  return {.name = "prod",
          .fingerprint = {.model = "m \"x\"",
                          .revision = "r",
                          .quantization = "q",
                          .adapter = "a",
                          .hash_algorithm = "h",
                          .hash_seed_digest = std::string("\x00\xff", 2),
                          .data_type = "bf16",
                          .layout = "nhd",
                          .layers = 1,
                          .kv_heads = 2,
                          .head_dim = 3,
                          .planes = 2,
                          .block_tokens = 5,
                          .tp_size = 6,
                          .pp_size = 7,
                          .rank = 8,
                          .engine = "e",
                          .serde_version = 9,
                          .kv_codec = "rotlm4",
                          .calibration_digest = std::string("\x01\xfe", 2)},
          .ssd_policy = {.codec = "int4", .error_max = 0.25},
          .calibration = std::string("\x00\xff bytes", 8)};
}

TEST(NamespaceNoteTest, ComesBackInFull) {
  const auto note = ParseNamespaceNote(SerializeNamespaceNote(Sample()));

  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_EQ(*note, Sample());
  EXPECT_EQ(FingerprintDigest(note->fingerprint),
            FingerprintDigest(Sample().fingerprint));
}

TEST(NamespaceNoteTest, ALongCalibrationIsInParts) {
  std::string calibration(2 * kCalibrationPartBytes + 1, 'a');
  calibration[kCalibrationPartBytes] = 'b';
  NamespaceNote note = Sample();
  note.calibration.clear();
  SetCalibration(calibration, note);

  const auto read = ParseNamespaceNote(SerializeNamespaceNote(note));

  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, note);
  EXPECT_EQ(read->calibration, "");
  EXPECT_EQ(read->calibration_bytes, calibration.size());
  const auto parts = PartsOf(calibration);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(absl::StrJoin(parts, ""), calibration);
  EXPECT_LT(PartKey("id", 0), PartKey("id", 10));
  EXPECT_LT(PartKey("id", 10), PartKey("id", 256));
  EXPECT_LT("id", PartKey("id", 0));
}

TEST(NamespaceNoteTest, AShortCalibrationIsInTheNote) {
  const std::string calibration(kCalibrationPartBytes, 'a');
  NamespaceNote note;

  SetCalibration(calibration, note);

  EXPECT_EQ(note.calibration, calibration);
  EXPECT_EQ(note.calibration_bytes, 0u);
  EXPECT_TRUE(PartsOf(calibration).empty());
}

TEST(NamespaceNoteTest, AnythingElseIsRefused) {
  const std::string text = SerializeNamespaceNote(Sample());
  for (const std::string& bad :
       {std::string(), text.substr(0, text.size() / 2), std::string("{}"),
        std::string("[]"), std::string("{\"name\": 7}"),
        absl::StrReplaceAll(text,
                            {{"\"calibration\":\"", "\"calibration\":\"*"}}),
        absl::StrReplaceAll(
            text, {{"\"calibration\":\"", "\"calibration\":7,\"x\":\""}})}) {
    const auto note = ParseNamespaceNote(bad);
    EXPECT_TRUE(absl::IsDataLoss(note.status())) << bad;
    EXPECT_EQ(ErrorReason(note.status()), "NAMESPACE");
  }
}

}  // namespace
}  // namespace banyan::engine
