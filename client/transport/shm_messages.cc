#include "client/transport/shm_messages.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/transport/shm_bytes.h"

namespace banyan::transport {
namespace {

constexpr absl::string_view kMagic = "BANYSHM1";
constexpr uint32_t kVersion = 2;
constexpr size_t kBlocksQuestionHead = 48;
constexpr size_t kCheckBytes = 8;
constexpr size_t kLeaseBytes = 24;
constexpr size_t kPutBytes = 40;
constexpr size_t kAnswerHead = 8;
constexpr size_t kCountBytes = 12;
constexpr size_t kBlockHead = 40;
constexpr size_t kReasonBytesMax = 64;
constexpr uint32_t kStatusCodeMax = 16;

void Put8(uint8_t value, std::byte* out) { *out = std::byte{value}; }
uint8_t Get8(const std::byte* in) { return static_cast<uint8_t>(*in); }

std::byte* PutText(absl::string_view text, std::byte* out) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// Of a hello or welcome: the other side's.
absl::Status CheckVersion(absl::string_view bytes) {
  const uint32_t version = LoadLe32(AsBytes(bytes).data() + kMagic.size());
  if (version == kVersion) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "VERSION",
                   absl::StrCat("shm: the other side speaks version ", version,
                                ", this one ", kVersion,
                                ". Use gRPC; update the older one."));
}

// Checks size and kind of a question of fixed size.
absl::Status CheckFixed(absl::Span<const std::byte> bytes, size_t size,
                        ShmKind kind) {
  if (bytes.size() == size &&
      Get8(bytes.data()) == static_cast<uint8_t>(kind)) {
    return absl::OkStatus();
  }
  return MalformedShm("a question of this kind");
}

}  // namespace

absl::Status MalformedShm(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FRAME",
                   absl::StrCat("shm: not ", what, ". Check both versions."));
}

absl::StatusOr<absl::Span<const std::byte>> AnswerBody(
    absl::Span<const std::byte> bytes) {
  if (bytes.size() < kAnswerHead) return MalformedShm("an answer");
  const uint32_t code = LoadLe32(bytes.data());
  const uint32_t reason_bytes = LoadLe32(bytes.data() + 4);
  if (code == 0) return bytes;
  const absl::string_view text = AsText(bytes.subspan(kAnswerHead));
  if (code > kStatusCodeMax || reason_bytes > kReasonBytesMax ||
      reason_bytes > text.size()) {
    return MalformedShm("an error");
  }
  return MakeError(static_cast<absl::StatusCode>(code),
                   text.substr(0, reason_bytes), text.substr(reason_bytes));
}

std::string EncodeHello(const ShmHello& hello) {
  std::string out(kShmHelloBytes, '\0');
  PutText(kMagic, BytesOf(out));
  StoreLe32(kVersion, BytesOf(out) + 8);
  PutText(absl::string_view(hello.token).substr(0, kShmIdBytes),
          BytesOf(out) + 16);
  return out;
}

absl::StatusOr<ShmHello> ParseHello(absl::string_view bytes) {
  if (bytes.size() != kShmHelloBytes || bytes.substr(0, 8) != kMagic) {
    return MalformedShm("a hello");
  }
  BANYAN_RETURN_IF_ERROR(CheckVersion(bytes));
  return ShmHello{.token = std::string(bytes.substr(16, kShmIdBytes))};
}

std::string EncodeWelcome(const ShmWelcome& welcome) {
  std::string out(kShmWelcomeBytes, '\0');
  std::byte* const at = BytesOf(out);
  PutText(kMagic, at);
  StoreLe32(kVersion, at + 8);
  StoreLe32(welcome.is_prefaulted ? 1 : 0, at + 12);
  StoreLe64(welcome.channel_bytes, at + 16);
  StoreLe64(welcome.window_bytes, at + 24);
  StoreLe64(welcome.arena_bytes, at + 32);
  StoreLe32(welcome.group_blocks, at + 40);
  PutText(absl::string_view(welcome.proof).substr(0, kShmIdBytes), at + 48);
  return out;
}

