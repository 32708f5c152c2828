// Fingerprints: the canonical CBOR, byte by byte as written out here by hand,
// validation, differences and sizes.
#include "base/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/bytes.h"
#include "base/sha256.h"

namespace banyan {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Fingerprint Sample() {
  return {.model = "llama",
          .revision = std::string(30, 'r'),
          .hash_algorithm = "sha256",
          .hash_seed_digest = std::string("\0\xff", 2),
          .data_type = "bf16",
          .layout = "nhd",
          .layers = 32,
          .kv_heads = 8,
          .head_dim = 128,
          .planes = 2,
          .block_tokens = 16,
          .tp_size = 0,
          .pp_size = 70000,
          .rank = 3,
          .engine = "vllm",
          .serde_version = 256};
}

// A map of 18 entries. Keys by length of their text, then by their bytes, as
// the length is in the first byte; 0x60 + n heads a text of n < 24 bytes.
TEST(FingerprintTest, CborIsTheCanonicalOne) {
  std::string expected = "\xb2";
  expected +=
      "\x64"
      "rank"
      "\x03";
  expected +=
      "\x65"
      "model"
      "\x65"
      "llama";
  expected +=
      "\x66"
      "engine"
      "\x64"
      "vllm";
  expected +=
      "\x66"
      "layers"
      "\x18\x20";
  expected +=
      "\x66"
      "layout"
      "\x63"
      "nhd";
  expected +=
      "\x66"
      "planes"
      "\x02";
  expected +=
      "\x67"
      "adapter"
      "\x60";
  expected += std::string(
      "\x67"
      "pp_size"
      "\x1a\x00\x01\x11\x70",
      13);
  expected +=
      "\x67"
      "tp_size"
      "\x01";  // 0 means 1.
  expected +=
      "\x68"
      "head_dim"
      "\x18\x80";
  expected +=
      "\x68"
      "kv_heads"
      "\x08";
  expected +=
      "\x68"
      "revision"
      "\x78\x1e" +
      std::string(30, 'r');
  expected +=
      "\x69"
      "data_type"
      "\x64"
      "bf16";
  expected +=
      "\x6c"
      "block_tokens"
      "\x10";
  expected +=
      "\x6c"
      "quantization"
      "\x60";
  expected += std::string(
      "\x6d"
      "serde_version"
      "\x19\x01\x00",
      17);
  expected +=
      "\x6e"
      "hash_algorithm"
      "\x66"
      "sha256";
  expected += std::string(
      "\x70"
      "hash_seed_digest"
      "\x42\x00\xff",
      20);
  EXPECT_EQ(CanonicalCbor(Sample()), expected);
  const Sha256Digest digest = Sha256({expected});
  EXPECT_EQ(FingerprintDigest(Sample()),
            std::string(AsText(digest).substr(0, 16)));
}

TEST(FingerprintTest, ACodecIsAnEntryOfItsOwnOnlyIfThereIsOne) {
  Fingerprint encoded = Sample();
  encoded.kv_codec = "rotlm4";
  const std::string cbor = CanonicalCbor(encoded);
  EXPECT_EQ(cbor.substr(0, 1), "\xb3");
  EXPECT_NE(cbor.find("\x68kv_codec\x66rotlm4\x68kv_heads"), std::string::npos);
  EXPECT_THAT(DifferingFields(Sample(), encoded), ElementsAre("kv_codec"));
  EXPECT_TRUE(ValidateFingerprint(encoded).ok());
}

TEST(FingerprintTest, SoIsTheCalibrationThatTheCodecWants) {
  Fingerprint encoded = Sample();
  encoded.kv_codec = "nuq4";
  Fingerprint calibrated = encoded;
  calibrated.calibration_digest = std::string(32, 'd');
  const std::string cbor = CanonicalCbor(calibrated);
  EXPECT_EQ(cbor.substr(0, 1), "\xb4");
  EXPECT_NE(cbor.find("\x72"
                      "calibration_digest\x58\x20" +
                      std::string(32, 'd')),
            std::string::npos);
  EXPECT_THAT(DifferingFields(encoded, calibrated),
              ElementsAre("calibration_digest"));
  EXPECT_TRUE(ValidateFingerprint(calibrated).ok());
  calibrated.calibration_digest.pop_back();
  EXPECT_EQ(ValidateFingerprint(calibrated).message(),
            "fingerprint.calibration_digest: 31 bytes; want the 32 of a "
            "SHA-256.");
  calibrated.kv_codec.clear();
  EXPECT_EQ(
      ValidateFingerprint(calibrated).message(),
      "fingerprint.calibration_digest: there is no kv_codec to want one.");
}

TEST(FingerprintTest, DifferingFieldsAreNamedInOrder) {
  Fingerprint other = Sample();
  EXPECT_THAT(DifferingFields(Sample(), other), IsEmpty());
  other.rank = 4;
  other.model = "x";
  other.tp_size = 1;  // Means the same as 0.
  EXPECT_THAT(DifferingFields(Sample(), other), ElementsAre("model", "rank"));
  EXPECT_NE(FingerprintDigest(Sample()), FingerprintDigest(other));
}

TEST(FingerprintTest, WrongFieldsAreNamed) {
  const auto message = [](auto change) {
    Fingerprint fingerprint = Sample();
    change(fingerprint);
    return std::string(ValidateFingerprint(fingerprint).message());
  };
  EXPECT_TRUE(ValidateFingerprint(Sample()).ok());
  EXPECT_TRUE(ValidateFingerprint({.layout = "opaque"}).ok());
  EXPECT_EQ(message([](Fingerprint& f) { f.layers = 0; }),
            "layout.layers: 0; a known layout has 1 to 1048576.");
  EXPECT_EQ(message([](Fingerprint& f) { f.planes = 3; }),
            "layout.planes: want 1 (latent) or 2.");
  EXPECT_EQ(message([](Fingerprint& f) { f.layout = "x"; }),
            "fingerprint.layout: want nhd, hnd or opaque.");
  EXPECT_EQ(message([](Fingerprint& f) { f.layout = "opaque"; }),
            "fingerprint.layers: an opaque layout has none. Send 0.");
  EXPECT_EQ(
      ValidateFingerprint({.layout = "opaque", .kv_codec = "int4"}).message(),
      "fingerprint.kv_codec: an opaque layout is never encoded.");
  EXPECT_EQ(message([](Fingerprint& f) { f.data_type = "int4"; }),
            "layout.data_type: want bf16, fp16, fp32, fp8 or int8.");
  EXPECT_EQ(message([](Fingerprint& f) { f.model.assign(257, 'm'); }),
            "fingerprint.model: 257 bytes, limit 256.");
}

}  // namespace
}  // namespace banyan
