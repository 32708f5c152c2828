#include "client/transport/ucx_messages.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::transport {
namespace {

constexpr absl::string_view kMagic = "BANYUCX1";
constexpr uint32_t kVersion = 4;
constexpr size_t kHelloBytes = 32;
constexpr size_t kQuestionBytes = 56;
constexpr size_t kPutBytes = 40;
constexpr size_t kShortBytes = 16;  // Kind and call id.
constexpr size_t kWelcomeBytes = 40;
constexpr size_t kBlockBytes = 48;
constexpr size_t kBytesBytes = 24;
constexpr size_t kAnswerBytes = 24;
constexpr size_t kReasonBytesMax = 64;
constexpr uint32_t kStatusCodeMax = 16;

absl::Status Malformed(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                   absl::StrCat("ucx: not ", what, ". Check both versions."));
}

uint8_t Get8(const std::byte* in) { return static_cast<uint8_t>(*in); }

void PutText(absl::string_view text, std::byte* out) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
}

absl::string_view TextAt(absl::Span<const std::byte> bytes, size_t at,
                         size_t size) {
  return AsText(bytes.subspan(at, size));
}

template <typename Kind>
UcxHead NewHead(Kind kind, size_t bytes, uint64_t call_id) {
  UcxHead head(bytes);
  head.data()[0] = static_cast<std::byte>(kind);
  StoreLe64(call_id, head.data() + 8);
  return head;
}

// Checks size and kind of a head.
template <typename Kind>
absl::Status CheckHead(absl::Span<const std::byte> head, size_t bytes,
                       Kind kind) {
  if (head.size() == bytes && Get8(head.data()) == static_cast<uint8_t>(kind)) {
    return absl::OkStatus();
  }
  return Malformed("a message of this kind");
}

template <typename Kind>
absl::StatusOr<Kind> KindIn(absl::Span<const std::byte> head, Kind last) {
  if (head.empty() || Get8(head.data()) == 0 ||
      Get8(head.data()) > static_cast<uint8_t>(last)) {
    return Malformed("a message");
  }
  return static_cast<Kind>(Get8(head.data()));
}

absl::Status CheckMagic(absl::Span<const std::byte> head) {
  if (TextAt(head, 8, kMagic.size()) != kMagic) {
    return Malformed("of this protocol");
  }
  const uint32_t version = LoadLe32(head.data() + 4);
  if (version == kVersion) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "VERSION",
                   absl::StrCat("ucx: the other side speaks version ", version,
                                ", this one ", kVersion,
                                ". Use gRPC; update the older one."));
}

std::string ReasonOf(const absl::Status& status) {
  return ErrorReason(status).substr(0, kReasonBytesMax);
}

}  // namespace

absl::StatusOr<UcxToNodeKind> UcxToNodeKindOf(
    absl::Span<const std::byte> head) {
  return KindIn(head, UcxToNodeKind::kCheck);
}

absl::StatusOr<UcxToClientKind> UcxToClientKindOf(
    absl::Span<const std::byte> head) {
  return KindIn(head, UcxToClientKind::kAnswer);
}

UcxHead EncodeUcx(const UcxHello& hello) {
  UcxHead head = NewHead(UcxToNodeKind::kHello, kHelloBytes, 0);
  StoreLe32(kVersion, head.data() + 4);
  PutText(kMagic, head.data() + 8);
  PutText(hello.token.substr(0, kUcxIdBytes), head.data() + 16);
  return head;
}

absl::StatusOr<UcxHello> ParseUcxHello(absl::Span<const std::byte> head) {
  BANYAN_RETURN_IF_ERROR(CheckHead(head, kHelloBytes, UcxToNodeKind::kHello));
  BANYAN_RETURN_IF_ERROR(CheckMagic(head));
  return UcxHello{.token = TextAt(head, 16, kUcxIdBytes)};
}

UcxHead EncodeUcx(const UcxQuestion& question) {
  UcxHead head = NewHead(question.kind, kQuestionBytes, question.call_id);
  std::byte* const at = head.data();
  at[1] = static_cast<std::byte>(question.run.key_bytes);
  StoreLe16(static_cast<uint16_t>(question.salt.size()), at + 2);
  StoreLe32(question.run.first_block, at + 4);
  StoreLe32(static_cast<uint32_t>(question.run.size()), at + 16);
  StoreLe32(static_cast<uint32_t>(question.run.lead_size()), at + 20);
  StoreLe32(question.first_piece, at + 24);
  StoreLe32(question.piece_count, at + 28);
  StoreLe32(question.timeout_ms, at + 32);
  StoreLe16(question.quality.Packed(), at + 36);
  PutText(question.namespace_id.substr(0, kUcxIdBytes), at + 40);
  return head;
}

std::string UcxBodyOf(const UcxQuestion& question) {
  return absl::StrCat(question.salt, question.run.lead, question.run.keys);
}