absl::StatusOr<ShmWelcome> ParseWelcome(absl::string_view bytes) {
  const std::byte* const at = AsBytes(bytes).data();
  if (bytes.size() != kShmWelcomeBytes || bytes.substr(0, 8) != kMagic) {
    return MalformedShm("a welcome");
  }
  BANYAN_RETURN_IF_ERROR(CheckVersion(bytes));
  return ShmWelcome{.channel_bytes = LoadLe64(at + 16),
                    .window_bytes = LoadLe64(at + 24),
                    .arena_bytes = LoadLe64(at + 32),
                    .group_blocks = LoadLe32(at + 40),
                    .is_prefaulted = LoadLe32(at + 12) == 1,
                    .proof = std::string(bytes.substr(48, kShmIdBytes))};
}

size_t QuestionBytes(const ShmBlocksQuestion& question) {
  return kBlocksQuestionHead + question.salt.size() + question.run.lead.size() +
         question.run.keys.size();
}

void EncodeQuestion(const ShmBlocksQuestion& question,
                    absl::Span<std::byte> out) {
  std::byte* const at = out.data();
  std::memset(at, 0, kBlocksQuestionHead);
  Put8(static_cast<uint8_t>(question.kind), at);
  Put8(static_cast<uint8_t>(question.run.key_bytes), at + 1);
  StoreLe16(static_cast<uint16_t>(question.salt.size()), at + 2);
  StoreLe32(question.run.first_block, at + 4);
  StoreLe32(static_cast<uint32_t>(question.run.size()), at + 8);
  StoreLe32(static_cast<uint32_t>(question.run.lead_size()), at + 12);
  StoreLe32(question.first_piece, at + 16);
  StoreLe32(question.piece_count, at + 20);
  StoreLe32(question.ttl_ms, at + 24);
  StoreLe16(question.quality.Packed(), at + 28);
  PutText(question.namespace_id.substr(0, kShmIdBytes), at + 32);
  std::byte* next = PutText(question.salt, at + kBlocksQuestionHead);
  next = PutText(question.run.lead, next);
  PutText(question.run.keys, next);
}

std::string EncodeQuestion(const ShmCheck& check) {
  std::string out(kCheckBytes, '\0');
  Put8(static_cast<uint8_t>(ShmKind::kCheck), BytesOf(out));
  StoreLe32(check.ordinal, BytesOf(out) + 4);
  return out;
}

std::string EncodeQuestion(const ShmLeaseQuestion& question) {
  std::string out(kLeaseBytes, '\0');
  Put8(static_cast<uint8_t>(question.kind), BytesOf(out));
  StoreLe32(question.ttl_ms, BytesOf(out) + 4);
  PutText(question.lease_id.substr(0, kShmIdBytes), BytesOf(out) + 8);
  return out;
}

std::string EncodeQuestion(const ShmPut& put) {
  std::string out(kPutBytes, '\0');
  std::byte* const at = BytesOf(out);
  Put8(static_cast<uint8_t>(ShmKind::kPut), at);
  StoreLe32(put.ordinal, at + 4);
  StoreLe64(put.offset, at + 8);
  StoreLe64(put.bytes, at + 16);
  PutText(put.write_id.substr(0, kShmIdBytes), at + 24);
  return out;
}

absl::StatusOr<ShmKind> KindOf(absl::Span<const std::byte> bytes) {
  if (bytes.empty()) return MalformedShm("a question");
  const uint8_t kind = Get8(bytes.data());
  if (kind < static_cast<uint8_t>(ShmKind::kMatch) ||
      kind > static_cast<uint8_t>(ShmKind::kPutPieces)) {
    return MalformedShm("a question");
  }
  return static_cast<ShmKind>(kind);
}

