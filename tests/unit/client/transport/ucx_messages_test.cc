// Goal: the messages of UCX are those of docs/formats/ucx.md, and what is no such
// message is refused, wherever it is cut or stretched.
// Method: the vectors beside the page, made by another program.
#include "client/transport/ucx_messages.h"

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
    std::ifstream file(BANYAN_SOURCE_DIR "/docs/formats/ucx.json");
    return Json::parse(file);
  }();
  return vectors;
}

std::string Hex(const Json& value, const char* name) {
  return absl::HexStringToBytes(value.at(name).get<std::string>());
}

std::string TextOf(const UcxHead& head) {
  return std::string(AsText(head.bytes()));
}

// Every proper prefix, the whole with a byte more, and every other kind, is
// refused.
template <typename Parse>
void ExpectOnlyThatHead(const std::string& head, const Parse& parse) {
  for (size_t size = 0; size < head.size(); ++size) {
    EXPECT_EQ(ErrorReason(parse(AsBytes(head.substr(0, size)))), "FRAME")
        << size;
  }
  EXPECT_EQ(ErrorReason(parse(AsBytes(head + "x"))), "FRAME");
  for (const char kind : {0, 8, 100, -1}) {
    std::string other = head;
    other[0] = kind;
    EXPECT_EQ(ErrorReason(parse(AsBytes(other))), "FRAME") << int{kind};
  }
}

// The same of a body, with the head that goes with it.
template <typename Parse>
void ExpectOnlyThatBody(const std::string& body, const Parse& parse) {
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(ErrorReason(parse(AsBytes(body.substr(0, size)))), "FRAME")
        << size;
  }
  EXPECT_EQ(ErrorReason(parse(AsBytes(body + "x"))), "FRAME");
}

TEST(UcxMessagesTest, HelloAndWelcome) {
  const Json& hello = Vectors()["hello"];
  const std::string head = Hex(hello, "head");
  EXPECT_EQ(TextOf(EncodeUcx(UcxHello{.token = Hex(hello, "token")})), head);
  EXPECT_EQ(ParseUcxHello(AsBytes(head))->token, Hex(hello, "token"));
  const auto parse = [](auto part) { return ParseUcxHello(part).status(); };
  ExpectOnlyThatHead(head, parse);
  for (const size_t at : {8, 15}) {  // Magic.
    std::string other = head;
    other[at] ^= 1;
    EXPECT_EQ(ErrorReason(parse(AsBytes(other))), "FRAME");
  }

  const Json& want = Vectors()["welcome"];
  const std::string bytes = Hex(want, "head");
  const auto welcome = ParseUcxWelcome(AsBytes(bytes));
  ASSERT_TRUE(welcome.ok());
  EXPECT_EQ(welcome->proof, Hex(want, "proof"));
  EXPECT_EQ(welcome->group_blocks, want["group_blocks"]);
  EXPECT_EQ(TextOf(EncodeUcx(*welcome)), bytes);
  ExpectOnlyThatHead(bytes,
                     [](auto part) { return ParseUcxWelcome(part).status(); });
}

TEST(UcxMessagesTest, AnotherVersionIsRefusedByName) {
  const std::string hello = Hex(Vectors()["hello"], "head");
  const std::string welcome = Hex(Vectors()["welcome"], "head");
  for (const uint32_t version : {0u, 3u, 5u, UINT32_MAX}) {
    std::string other = hello;
    StoreLe32(version, reinterpret_cast<std::byte*>(other.data()) + 4);
    const absl::Status refused = ParseUcxHello(AsBytes(other)).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_EQ(ErrorReason(refused), "VERSION");
    EXPECT_EQ(refused.message(),
              absl::StrCat("ucx: the other side speaks version ", version,
                           ", this one 4. Use gRPC; update the older one."));

    other = welcome;
    StoreLe32(version, reinterpret_cast<std::byte*>(other.data()) + 4);
    EXPECT_EQ(ErrorReason(ParseUcxWelcome(AsBytes(other)).status()), "VERSION");
  }
}

TEST(UcxMessagesTest, Questions) {
  ASSERT_EQ(Vectors()["questions"].size(), 3u);
  for (const Json& want : Vectors()["questions"]) {
    const std::string head = Hex(want, "head");
    const std::string body = Hex(want, "body");
    const auto question = ParseUcxQuestion(AsBytes(head), AsBytes(body));
    ASSERT_TRUE(question.ok()) << question.status();
    EXPECT_EQ(static_cast<int>(question->kind), want["kind"]);
    EXPECT_EQ(question->call_id, want["call_id"]);
    EXPECT_EQ(question->namespace_id, Hex(want, "namespace_id"));
    EXPECT_EQ(question->salt, Hex(want, "salt"));
    EXPECT_EQ(question->run.keys, Hex(want, "keys"));
    EXPECT_EQ(question->run.lead, Hex(want, "lead"));
    EXPECT_EQ(question->run.key_bytes, want["key_bytes"]);
    EXPECT_EQ(question->run.first_block, want["first_block"]);
    EXPECT_EQ(question->first_piece, want["first_piece"]);
    EXPECT_EQ(question->piece_count, want["piece_count"]);
    EXPECT_EQ(question->timeout_ms, want["timeout_ms"]);
    EXPECT_EQ(question->quality.Packed(), want["quality"]);
    std::string other = head;
    other[37] = 2;  // 512 and more: none.
    EXPECT_EQ(
        ErrorReason(ParseUcxQuestion(AsBytes(other), AsBytes(body)).status()),
        "FRAME");
    EXPECT_EQ(TextOf(EncodeUcx(*question)), head);
    EXPECT_EQ(UcxBodyOf(*question), body);
    ExpectOnlyThatHead(head, [&](auto part) {
      return ParseUcxQuestion(part, AsBytes(body)).status();
    });
    ExpectOnlyThatBody(body, [&](auto part) {
      return ParseUcxQuestion(AsBytes(head), part).status();
    });
  }
}

