// Goal: the messages about layers are those of docs/formats/shm.md, and what is
// no such message is refused, wherever it is cut or stretched.
// Method: the vectors beside the page, made by another program.
#include "client/transport/shm_layer_messages.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "base/bytes.h"
#include "base/error.h"

namespace banyan::transport {
namespace {

using Json = nlohmann::json;

Json Vector(const char* name) {
  std::ifstream file(BANYAN_SOURCE_DIR "/docs/formats/shm.json");
  return Json::parse(file).at(name);
}

std::string Hex(const Json& value, const char* name) {
  return absl::HexStringToBytes(value.at(name).get<std::string>());
}

// Every proper prefix, and the whole with a byte more, is refused.
template <typename Parse>
void ExpectOnlyThatLength(const std::string& bytes, const Parse& parse) {
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(ErrorReason(parse(AsBytes(bytes.substr(0, size)))), "FRAME")
        << size;
  }
  EXPECT_EQ(ErrorReason(parse(AsBytes(bytes + "x"))), "FRAME");
}

TEST(ShmLayerMessagesTest, Opened) {
  const Json want = Vector("layers_opened");
  const std::string bytes = Hex(want, "bytes");
  const auto opened = ParseLayersOpened(AsBytes(bytes));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->blocks, want["blocks"]);
  EXPECT_EQ(opened->first_layer, want["first_layer"]);
  EXPECT_EQ(opened->layers, want["layers"]);
  EXPECT_EQ(opened->total_layers, want["total_layers"]);
  EXPECT_EQ(opened->layer_bytes, want["layer_bytes"]);
  EXPECT_EQ(EncodeLayersOpened(*opened), bytes);
  ExpectOnlyThatLength(
      bytes, [](auto part) { return ParseLayersOpened(part).status(); });
}

TEST(ShmLayerMessagesTest, QuestionForPieces) {
  const Json want = Vector("layers");
  const std::string bytes = Hex(want, "bytes");
  const auto question = ParseLayers(AsBytes(bytes));
  ASSERT_TRUE(question.ok()) << question.status();
  EXPECT_EQ(question->layer, want["layer"]);
  EXPECT_EQ(question->block, want["block"]);
  EXPECT_EQ(question->blocks, want["blocks"]);
  EXPECT_EQ(question->pieces, want["pieces"]);
  EXPECT_EQ(question->wait_ms, want["wait_ms"]);
  EXPECT_EQ(EncodeQuestion(*question), bytes);
  ExpectOnlyThatLength(bytes,
                       [](auto part) { return ParseLayers(part).status(); });
}

TEST(ShmLayerMessagesTest, Pieces) {
  const Json want = Vector("pieces");
  const std::string bytes = Hex(want, "bytes");
  const auto answer = ParsePieces(AsBytes(bytes));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->lease_ms, want["lease_ms"]);
  ASSERT_EQ(answer->pieces.size(), want["pieces"].size());
  for (size_t i = 0; i < answer->pieces.size(); ++i) {
    const ShmPiece& piece = answer->pieces[i];
    EXPECT_EQ(static_cast<int>(piece.state), want["pieces"][i]["state"]);
    EXPECT_EQ(piece.offset, want["pieces"][i]["offset"]);
    EXPECT_EQ(ToHex(piece.checksum),
              want["pieces"][i]["checksum"].get<std::string>());
  }
  EXPECT_EQ(EncodePieces(*answer), bytes);
  ExpectOnlyThatLength(bytes,
                       [](auto part) { return ParsePieces(part).status(); });
  for (const char state : {'\0', '\3', '\xff'}) {
    std::string other = bytes;
    other[kShmPiecesHeadBytes] = state;
    EXPECT_EQ(ErrorReason(ParsePieces(AsBytes(other)).status()), "FRAME");
  }
}

TEST(ShmLayerMessagesTest, PutOfPieces) {
  const Json want = Vector("put_pieces");
  const std::string bytes = Hex(want, "bytes");
  const auto put = ParsePutPieces(AsBytes(bytes));
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->write_id, Hex(want, "write_id"));
  ASSERT_EQ(put->stretches.size(), want["stretches"].size());
  for (size_t i = 0; i < put->stretches.size(); ++i) {
    const ShmStretch& stretch = put->stretches[i];
    const Json& want_stretch = want["stretches"][i];
    EXPECT_EQ(stretch.ordinal, want_stretch["ordinal"]);
    EXPECT_EQ(stretch.piece, want_stretch["piece"]);
    EXPECT_EQ(stretch.offset, want_stretch["offset"]);
    EXPECT_EQ(stretch.bytes, want_stretch["stretch_bytes"]);
    EXPECT_EQ(stretch.is_last, want_stretch["is_last"]);
    EXPECT_EQ(ToHex(stretch.checksum),
              want_stretch["checksum"].get<std::string>());
  }
  EXPECT_EQ(EncodeQuestion(*put), bytes);
  ExpectOnlyThatLength(bytes,
                       [](auto part) { return ParsePutPieces(part).status(); });
}

TEST(ShmLayerMessagesTest, AQuestionOfAnotherKindIsRefused) {
  std::string layers = Hex(Vector("layers"), "bytes");
  std::string put = Hex(Vector("put_pieces"), "bytes");
  layers[0] = '\7';
  put[0] = '\7';
  EXPECT_EQ(ErrorReason(ParseLayers(AsBytes(layers)).status()), "FRAME");
  EXPECT_EQ(ErrorReason(ParsePutPieces(AsBytes(put)).status()), "FRAME");
}

}  // namespace
}  // namespace banyan::transport