absl::StatusOr<ShmBlocksQuestion> ParseBlocks(
    absl::Span<const std::byte> bytes) {
  if (bytes.size() < kBlocksQuestionHead) return MalformedShm("a question");
  const std::byte* const at = bytes.data();
  BANYAN_ASSIGN_OR_RETURN(const ShmKind kind, KindOf(bytes));
  if (kind > ShmKind::kLease && kind != ShmKind::kOpenLayers &&
      kind != ShmKind::kFollow) {
    return MalformedShm("a question about blocks");
  }
  const uint64_t key_bytes = Get8(at + 1);
  const uint64_t salt_bytes = LoadLe16(at + 2);
  // At most 2^32 keys of 255 bytes: no overflow.
  const uint64_t keys_bytes = LoadLe32(at + 8) * key_bytes;
  const uint64_t lead_bytes = LoadLe32(at + 12) * key_bytes;
  if (bytes.size() - kBlocksQuestionHead !=
      salt_bytes + lead_bytes + keys_bytes) {
    return MalformedShm("a question of this length");
  }
  const auto quality = QualityFloor::Of(LoadLe16(at + 28));
  if (!quality.ok()) return MalformedShm("a quality");
  const absl::string_view text = AsText(bytes);
  const size_t lead_at = kBlocksQuestionHead + salt_bytes;
  return ShmBlocksQuestion{
      .kind = kind,
      .namespace_id = text.substr(32, kShmIdBytes),
      .salt = text.substr(kBlocksQuestionHead, salt_bytes),
      .run = {.keys = text.substr(lead_at + lead_bytes, keys_bytes),
              .key_bytes = key_bytes,
              .first_block = LoadLe32(at + 4),
              .lead = text.substr(lead_at, lead_bytes)},
      .first_piece = LoadLe32(at + 16),
      .piece_count = LoadLe32(at + 20),
      .ttl_ms = LoadLe32(at + 24),
      .quality = *quality};
}

absl::StatusOr<ShmCheck> ParseCheck(absl::Span<const std::byte> bytes) {
  BANYAN_RETURN_IF_ERROR(CheckFixed(bytes, kCheckBytes, ShmKind::kCheck));
  return ShmCheck{.ordinal = LoadLe32(bytes.data() + 4)};
}

absl::StatusOr<ShmLeaseQuestion> ParseLease(absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const ShmKind kind, KindOf(bytes));
  if (bytes.size() != kLeaseBytes ||
      (kind != ShmKind::kRenew && kind != ShmKind::kRelease)) {
    return MalformedShm("a question about a lease");
  }
  return ShmLeaseQuestion{.kind = kind,
                          .ttl_ms = LoadLe32(bytes.data() + 4),
                          .lease_id = AsText(bytes.subspan(8, kShmIdBytes))};
}

absl::StatusOr<ShmPut> ParsePut(absl::Span<const std::byte> bytes) {
  BANYAN_RETURN_IF_ERROR(CheckFixed(bytes, kPutBytes, ShmKind::kPut));
  return ShmPut{.write_id = AsText(bytes.subspan(24, kShmIdBytes)),
                .ordinal = LoadLe32(bytes.data() + 4),
                .offset = LoadLe64(bytes.data() + 8),
                .bytes = LoadLe64(bytes.data() + 16)};
}

std::string EncodeError(const absl::Status& status) {
  const std::string reason = ErrorReason(status).substr(0, kReasonBytesMax);
  std::string out(kAnswerHead, '\0');
  StoreLe32(static_cast<uint32_t>(status.code()), BytesOf(out));
  StoreLe32(static_cast<uint32_t>(reason.size()), BytesOf(out) + 4);
  absl::StrAppend(&out, reason, status.message());
  return out;
}

std::string EncodeCount(uint32_t count) {
  std::string out(kCountBytes, '\0');
  StoreLe32(count, BytesOf(out) + kAnswerHead);
  return out;
}

