// The formats of docs/formats are what the code writes and reads.
//
// Method: the vectors beside the pages were computed by other implementations
// (Python's hashlib and xxhash, a CBOR encoder of their own); the code must
// give the same bytes, and must refuse the damaged ones.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "base/block_header.h"
#include "base/block_key.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fingerprint.h"

namespace banyan {
namespace {

using Json = nlohmann::json;

Json ReadVectors(const std::string& name) {
  std::ifstream file(std::string(BANYAN_SOURCE_DIR "/docs/formats/") + name);
  return Json::parse(file, nullptr, /*allow_exceptions=*/false);
}

std::string Hex(absl::string_view bytes) {
  return absl::BytesToHexString(bytes);
}

std::string Unhex(const Json& hex) {
  return absl::HexStringToBytes(hex.get<std::string>());
}

uint64_t HexNumber(const Json& hex) {
  uint64_t number = 0;
  EXPECT_TRUE(absl::SimpleHexAtoi(hex.get<std::string>(), &number));
  return number;
}

// The payload of the page's rule.
std::vector<std::byte> PayloadByRule(uint64_t payload_bytes) {
  std::vector<std::byte> payload(payload_bytes);
  for (uint64_t i = 0; i < payload_bytes; ++i) {
    payload[i] = static_cast<std::byte>(i * 31 + i / 256 * 7 + 5);
  }
  return payload;
}

BlockHeader HeaderOf(const Json& vector) {
  BlockHeader header;
  header.identity = {.namespace_id = Unhex(vector["namespace_id"]),
                     .salt_digest = Unhex(vector["salt_digest"]),
                     .key = *BlockKey::FromBytes(Unhex(vector["key"]))};
  header.codec = vector["codec"];
  header.generation = HexNumber(vector["generation"]);
  header.payload_bytes = vector["payload_bytes"];
  header.piece_bytes = vector["piece_bytes"];
  for (const Json& piece : vector["pieces"]) {
    header.pieces.push_back(LoadChecksum(AsBytes(Unhex(piece)).data()));
  }
  return header;
}

class BlockHeaderVectors : public ::testing::Test {
 protected:
  const Json doc_ = ReadVectors("block_header.json");
};

TEST_F(BlockHeaderVectors, HeaderHasTheBytesOfThePage) {
  ASSERT_FALSE(doc_["vectors"].empty());
  for (const Json& vector : doc_["vectors"]) {
    const std::vector<std::byte> bytes = SerializeBlockHeader(HeaderOf(vector));

    EXPECT_EQ(Hex(AsText(bytes)), vector["header"].get<std::string>())
        << vector["name"];
  }
}

TEST_F(BlockHeaderVectors, HeaderIsReadBackWhole) {
  ASSERT_FALSE(doc_["vectors"].empty());
  for (const Json& vector : doc_["vectors"]) {
    const std::string bytes = Unhex(vector["header"]);

    const auto header = ParseBlockHeader(AsBytes(bytes));

    ASSERT_TRUE(header.ok()) << vector["name"] << header.status();
    EXPECT_TRUE(*header == HeaderOf(vector)) << vector["name"];
  }
}

TEST_F(BlockHeaderVectors, SaltDigestAndSeedFollowTheRule) {
  ASSERT_FALSE(doc_["vectors"].empty());
  for (const Json& vector : doc_["vectors"]) {
    EXPECT_EQ(Hex(SaltDigest(Unhex(vector["salt"]))),
              vector["salt_digest"].get<std::string>());
    EXPECT_EQ(HeaderOf(vector).identity.ChecksumSeed(),
              HexNumber(vector["checksum_seed"]))
        << vector["name"];
  }
}

TEST_F(BlockHeaderVectors, PieceChecksumsFollowTheRule) {
  int pieces = 0;
  for (const Json& vector : doc_["vectors"]) {
    if (vector["payload"] != "rule") continue;
    const BlockHeader header = HeaderOf(vector);
    const auto payload = PayloadByRule(header.payload_bytes);
    const absl::Span<const std::byte> all(payload);
    for (uint32_t i = 0; i < header.piece_count(); ++i, ++pieces) {
      const auto piece =
          all.subspan(header.PieceOffset(i), header.PieceSize(i));

      EXPECT_EQ(PieceChecksum(HexNumber(vector["checksum_seed"]), i, piece),
                header.pieces[i])
          << vector["name"] << ", piece " << i;
    }
  }
  EXPECT_GT(pieces, 10);
}

TEST_F(BlockHeaderVectors, DamagedHeadersAreRefused) {
  ASSERT_FALSE(doc_["damaged"].empty());
  for (const Json& vector : doc_["damaged"]) {
    const std::string bytes = Unhex(vector["header"]);

    const auto header = ParseBlockHeader(AsBytes(bytes));

    EXPECT_TRUE(absl::IsDataLoss(header.status())) << vector["name"];
    EXPECT_EQ(ErrorReason(header.status()), "HEADER") << vector["name"];
  }
}

TEST(BlockKeyVectors, ChainKeyFollowsTheRule) {
  const Json doc = ReadVectors("block_key.json");
  ASSERT_FALSE(doc["vectors"].empty());
  for (const Json& vector : doc["vectors"]) {
    const std::string parent_bytes = Unhex(vector["parent"]);
    const BlockKey parent =
        parent_bytes.empty() ? BlockKey() : *BlockKey::FromBytes(parent_bytes);
    const auto tokens = vector["tokens"].get<std::vector<uint32_t>>();

    const BlockKey key = ChainKey(Unhex(vector["fingerprint"]), parent, tokens,
                                  Unhex(vector["extra"]));

    EXPECT_EQ(key.hex(), vector["key"].get<std::string>()) << vector["name"];
  }
}

Fingerprint FingerprintOf(const Json& fields) {
  return {.model = fields["model"],
          .revision = fields["revision"],
          .quantization = fields["quantization"],
          .adapter = fields["adapter"],
          .hash_algorithm = fields["hash_algorithm"],
          .hash_seed_digest = Unhex(fields["hash_seed_digest"]),
          .data_type = fields["data_type"],
          .layout = fields["layout"],
          .layers = fields["layers"],
          .kv_heads = fields["kv_heads"],
          .head_dim = fields["head_dim"],
          .planes = fields["planes"],
          .block_tokens = fields["block_tokens"],
          .tp_size = fields["tp_size"],
          .pp_size = fields["pp_size"],
          .rank = fields["rank"],
          .engine = fields["engine"],
          .serde_version = fields["serde_version"],
          .kv_codec = fields.value("kv_codec", ""),
          .calibration_digest =
              Unhex(Json(fields.value("calibration_digest", "")))};
}

TEST(FingerprintVectors, CborAndDigestAreThoseOfThePage) {
  const Json doc = ReadVectors("fingerprint.json");
  ASSERT_FALSE(doc["vectors"].empty());
  for (const Json& vector : doc["vectors"]) {
    const Fingerprint fingerprint = FingerprintOf(vector["fields"]);

    EXPECT_EQ(Hex(CanonicalCbor(fingerprint)),
              vector["cbor"].get<std::string>())
        << vector["name"];
    EXPECT_EQ(Hex(FingerprintDigest(fingerprint)),
              vector["digest"].get<std::string>())
        << vector["name"];
  }
}

}  // namespace
}  // namespace banyan
