// Goal: the messages of shared memory are those of docs/formats/shm.md, and what
// is no such message is refused, wherever it is cut or stretched.
// Method: the vectors beside the page, made by another program.
#include "client/transport/shm_messages.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"

namespace banyan::transport {
namespace {

using Json = nlohmann::json;

const Json& Vectors() {
  static const Json vectors = [] {
    std::ifstream file(BANYAN_SOURCE_DIR "/docs/formats/shm.json");
    return Json::parse(file);
  }();
  return vectors;
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

TEST(ShmMessagesTest, HelloAndWelcome) {
  const Json& hello = Vectors()["hello"];
  EXPECT_EQ(EncodeHello({.token = Hex(hello, "token")}), Hex(hello, "bytes"));
  EXPECT_EQ(ParseHello(Hex(hello, "bytes"))->token, Hex(hello, "token"));
  ExpectOnlyThatLength(Hex(hello, "bytes"), [](auto bytes) {
    return ParseHello(AsText(bytes)).status();
  });

  const Json& want = Vectors()["welcome"];
  const auto welcome = ParseWelcome(Hex(want, "bytes"));
  ASSERT_TRUE(welcome.ok());
  EXPECT_EQ(welcome->channel_bytes, want["channel_bytes"]);
  EXPECT_EQ(welcome->window_bytes, want["window_bytes"]);
  EXPECT_EQ(welcome->arena_bytes, want["arena_bytes"]);
  EXPECT_EQ(welcome->group_blocks, want["group_blocks"]);
  EXPECT_EQ(welcome->is_prefaulted, want["is_prefaulted"]);
  EXPECT_EQ(welcome->proof, Hex(want, "proof"));
  EXPECT_EQ(EncodeWelcome(*welcome), Hex(want, "bytes"));
  ExpectOnlyThatLength(Hex(want, "bytes"), [](auto bytes) {
    return ParseWelcome(AsText(bytes)).status();
  });
}

TEST(ShmMessagesTest, OtherVersionsAreRefusedByName) {
  for (const char version : {0, 1, 3}) {
    std::string hello = Hex(Vectors()["hello"], "bytes");
    hello[8] = version;
    const absl::Status refused = ParseHello(hello).status();
    EXPECT_EQ(ErrorReason(refused), "VERSION");
    EXPECT_EQ(refused.message(),
              absl::StrCat("shm: the other side speaks version ", int{version},
                           ", this one 2. Use gRPC; update the older one."));
    std::string welcome = Hex(Vectors()["welcome"], "bytes");
    welcome[8] = version;
    EXPECT_EQ(ErrorReason(ParseWelcome(welcome).status()), "VERSION");
    hello[0] ^= 1;
    EXPECT_EQ(ErrorReason(ParseHello(hello).status()), "FRAME");
  }
}

TEST(ShmMessagesTest, QuestionsAboutBlocks) {
  ASSERT_EQ(Vectors()["blocks"].size(), 5u);
  for (const Json& want : Vectors()["blocks"]) {
    const std::string bytes = Hex(want, "bytes");
    const auto question = ParseBlocks(AsBytes(bytes));
    ASSERT_TRUE(question.ok()) << question.status();
    EXPECT_EQ(static_cast<int>(question->kind), want["kind"]);
    EXPECT_EQ(question->namespace_id, Hex(want, "namespace_id"));
    EXPECT_EQ(question->salt, Hex(want, "salt"));
    EXPECT_EQ(question->run.keys, Hex(want, "keys"));
    EXPECT_EQ(question->run.lead, Hex(want, "lead"));
    EXPECT_EQ(question->run.key_bytes, want["key_bytes"]);
    EXPECT_EQ(question->run.first_block, want["first_block"]);
    EXPECT_EQ(question->first_piece, want["first_piece"]);
    EXPECT_EQ(question->piece_count, want["piece_count"]);
    EXPECT_EQ(question->ttl_ms, want["ttl_ms"]);
    EXPECT_EQ(question->quality.Packed(), want["quality"]);
    std::string other = bytes;
    other[29] = 2;  // 512 and more: none.
    EXPECT_EQ(ErrorReason(ParseBlocks(AsBytes(other)).status()), "FRAME");
    std::string again(QuestionBytes(*question), 'x');
    EncodeQuestion(*question,
                   absl::MakeSpan(reinterpret_cast<std::byte*>(again.data()),
                                  again.size()));
    EXPECT_EQ(again, bytes);
    ExpectOnlyThatLength(bytes,
                         [](auto part) { return ParseBlocks(part).status(); });
  }
}

TEST(ShmMessagesTest, OtherQuestions) {
  const Json& check = Vectors()["check"];
  EXPECT_EQ(EncodeQuestion(ShmCheck{.ordinal = check["ordinal"]}),
            Hex(check, "bytes"));
  EXPECT_EQ(ParseCheck(AsBytes(Hex(check, "bytes")))->ordinal,
            check["ordinal"]);
  ExpectOnlyThatLength(Hex(check, "bytes"),
                       [](auto part) { return ParseCheck(part).status(); });

  for (const Json& want : Vectors()["leases"]) {
    const std::string bytes = Hex(want, "bytes");
    const auto question = ParseLease(AsBytes(bytes));
    ASSERT_TRUE(question.ok());
    EXPECT_EQ(question->ttl_ms, want["ttl_ms"]);
    EXPECT_EQ(question->lease_id, Hex(want, "lease_id"));
    EXPECT_EQ(EncodeQuestion(*question), bytes);
    ExpectOnlyThatLength(bytes,
                         [](auto part) { return ParseLease(part).status(); });
  }

  const Json& want = Vectors()["put"];
  const std::string bytes = Hex(want, "bytes");
  const auto put = ParsePut(AsBytes(bytes));
  ASSERT_TRUE(put.ok());
  EXPECT_EQ(put->write_id, Hex(want, "write_id"));
  EXPECT_EQ(put->ordinal, want["ordinal"]);
  EXPECT_EQ(put->offset, want["offset"]);
  EXPECT_EQ(put->bytes, want["put_bytes"]);
  EXPECT_EQ(EncodeQuestion(*put), bytes);
  ExpectOnlyThatLength(bytes,
                       [](auto part) { return ParsePut(part).status(); });
}

TEST(ShmMessagesTest, KindsOutsideTheTableAreRefused) {
  for (int kind = 0; kind < 256; ++kind) {
    const std::byte bytes[] = {std::byte(kind)};
    EXPECT_EQ(KindOf(bytes).ok(), kind >= 1 && kind <= 11) << kind;
  }
  EXPECT_FALSE(KindOf({}).ok());
}

TEST(ShmMessagesTest, ErrorsKeepCodeReasonAndMessage) {
  const Json& want = Vectors()["error"];
  const absl::Status status = MakeError(
      static_cast<absl::StatusCode>(want["code"].get<int>()),
      want["reason"].get<std::string>(), want["message"].get<std::string>());
  EXPECT_EQ(EncodeError(status), Hex(want, "bytes"));
  const absl::Status parsed = ParseCount(AsBytes(Hex(want, "bytes"))).status();
  EXPECT_EQ(parsed.code(), status.code());
  EXPECT_EQ(parsed.message(), status.message());
  EXPECT_EQ(ErrorReason(parsed), "LEASE");
}

TEST(ShmMessagesTest, CountsAndBlocks) {
  const Json& count = Vectors()["count"];
  EXPECT_EQ(EncodeCount(count["count"]), Hex(count, "bytes"));
  EXPECT_EQ(*ParseCount(AsBytes(Hex(count, "bytes"))), count["count"]);
  ExpectOnlyThatLength(Hex(count, "bytes"),
                       [](auto part) { return ParseCount(part).status(); });

  for (const Json& want : Vectors()["answers"]) {
    const std::string bytes = Hex(want, "bytes");
    const auto answer = ParseBlocksAnswer(AsBytes(bytes));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(static_cast<int>(answer->end), want["end"]);
    EXPECT_EQ(answer->lease_ms, want["lease_ms"]);
    EXPECT_EQ(answer->lease_id, Hex(want, "lease_id"));
    ASSERT_EQ(answer->blocks.size(), want["blocks"].size());
    for (size_t i = 0; i < answer->blocks.size(); ++i) {
      const ShmBlock& block = answer->blocks[i];
      const Json& want_block = want["blocks"][i];
      EXPECT_EQ(block.offset, want_block["offset"]);
      EXPECT_EQ(block.payload_bytes, want_block["payload_bytes"]);
      EXPECT_EQ(block.piece_bytes, want_block["piece_bytes"]);
      EXPECT_EQ(block.generation, want_block["generation"]);
      ASSERT_EQ(block.checksums.size(), want_block["checksums"].size());
      for (size_t k = 0; k < block.checksums.size(); ++k) {
        EXPECT_EQ(ToHex(block.checksums[k]),
                  want_block["checksums"][k].get<std::string>());
      }
    }
    EXPECT_EQ(EncodeBlocks(*answer), bytes);
    ExpectOnlyThatLength(
        bytes, [](auto part) { return ParseBlocksAnswer(part).status(); });
  }
}

TEST(ShmMessagesTest, PiecesAreThoseAskedForAndOneAtLeast) {
  // The pieces that an answer has, of four.
  const auto has = [](uint32_t first, uint32_t count, size_t checksums) {
    return HasPieces({.payload_bytes = 3500,
                      .piece_bytes = 1000,
                      .checksums = std::vector<Checksum128>(checksums)},
                     first, count);
  };

  EXPECT_TRUE(has(0, 0, 4));
  EXPECT_TRUE(has(1, 0, 3));
  EXPECT_TRUE(has(1, 2, 2));
  EXPECT_FALSE(has(0, 0, 3)) << "too few";
  EXPECT_FALSE(has(0, 0, 5)) << "too many";
  EXPECT_FALSE(has(1, 2, 3)) << "other ones";
  EXPECT_FALSE(has(3, 2, 2)) << "beyond the end";
  EXPECT_FALSE(has(4, 0, 0)) << "none";
  EXPECT_FALSE(HasPieces({.payload_bytes = 1000}, 0, 0)) << "no pieces at all";
}

}  // namespace
}  // namespace banyan::transport