absl::StatusOr<UcxQuestion> ParseUcxQuestion(absl::Span<const std::byte> head,
                                             absl::Span<const std::byte> body) {
  BANYAN_ASSIGN_OR_RETURN(const UcxToNodeKind kind, UcxToNodeKindOf(head));
  if (head.size() != kQuestionBytes ||
      (kind != UcxToNodeKind::kMatch && kind != UcxToNodeKind::kGet &&
       kind != UcxToNodeKind::kCheck)) {
    return Malformed("a question");
  }
  const std::byte* const at = head.data();
  const uint64_t key_bytes = Get8(at + 1);
  const uint64_t salt_bytes = LoadLe16(at + 2);
  // At most 2^32 keys of 255 bytes: no overflow.
  const uint64_t keys_bytes = LoadLe32(at + 16) * key_bytes;
  const uint64_t lead_bytes = LoadLe32(at + 20) * key_bytes;
  if (body.size() != salt_bytes + lead_bytes + keys_bytes) {
    return Malformed("a question of this length");
  }
  const auto quality = QualityFloor::Of(LoadLe16(at + 36));
  if (!quality.ok()) return Malformed("a quality");
  const absl::string_view text = AsText(body);
  return UcxQuestion{.kind = kind,
                     .call_id = LoadLe64(at + 8),
                     .namespace_id = TextAt(head, 40, kUcxIdBytes),
                     .salt = text.substr(0, salt_bytes),
                     .run = {.keys = text.substr(salt_bytes + lead_bytes),
                             .key_bytes = key_bytes,
                             .first_block = LoadLe32(at + 4),
                             .lead = text.substr(salt_bytes, lead_bytes)},
                     .first_piece = LoadLe32(at + 24),
                     .piece_count = LoadLe32(at + 28),
                     .timeout_ms = LoadLe32(at + 32),
                     .quality = *quality};
}

UcxHead EncodeUcx(const UcxPut& put) {
  UcxHead head = NewHead(UcxToNodeKind::kPut, kPutBytes, put.call_id);
  StoreLe32(put.ordinal, head.data() + 4);
  StoreLe64(put.offset, head.data() + 16);
  PutText(put.write_id.substr(0, kUcxIdBytes), head.data() + 24);
  return head;
}

absl::StatusOr<UcxPut> ParseUcxPut(absl::Span<const std::byte> head) {
  BANYAN_RETURN_IF_ERROR(CheckHead(head, kPutBytes, UcxToNodeKind::kPut));
  return UcxPut{.call_id = LoadLe64(head.data() + 8),
                .write_id = TextAt(head, 24, kUcxIdBytes),
                .ordinal = LoadLe32(head.data() + 4),
                .offset = LoadLe64(head.data() + 16)};
}

UcxHead EncodeUcx(const UcxCancel& cancel) {
  return NewHead(UcxToNodeKind::kCancel, kShortBytes, cancel.call_id);
}

absl::StatusOr<UcxCancel> ParseUcxCancel(absl::Span<const std::byte> head) {
  BANYAN_RETURN_IF_ERROR(CheckHead(head, kShortBytes, UcxToNodeKind::kCancel));
  return UcxCancel{.call_id = LoadLe64(head.data() + 8)};
}

UcxHead EncodeUcxBye() { return NewHead(UcxToNodeKind::kBye, kShortBytes, 0); }

absl::Status ParseUcxBye(absl::Span<const std::byte> head) {
  return CheckHead(head, kShortBytes, UcxToNodeKind::kBye);
}

UcxHead EncodeUcx(const UcxWelcome& welcome) {
  UcxHead head = NewHead(UcxToClientKind::kWelcome, kWelcomeBytes, 0);
  StoreLe32(kVersion, head.data() + 4);
  PutText(kMagic, head.data() + 8);
  PutText(welcome.proof.substr(0, kUcxIdBytes), head.data() + 16);
  StoreLe32(welcome.group_blocks, head.data() + 32);
  return head;
}

absl::StatusOr<UcxWelcome> ParseUcxWelcome(absl::Span<const std::byte> head) {
  BANYAN_RETURN_IF_ERROR(
      CheckHead(head, kWelcomeBytes, UcxToClientKind::kWelcome));
  BANYAN_RETURN_IF_ERROR(CheckMagic(head));
  return UcxWelcome{.group_blocks = LoadLe32(head.data() + 32),
                    .proof = TextAt(head, 16, kUcxIdBytes)};
}

UcxHead EncodeUcx(const UcxBlock& block) {
  UcxHead head = NewHead(UcxToClientKind::kBlock, kBlockBytes, block.call_id);
  std::byte* const at = head.data();
  at[1] = static_cast<std::byte>(block.tier);
  StoreLe32(block.ordinal, at + 4);
  StoreLe64(block.payload_bytes, at + 16);
  StoreLe64(block.piece_bytes, at + 24);
  StoreLe64(block.generation, at + 32);
  StoreLe32(static_cast<uint32_t>(block.checksums.size()), at + 40);
  return head;
}

