#include "tiers/ssd/catalogue_row.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "tiers/ssd/segment_format.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kRowSeed = 0x62616e79616e7277;  // "banyanrw".
constexpr char kBlockLetter = 'b';
constexpr char kSegmentLetter = 's';
constexpr char kNoteLetter = 'n';
constexpr size_t kSumBytes = 8;

// Block row.
constexpr size_t kVersionAt = 0;
constexpr size_t kHeatAt = 1;
constexpr size_t kKeyBytesAt = 2;
constexpr size_t kAnnotationBytesAt = 3;
constexpr size_t kDirectoryAt = 4;
constexpr size_t kCodecAt = 6;
constexpr size_t kSegmentAt = 8;
constexpr size_t kSegmentGenerationAt = 16;
constexpr size_t kOffsetAt = 24;
constexpr size_t kRecordBytesAt = 32;
constexpr size_t kHeaderChecksumAt = 40;
constexpr size_t kGenerationAt = 56;
constexpr size_t kPayloadBytesAt = 64;
constexpr size_t kPieceBytesAt = 72;
constexpr size_t kNamespaceAt = 80;
constexpr size_t kSaltAt = 96;
constexpr size_t kBlockFixedBytes = 112;

// Segment row.
constexpr size_t kSegmentRowGenerationAt = 8;
constexpr size_t kAppendOffsetAt = 16;
constexpr size_t kSegmentFixedBytes = 24;

absl::Status Damaged(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                   absl::StrCat("ssd catalogue: ", what));
}

std::byte* At(std::string& text, size_t at) {
  return reinterpret_cast<std::byte*>(text.data()) + at;
}

const std::byte* At(absl::string_view text, size_t at) {
  return reinterpret_cast<const std::byte*>(text.data()) + at;
}

uint64_t Sum(absl::string_view key, absl::string_view body) {
  return Xxh3_64(AsBytes(body), Xxh3_64(AsBytes(key), kRowSeed));
}

void AppendSum(absl::string_view key, std::string& row) {
  const uint64_t sum = Sum(key, row);
  row.resize(row.size() + kSumBytes);
  StoreLe64(sum, At(row, row.size() - kSumBytes));
}

// The row without its checksum, if that matches.
absl::StatusOr<absl::string_view> CheckedBody(absl::string_view key,
                                              absl::string_view row,
                                              size_t bytes_min) {
  if (row.size() < bytes_min + kSumBytes) return Damaged("row too short");
  const absl::string_view body = row.substr(0, row.size() - kSumBytes);
  if (Sum(key, body) != LoadLe64(At(row, body.size()))) {
    return Damaged("row checksum mismatch");
  }
  return body;
}

}  // namespace

std::string BlockRowKey(const BlockId& id) {
  std::string key(17, kBlockLetter);
  StoreLe64(id.low, At(key, 1));
  StoreLe64(id.high, At(key, 9));
  return key;
}

std::string SegmentRowKey(uint64_t segment_id) {
  std::string key(9, kSegmentLetter);
  StoreLe64(segment_id, At(key, 1));
  return key;
}

std::string NoteRowKey(absl::string_view key) {
  return absl::StrCat(absl::string_view(&kNoteLetter, 1), key);
}

std::string SerializeBlockRow(const BlockId& id, const BlockRow& row) {
  const BlockIdentity& identity = row.facts.identity;
  const absl::string_view key = identity.key.bytes();
  BANYAN_CHECK(identity.namespace_id.size() == kNamespaceIdBytes);
  BANYAN_CHECK(identity.salt_digest.size() == kSaltDigestBytes);
  BANYAN_CHECK(!key.empty() && row.annotation.size() <= kAnnotationBytesMax);
  std::string out(kBlockFixedBytes, '\0');
  out[kVersionAt] = static_cast<char>(kSsdFormat);
  out[kHeatAt] = static_cast<char>(row.heat);
  out[kKeyBytesAt] = static_cast<char>(key.size());
  out[kAnnotationBytesAt] = static_cast<char>(row.annotation.size());
  StoreLe16(row.directory, At(out, kDirectoryAt));
  StoreLe16(row.facts.codec, At(out, kCodecAt));
  StoreLe64(row.segment_id, At(out, kSegmentAt));
  StoreLe64(row.segment_generation, At(out, kSegmentGenerationAt));
  StoreLe64(row.offset, At(out, kOffsetAt));
  StoreLe64(row.record_bytes, At(out, kRecordBytesAt));
  StoreChecksum(row.header_checksum, At(out, kHeaderChecksumAt));
  StoreLe64(row.facts.generation, At(out, kGenerationAt));
  StoreLe64(row.facts.payload_bytes, At(out, kPayloadBytesAt));
  StoreLe64(row.facts.piece_bytes, At(out, kPieceBytesAt));
  std::memcpy(&out[kNamespaceAt], identity.namespace_id.data(),
              kNamespaceIdBytes);
  std::memcpy(&out[kSaltAt], identity.salt_digest.data(), kSaltDigestBytes);
  absl::StrAppend(&out, key, row.annotation);
  AppendSum(BlockRowKey(id), out);
  return out;
}