absl::StatusOr<uint32_t> ParseCount(absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(const auto body, AnswerBody(bytes));
  if (body.size() != kCountBytes) return MalformedShm("a count");
  return LoadLe32(body.data() + kAnswerHead);
}

size_t BlockBytes(size_t checksums) {
  return kBlockHead + checksums * kChecksumBytes;
}

bool HasPieces(const ShmBlock& block, uint32_t first, uint32_t count) {
  const uint32_t pieces = PieceCount(block.payload_bytes, block.piece_bytes);
  const uint64_t end = uint64_t{first} + block.checksums.size();
  if (block.checksums.empty() || end > pieces) return false;
  return count == 0 ? end == pieces : block.checksums.size() == count;
}

std::string EncodeBlocks(const ShmBlocksAnswer& answer) {
  size_t size = kShmBlocksHeadBytes;
  for (const ShmBlock& block : answer.blocks) {
    size += BlockBytes(block.checksums.size());
  }
  std::string out(size, '\0');
  std::byte* at = BytesOf(out);
  StoreLe32(static_cast<uint32_t>(answer.blocks.size()), at + 8);
  StoreLe32(answer.lease_ms, at + 12);
  Put8(static_cast<uint8_t>(answer.end), at + 16);
  Put8(answer.lease_id.empty() ? 0 : 1, at + 17);
  PutText(answer.lease_id, at + 24);
  at += kShmBlocksHeadBytes;
  for (const ShmBlock& block : answer.blocks) {
    StoreLe64(block.offset, at);
    StoreLe64(block.payload_bytes, at + 8);
    StoreLe64(block.piece_bytes, at + 16);
    StoreLe64(block.generation, at + 24);
    StoreLe32(static_cast<uint32_t>(block.checksums.size()), at + 32);
    at += kBlockHead;
    for (const Checksum128& checksum : block.checksums) {
      StoreChecksum(checksum, at);
      at += kChecksumBytes;
    }
  }
  return out;
}

absl::StatusOr<ShmBlocksAnswer> ParseBlocksAnswer(
    absl::Span<const std::byte> bytes) {
  BANYAN_ASSIGN_OR_RETURN(auto rest, AnswerBody(bytes));
  if (rest.size() < kShmBlocksHeadBytes ||
      Get8(rest.data() + 16) > static_cast<uint8_t>(ShmEnd::kFull)) {
    return MalformedShm("an answer about blocks");
  }
  const uint32_t count = LoadLe32(rest.data() + 8);
  ShmBlocksAnswer answer{.end = static_cast<ShmEnd>(Get8(rest.data() + 16)),
                         .lease_ms = LoadLe32(rest.data() + 12)};
  if (Get8(rest.data() + 17) == 1) {
    answer.lease_id = std::string(AsText(rest.subspan(24, kShmIdBytes)));
  }
  rest = rest.subspan(kShmBlocksHeadBytes);
  if (count > rest.size() / kBlockHead)
    return MalformedShm("an answer this long");
  answer.blocks.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    if (rest.size() < kBlockHead) return MalformedShm("a block");
    const std::byte* const at = rest.data();
    const uint32_t checksums = LoadLe32(at + 32);
    ShmBlock block{.offset = LoadLe64(at),
                   .payload_bytes = LoadLe64(at + 8),
                   .piece_bytes = LoadLe64(at + 16),
                   .generation = LoadLe64(at + 24)};
    rest = rest.subspan(kBlockHead);
    if (checksums > rest.size() / kChecksumBytes)
      return MalformedShm("a block");
    for (uint32_t k = 0; k < checksums; ++k) {
      block.checksums.push_back(LoadChecksum(rest.data() + k * kChecksumBytes));
    }
    rest = rest.subspan(checksums * kChecksumBytes);
    answer.blocks.push_back(std::move(block));
  }
  if (!rest.empty()) return MalformedShm("an answer about blocks");
  return answer;
}

}  // namespace banyan::transport
