// The bytes of codecs against vectors of a second implementation,
// tests/testing/codec_vectors.py, written from the format pages.
//
// Method: every vector, on every instruction set that this processor has: the
// layer is encoded to those bytes, and those bytes are decoded to that layer,
// to the last bit.
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/escaping.h"
#include "nlohmann/json.hpp"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

using nlohmann::json;

json ReadVectors() {
  std::ifstream file(BANYAN_SOURCE_DIR "/docs/formats/codec.json");
  return json::parse(file).at("vectors");
}

std::string Bytes(const json& vector, const char* field) {
  return absl::HexStringToBytes(vector.at(field).get<std::string>());
}

std::optional<RopeSpec> RopeOf(const json& vector) {
  if (!vector.contains("rope")) return std::nullopt;
  const json& rope = vector.at("rope");
  return RopeSpec{.base = rope.at("base"),
                  .rotary_dim = rope.at("rotary_dim"),
                  .pairs = static_cast<RopePairs>(rope.at("pairs").get<int>()),
                  .attention_scale = rope.at("attention_scale")};
}

std::unique_ptr<BlockCodec> CodecOf(const json& vector) {
  std::string spec = absl::StrCat("k=", vector.at("keys").get<std::string>(),
                                  ",v=", vector.at("values").get<std::string>(),
                                  ",sink=", vector.at("sink").get<int>());
  const ElementType type =
      *ParseElementType(vector.at("type").get<std::string>());
  std::optional<Calibration> calibration;
  if (vector.contains("calibration")) {
    const std::string file = Bytes(vector, "calibration");
    auto parsed = Calibration::Parse(AsBytes(file));
    BANYAN_CHECK(parsed.ok());
    EXPECT_EQ(AsText(parsed->Serialize()), file);
    calibration = *std::move(parsed);
  }
  auto codec = BlockCodec::Make(
      {.spec = *ParseBlockSpec(spec),
       .layout = testing::CodecLayout(TokenOrder::kNhd, vector.at("tokens"),
                                      vector.at("heads"), vector.at("dim"), 2,
                                      ElementBytes(type)),
       .type = type,
       .rope = RopeOf(vector),
       .calibration = calibration.has_value() ? &*calibration : nullptr});
  BANYAN_CHECK(codec.ok());
  return *std::move(codec);
}

void CheckVector(const json& vector) {
  const std::string layer = Bytes(vector, "layer");
  const std::string encoded = Bytes(vector, "encoded");
  const std::string decoded = Bytes(vector, "decoded");
  const uint64_t position = vector.at("position");
  const auto codec = CodecOf(vector);
  auto work = codec->MakeWorkspace();
  std::vector<std::byte> bytes(codec->EncodedLayerBytes(position));
  ASSERT_TRUE(codec->StartEncoding(position, work).ok());
  // Calibrations have two layers; vectors are of the second.
  ASSERT_TRUE(codec->SetLayer(1, work).ok());
  const auto size =
      codec->EncodeLayerSized(AsBytes(layer), work, absl::MakeSpan(bytes));
  ASSERT_TRUE(size.ok()) << size.status();
  ASSERT_TRUE(!codec->has_fixed_size() || *size == bytes.size());
  bytes.resize(*size);
  EXPECT_EQ(absl::BytesToHexString(AsText(bytes)),
            absl::BytesToHexString(encoded));

  std::vector<std::byte> again(layer.size());
  ASSERT_TRUE(codec->StartDecoding(position, work).ok());
  ASSERT_TRUE(codec->SetLayer(1, work).ok());
  ASSERT_TRUE(
      codec->DecodeLayer(AsBytes(encoded), work, absl::MakeSpan(again)).ok());
  EXPECT_EQ(absl::BytesToHexString(AsText(again)),
            absl::BytesToHexString(decoded));
}

TEST(CodecFormatTest, BytesAreThoseOfTheSecondImplementation) {
  const json vectors = ReadVectors();
  ASSERT_GT(vectors.size(), 30u);
  testing::ForEachTarget([&](const char* target) {
    for (const json& vector : vectors) {
      SCOPED_TRACE(
          absl::StrCat(target, ": ", vector.at("keys").get<std::string>(), ", ",
                       vector.at("values").get<std::string>(), ", ",
                       vector.at("type").get<std::string>(), ", position ",
                       vector.at("position").get<int>()));
      CheckVector(vector);
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  });
}

}  // namespace
}  // namespace banyan::codec