std::string SerializeSegmentRow(uint64_t segment_id, const SegmentRow& row) {
  std::string out(kSegmentFixedBytes, '\0');
  out[kVersionAt] = static_cast<char>(kSsdFormat);
  StoreLe64(row.generation, At(out, kSegmentRowGenerationAt));
  StoreLe64(row.append_offset, At(out, kAppendOffsetAt));
  AppendSum(SegmentRowKey(segment_id), out);
  return out;
}

std::string SerializeNote(absl::string_view key, absl::string_view note) {
  std::string out(note);
  AppendSum(NoteRowKey(key), out);
  return out;
}

absl::StatusOr<BlockId> ParseBlockRowKey(absl::string_view key) {
  if (key.size() != 17 || key[0] != kBlockLetter) return Damaged("block key");
  return BlockId{.low = LoadLe64(At(key, 1)), .high = LoadLe64(At(key, 9))};
}

absl::StatusOr<uint64_t> ParseSegmentRowKey(absl::string_view key) {
  if (key.size() != 9 || key[0] != kSegmentLetter) {
    return Damaged("segment key");
  }
  return LoadLe64(At(key, 1));
}

absl::StatusOr<BlockRowView> ViewBlockRow(absl::string_view key,
                                          absl::string_view value) {
  BANYAN_ASSIGN_OR_RETURN(const absl::string_view in,
                          CheckedBody(key, value, kBlockFixedBytes));
  const size_t key_bytes = static_cast<uint8_t>(in[kKeyBytesAt]);
  const size_t annotation_bytes = static_cast<uint8_t>(in[kAnnotationBytesAt]);
  if (in[kVersionAt] != kSsdFormat) return Damaged("row version");
  if (annotation_bytes > kAnnotationBytesMax ||
      in.size() != kBlockFixedBytes + key_bytes + annotation_bytes) {
    return Damaged("row length");
  }
  if (key_bytes == 0 || key_bytes > kKeyBytesMax) {
    return Damaged("row block key");
  }
  BlockRowView row;
  row.heat = static_cast<uint8_t>(in[kHeatAt]);
  row.directory = LoadLe16(At(in, kDirectoryAt));
  row.codec = LoadLe16(At(in, kCodecAt));
  row.segment_id = LoadLe64(At(in, kSegmentAt));
  row.segment_generation = LoadLe64(At(in, kSegmentGenerationAt));
  row.offset = LoadLe64(At(in, kOffsetAt));
  row.record_bytes = LoadLe64(At(in, kRecordBytesAt));
  row.header_checksum = LoadChecksum(At(in, kHeaderChecksumAt));
  row.generation = LoadLe64(At(in, kGenerationAt));
  row.payload_bytes = LoadLe64(At(in, kPayloadBytesAt));
  row.piece_bytes = LoadLe64(At(in, kPieceBytesAt));
  row.namespace_id = in.substr(kNamespaceAt, kNamespaceIdBytes);
  row.salt_digest = in.substr(kSaltAt, kSaltDigestBytes);
  row.key = in.substr(kBlockFixedBytes, key_bytes);
  row.annotation = in.substr(kBlockFixedBytes + key_bytes, annotation_bytes);
  const uint32_t pieces = PieceCount(row.payload_bytes, row.piece_bytes);
  if (pieces == 0 || row.offset % kIoAlignment != 0 ||
      row.record_bytes != RecordBytes(row.payload_bytes, pieces)) {
    return Damaged("row sizes do not agree");
  }
  return row;
}

absl::StatusOr<BlockRow> ParseBlockRow(absl::string_view key,
                                       absl::string_view value) {
  BANYAN_ASSIGN_OR_RETURN(const BlockRowView view, ViewBlockRow(key, value));
  BANYAN_ASSIGN_OR_RETURN(BlockKey block_key, BlockKey::FromBytes(view.key));
  BlockRow row;
  row.directory = view.directory;
  row.heat = view.heat;
  row.segment_id = view.segment_id;
  row.segment_generation = view.segment_generation;
  row.offset = view.offset;
  row.record_bytes = view.record_bytes;
  row.header_checksum = view.header_checksum;
  row.facts = {.identity = {.namespace_id = std::string(view.namespace_id),
                            .salt_digest = std::string(view.salt_digest),
                            .key = std::move(block_key)},
               .codec = view.codec,
               .generation = view.generation,
               .payload_bytes = view.payload_bytes,
               .piece_bytes = view.piece_bytes};
  row.annotation = std::string(view.annotation);
  return row;
}

absl::StatusOr<SegmentRow> ParseSegmentRow(absl::string_view key,
                                           absl::string_view value) {
  BANYAN_ASSIGN_OR_RETURN(const absl::string_view in,
                          CheckedBody(key, value, kSegmentFixedBytes));
  if (in.size() != kSegmentFixedBytes) return Damaged("segment row length");
  if (in[kVersionAt] != kSsdFormat) return Damaged("segment row version");
  return SegmentRow{.generation = LoadLe64(At(in, kSegmentRowGenerationAt)),
                    .append_offset = LoadLe64(At(in, kAppendOffsetAt))};
}

absl::StatusOr<std::string> ParseNote(absl::string_view key,
                                      absl::string_view value) {
  BANYAN_ASSIGN_OR_RETURN(const absl::string_view in,
                          CheckedBody(key, value, 0));
  return std::string(in);
}

}  // namespace banyan::tiers