std::string UcxBodyOf(const UcxBlock& block) {
  std::string body(block.checksums.size() * kChecksumBytes, '\0');
  auto* at = reinterpret_cast<std::byte*>(body.data());
  for (const Checksum128& checksum : block.checksums) {
    StoreChecksum(checksum, at);
    at += kChecksumBytes;
  }
  return body;
}

absl::StatusOr<UcxBlock> ParseUcxBlock(absl::Span<const std::byte> head,
                                       absl::Span<const std::byte> body) {
  BANYAN_RETURN_IF_ERROR(CheckHead(head, kBlockBytes, UcxToClientKind::kBlock));
  const std::byte* const at = head.data();
  const uint64_t checksums = LoadLe32(at + 40);
  if (Get8(at + 1) > static_cast<uint8_t>(Tier::kSsd) ||
      body.size() != checksums * kChecksumBytes) {
    return Malformed("a block");
  }
  UcxBlock block{.call_id = LoadLe64(at + 8),
                 .ordinal = LoadLe32(at + 4),
                 .tier = static_cast<Tier>(Get8(at + 1)),
                 .payload_bytes = LoadLe64(at + 16),
                 .piece_bytes = LoadLe64(at + 24),
                 .generation = LoadLe64(at + 32)};
  block.checksums.reserve(checksums);
  for (size_t i = 0; i < checksums; ++i) {
    block.checksums.push_back(LoadChecksum(body.data() + i * kChecksumBytes));
  }
  return block;
}

UcxHead EncodeUcx(const UcxBytes& bytes) {
  UcxHead head = NewHead(UcxToClientKind::kBytes, kBytesBytes, bytes.call_id);
  StoreLe32(bytes.ordinal, head.data() + 4);
  StoreLe64(bytes.offset, head.data() + 16);
  return head;
}

absl::StatusOr<UcxBytes> ParseUcxBytes(absl::Span<const std::byte> head) {
  BANYAN_RETURN_IF_ERROR(CheckHead(head, kBytesBytes, UcxToClientKind::kBytes));
  return UcxBytes{.call_id = LoadLe64(head.data() + 8),
                  .ordinal = LoadLe32(head.data() + 4),
                  .offset = LoadLe64(head.data() + 16)};
}

UcxHead EncodeUcx(const UcxAnswer& answer) {
  UcxHead head =
      NewHead(UcxToClientKind::kAnswer, kAnswerBytes, answer.call_id);
  StoreLe16(static_cast<uint16_t>(ReasonOf(answer.status).size()),
            head.data() + 2);
  StoreLe32(static_cast<uint32_t>(answer.status.code()), head.data() + 4);
  StoreLe32(answer.blocks, head.data() + 16);
  StoreLe32(static_cast<uint32_t>(answer.damaged.size()), head.data() + 20);
  return head;
}

std::string UcxBodyOf(const UcxAnswer& answer) {
  std::string body(answer.damaged.size() * 4, '\0');
  auto* const at = reinterpret_cast<std::byte*>(body.data());
  for (size_t i = 0; i < answer.damaged.size(); ++i) {
    StoreLe32(answer.damaged[i], at + 4 * i);
  }
  absl::StrAppend(&body, ReasonOf(answer.status), answer.status.message());
  return body;
}

absl::StatusOr<UcxAnswer> ParseUcxAnswer(absl::Span<const std::byte> head,
                                         absl::Span<const std::byte> body) {
  BANYAN_RETURN_IF_ERROR(
      CheckHead(head, kAnswerBytes, UcxToClientKind::kAnswer));
  const std::byte* const at = head.data();
  const size_t reason_bytes = LoadLe16(at + 2);
  const uint32_t code = LoadLe32(at + 4);
  const uint64_t damaged = LoadLe32(at + 20);
  if (code > kStatusCodeMax || reason_bytes > kReasonBytesMax ||
      damaged > body.size() / 4 || reason_bytes > body.size() - 4 * damaged ||
      (code == 0 && body.size() != 4 * damaged)) {
    return Malformed("an answer");
  }
  UcxAnswer answer{.call_id = LoadLe64(at + 8), .blocks = LoadLe32(at + 16)};
  for (size_t i = 0; i < damaged; ++i) {
    answer.damaged.push_back(LoadLe32(body.data() + 4 * i));
  }
  if (code != 0) {
    const absl::string_view text = AsText(body.subspan(4 * damaged));
    answer.status =
        MakeError(static_cast<absl::StatusCode>(code),
                  text.substr(0, reason_bytes), text.substr(reason_bytes));
  }
  return answer;
}

}  // namespace banyan::transport
