#include "tiers/ssd/segment_format.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kNodeSeed = 0x62616e79616e6e64;     // "banyannd".
constexpr uint64_t kSegmentSeed = 0x62616e79616e7367;  // "banyansg".
constexpr uint64_t kRecordSeed = 0x62616e79616e7263;   // "banyanrc".

// Segment header; its checksum is the last of the page.
constexpr uint32_t kSegmentMagic = 0x534e5942;  // "BYNS" in memory order.
constexpr size_t kMagicAt = 0;
constexpr size_t kVersionAt = 4;
constexpr size_t kNodeAt = 8;
constexpr size_t kSegmentIdAt = 24;
constexpr size_t kGenerationAt = 32;
constexpr size_t kSegmentBytesAt = 40;

// Record header; its checksum is the last of its pages.
constexpr uint32_t kRecordMagic = 0x524e5942;  // "BYNR" in memory order.
constexpr size_t kAnnotationBytesAt = 6;
constexpr size_t kHeaderBytesAt = 8;
constexpr size_t kBlockHeaderBytesAt = 12;
constexpr size_t kRecordSegmentAt = 16;
constexpr size_t kRecordGenerationAt = 24;
constexpr size_t kRecordOffsetAt = 32;
constexpr size_t kIdLowAt = 40;
constexpr size_t kIdHighAt = 48;
constexpr size_t kAnnotationAt = 56;
constexpr size_t kBlockHeaderAt = kAnnotationAt + kAnnotationBytesMax;

absl::Status Damaged(absl::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                   absl::StrCat("ssd: ", what));
}

uint64_t RecordSeed(const RecordPlace& place) {
  std::byte text[40];
  StoreChecksum(place.segment.node, &text[0]);
  StoreLe64(place.segment.id, &text[16]);
  StoreLe64(place.segment.generation, &text[24]);
  StoreLe64(place.offset, &text[32]);
  return Xxh3_64(text, kRecordSeed);
}

// Checksum of everything but the place of the checksum at the end.
Checksum128 Sum(absl::Span<const std::byte> bytes, uint64_t seed) {
  return Xxh3_128(bytes.first(bytes.size() - kChecksumBytes), seed);
}

std::byte* SumAt(absl::Span<std::byte> bytes) {
  return bytes.data() + bytes.size() - kChecksumBytes;
}

const std::byte* SumAt(absl::Span<const std::byte> bytes) {
  return bytes.data() + bytes.size() - kChecksumBytes;
}

}  // namespace

Checksum128 NodeDigest(absl::string_view node_id) {
  return Xxh3_128(AsBytes(node_id), kNodeSeed);
}

void WriteSegmentHeader(const SegmentHeader& header,
                        absl::Span<std::byte> page) {
  BANYAN_CHECK(page.size() == kSegmentHeaderBytes);
  std::memset(page.data(), 0, page.size());
  StoreLe32(kSegmentMagic, &page[kMagicAt]);
  StoreLe16(kSsdFormat, &page[kVersionAt]);
  StoreChecksum(header.name.node, &page[kNodeAt]);
  StoreLe64(header.name.id, &page[kSegmentIdAt]);
  StoreLe64(header.name.generation, &page[kGenerationAt]);
  StoreLe64(header.segment_bytes, &page[kSegmentBytesAt]);
  StoreChecksum(Sum(page, kSegmentSeed), SumAt(page));
}

absl::StatusOr<SegmentHeader> ParseSegmentHeader(
    absl::Span<const std::byte> page) {
  if (page.size() != kSegmentHeaderBytes) return Damaged("no header page");
  const std::byte* const in = page.data();
  if (LoadLe32(in + kMagicAt) != kSegmentMagic) {
    return Damaged("segment header: wrong magic");
  }
  if (LoadLe16(in + kVersionAt) != kSsdFormat) {
    return Damaged("segment header: wrong version");
  }
  if (Sum(page, kSegmentSeed) != LoadChecksum(SumAt(page))) {
    return Damaged("segment header: checksum mismatch");
  }
  SegmentHeader header;
  header.name.node = LoadChecksum(in + kNodeAt);
  header.name.id = LoadLe64(in + kSegmentIdAt);
  header.name.generation = LoadLe64(in + kGenerationAt);
  header.segment_bytes = LoadLe64(in + kSegmentBytesAt);
  if (header.segment_bytes % kIoAlignment != 0 ||
      header.segment_bytes <= kSegmentHeaderBytes) {
    return Damaged("segment header: size out of its domain");
  }
  return header;
}

uint64_t RecordHeaderBytes(uint32_t piece_count) {
  return RoundUp(kBlockHeaderAt + BlockHeaderSize(piece_count) + kChecksumBytes,
                 kIoAlignment);
}