TEST(UcxMessagesTest, WhatElseGoesToTheNode) {
  const Json& want = Vectors()["put"];
  const std::string head = Hex(want, "head");
  const auto put = ParseUcxPut(AsBytes(head));
  ASSERT_TRUE(put.ok());
  EXPECT_EQ(put->call_id, want["call_id"]);
  EXPECT_EQ(put->ordinal, want["ordinal"]);
  EXPECT_EQ(put->offset, want["offset"]);
  EXPECT_EQ(put->write_id, Hex(want, "write_id"));
  EXPECT_EQ(TextOf(EncodeUcx(*put)), head);
  ExpectOnlyThatHead(head,
                     [](auto part) { return ParseUcxPut(part).status(); });

  const Json& cancel = Vectors()["cancel"];
  EXPECT_EQ(TextOf(EncodeUcx(UcxCancel{.call_id = cancel["call_id"]})),
            Hex(cancel, "head"));
  EXPECT_EQ(ParseUcxCancel(AsBytes(Hex(cancel, "head")))->call_id,
            cancel["call_id"]);
  ExpectOnlyThatHead(Hex(cancel, "head"),
                     [](auto part) { return ParseUcxCancel(part).status(); });

  const std::string bye = Hex(Vectors()["bye"], "head");
  EXPECT_EQ(TextOf(EncodeUcxBye()), bye);
  EXPECT_TRUE(ParseUcxBye(AsBytes(bye)).ok());
  ExpectOnlyThatHead(bye, [](auto part) { return ParseUcxBye(part); });
}

TEST(UcxMessagesTest, BlocksAndBytes) {
  ASSERT_EQ(Vectors()["blocks"].size(), 2u);
  for (const Json& want : Vectors()["blocks"]) {
    const std::string head = Hex(want, "head");
    const std::string body = Hex(want, "body");
    const auto block = ParseUcxBlock(AsBytes(head), AsBytes(body));
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ(block->call_id, want["call_id"]);
    EXPECT_EQ(block->ordinal, want["ordinal"]);
    EXPECT_EQ(static_cast<int>(block->tier), want["tier"]);
    EXPECT_EQ(block->payload_bytes, want["payload_bytes"]);
    EXPECT_EQ(block->piece_bytes, want["piece_bytes"]);
    EXPECT_EQ(block->generation, want["generation"]);
    ASSERT_EQ(block->checksums.size(), want["checksums"].size());
    EXPECT_EQ(TextOf(EncodeUcx(*block)), head);
    EXPECT_EQ(UcxBodyOf(*block), body);
    ExpectOnlyThatHead(head, [&](auto part) {
      return ParseUcxBlock(part, AsBytes(body)).status();
    });
    ExpectOnlyThatBody(body, [&](auto part) {
      return ParseUcxBlock(AsBytes(head), part).status();
    });
    std::string other = head;
    other[1] = 2;  // No such tier.
    EXPECT_FALSE(ParseUcxBlock(AsBytes(other), AsBytes(body)).ok());
  }

  const Json& want = Vectors()["bytes"];
  const auto bytes = ParseUcxBytes(AsBytes(Hex(want, "head")));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->call_id, want["call_id"]);
  EXPECT_EQ(bytes->ordinal, want["ordinal"]);
  EXPECT_EQ(bytes->offset, want["offset"]);
  EXPECT_EQ(TextOf(EncodeUcx(*bytes)), Hex(want, "head"));
  ExpectOnlyThatHead(Hex(want, "head"),
                     [](auto part) { return ParseUcxBytes(part).status(); });
}

TEST(UcxMessagesTest, Answers) {
  ASSERT_EQ(Vectors()["answers"].size(), 3u);
  for (const Json& want : Vectors()["answers"]) {
    const std::string head = Hex(want, "head");
    const std::string body = Hex(want, "body");
    const auto answer = ParseUcxAnswer(AsBytes(head), AsBytes(body));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->call_id, want["call_id"]);
    EXPECT_EQ(static_cast<int>(answer->status.code()), want["code"]);
    EXPECT_EQ(ErrorReason(answer->status), want["reason"].get<std::string>());
    EXPECT_EQ(answer->status.message(), want["message"].get<std::string>());
    EXPECT_EQ(answer->blocks, want["blocks"]);
    EXPECT_EQ(answer->damaged, want["damaged"].get<std::vector<uint32_t>>());
    EXPECT_EQ(TextOf(EncodeUcx(*answer)), head);
    EXPECT_EQ(UcxBodyOf(*answer), body);
    ExpectOnlyThatHead(head, [&](auto part) {
      return ParseUcxAnswer(part, AsBytes(body)).status();
    });
    if (answer->status.ok()) {
      ExpectOnlyThatBody(body, [&](auto part) {
        return ParseUcxAnswer(AsBytes(head), part).status();
      });
    }
    std::string other = head;
    other[4] = 17;  // No such code.
    EXPECT_FALSE(ParseUcxAnswer(AsBytes(other), AsBytes(body)).ok());
    other = head;
    other[20] = -1;  // More damaged blocks than there are bytes.
    EXPECT_FALSE(ParseUcxAnswer(AsBytes(other), AsBytes(body)).ok());
  }
}

}  // namespace
}  // namespace banyan::transport