uint64_t RecordBytes(uint64_t payload_bytes, uint32_t piece_count) {
  return RecordHeaderBytes(piece_count) + RoundUp(payload_bytes, kIoAlignment);
}

Checksum128 WriteRecordHeader(const RecordHeader& header,
                              const RecordPlace& place,
                              absl::Span<std::byte> out) {
  BANYAN_CHECK(out.size() == RecordHeaderBytes(header.block.piece_count()));
  BANYAN_CHECK(header.annotation.size() <= kAnnotationBytesMax);
  const std::vector<std::byte> block = SerializeBlockHeader(header.block);
  std::memset(out.data(), 0, out.size());
  StoreLe32(kRecordMagic, &out[kMagicAt]);
  StoreLe16(kSsdFormat, &out[kVersionAt]);
  StoreLe16(static_cast<uint16_t>(header.annotation.size()),
            &out[kAnnotationBytesAt]);
  StoreLe32(static_cast<uint32_t>(out.size()), &out[kHeaderBytesAt]);
  StoreLe32(static_cast<uint32_t>(block.size()), &out[kBlockHeaderBytesAt]);
  StoreLe64(place.segment.id, &out[kRecordSegmentAt]);
  StoreLe64(place.segment.generation, &out[kRecordGenerationAt]);
  StoreLe64(place.offset, &out[kRecordOffsetAt]);
  StoreLe64(header.id.low, &out[kIdLowAt]);
  StoreLe64(header.id.high, &out[kIdHighAt]);
  std::memcpy(&out[kAnnotationAt], header.annotation.data(),
              header.annotation.size());
  std::memcpy(&out[kBlockHeaderAt], block.data(), block.size());
  const Checksum128 sum = Sum(out, RecordSeed(place));
  StoreChecksum(sum, SumAt(out));
  return sum;
}

uint64_t PeekRecordHeaderBytes(absl::Span<const std::byte> page) {
  if (page.size() < kIoAlignment) return 0;
  if (LoadLe32(&page[kMagicAt]) != kRecordMagic) return 0;
  if (LoadLe16(&page[kVersionAt]) != kSsdFormat) return 0;
  const uint64_t bytes = LoadLe32(&page[kHeaderBytesAt]);
  const bool is_sound =
      bytes > 0 && bytes % kIoAlignment == 0 && bytes <= kRecordHeaderBytesMax;
  return is_sound ? bytes : 0;
}

SegmentName PeekRecordSegment(absl::Span<const std::byte> page,
                              const Checksum128& node) {
  return {.node = node,
          .id = LoadLe64(&page[kRecordSegmentAt]),
          .generation = LoadLe64(&page[kRecordGenerationAt])};
}

absl::StatusOr<RecordHeader> ParseRecordHeader(
    absl::Span<const std::byte> bytes, const RecordPlace& place) {
  const uint64_t header_bytes = PeekRecordHeaderBytes(bytes);
  if (header_bytes == 0 || header_bytes > bytes.size()) {
    return Damaged("record header: no record starts here");
  }
  const absl::Span<const std::byte> pages = bytes.first(header_bytes);
  if (Sum(pages, RecordSeed(place)) != LoadChecksum(SumAt(pages))) {
    return Damaged("record header: checksum mismatch");
  }
  const size_t annotation_bytes = LoadLe16(&pages[kAnnotationBytesAt]);
  const size_t block_bytes = LoadLe32(&pages[kBlockHeaderBytesAt]);
  if (annotation_bytes > kAnnotationBytesMax ||
      block_bytes > header_bytes - kBlockHeaderAt - kChecksumBytes ||
      LoadLe64(&pages[kRecordSegmentAt]) != place.segment.id ||
      LoadLe64(&pages[kRecordGenerationAt]) != place.segment.generation ||
      LoadLe64(&pages[kRecordOffsetAt]) != place.offset) {
    return Damaged("record header: fields do not agree");
  }
  RecordHeader header;
  header.id = {.low = LoadLe64(&pages[kIdLowAt]),
               .high = LoadLe64(&pages[kIdHighAt])};
  header.annotation =
      std::string(AsText(pages.subspan(kAnnotationAt, annotation_bytes)));
  BANYAN_ASSIGN_OR_RETURN(header.block, ParseBlockHeader(pages.subspan(
                                            kBlockHeaderAt, block_bytes)));
  if (RecordHeaderBytes(header.block.piece_count()) != header_bytes) {
    return Damaged("record header: length and piece count differ");
  }
  return header;
}

}  // namespace banyan::tiers
