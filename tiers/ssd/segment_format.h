// The bytes of a segment file: one header page, then records. A record is the
// block's header in one or more pages, then its payload, padded to a page.
//
// A record's header is checksummed with a seed made of node, segment, segment
// generation and offset, so a record that lies anywhere else than where it was
// written, or is left over from before, does not parse.
//
// Format: docs/formats/ssd_segment.md, vectors in docs/formats/ssd_segment.json.
// Errors: kDataLoss with reason HEADER.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/block_header.h"
#include "base/block_id.h"
#include "base/checksum.h"
#include "tiers/io/file.h"

namespace banyan::tiers {

inline constexpr uint16_t kSsdFormat = 1;
inline constexpr uint64_t kSegmentHeaderBytes = kIoAlignment;
inline constexpr size_t kAnnotationBytesMax = 64;

// Names one life of one segment file. Ids and generations are never reused.
struct SegmentName {
  Checksum128 node;  // NodeDigest of the owner.
  uint64_t id = 0;
  uint64_t generation = 0;

  friend bool operator==(const SegmentName&, const SegmentName&) = default;
};

struct SegmentHeader {
  SegmentName name;
  uint64_t segment_bytes = 0;  // Of the file, this header included.

  friend bool operator==(const SegmentHeader&, const SegmentHeader&) = default;
};

// What stands in front of a payload on disk.
struct RecordHeader {
  BlockId id;
  std::string annotation;  // Of the caller, at most kAnnotationBytesMax.
  BlockHeader block;

  friend bool operator==(const RecordHeader&, const RecordHeader&) = default;
};

// Where a record lies; the first thing that is read of it.
struct RecordPlace {
  SegmentName segment;
  uint64_t offset = 0;
};

Checksum128 NodeDigest(absl::string_view node_id);

// Fills one page.
void WriteSegmentHeader(const SegmentHeader& header,
                        absl::Span<std::byte> page);
absl::StatusOr<SegmentHeader> ParseSegmentHeader(
    absl::Span<const std::byte> page);

// Bytes of the header part of a record with that many pieces: whole pages.
uint64_t RecordHeaderBytes(uint32_t piece_count);
inline constexpr uint64_t kRecordHeaderBytesMax = 72 * 1024;

// Bytes of a whole record on disk.
uint64_t RecordBytes(uint64_t payload_bytes, uint32_t piece_count);

// Fills `out`, which has exactly RecordHeaderBytes. Returns its checksum.
// Requires: the annotation is not too long, and the block header is valid.
Checksum128 WriteRecordHeader(const RecordHeader& header,
                              const RecordPlace& place,
                              absl::Span<std::byte> out);

// Length of the record header that starts with this page, from the page alone
// and not yet verified: for how much to read. 0 if it starts none.
uint64_t PeekRecordHeaderBytes(absl::Span<const std::byte> page);

// Name that a record claims, not verified: parsing with it tells if it lies.
SegmentName PeekRecordSegment(absl::Span<const std::byte> page,
                              const Checksum128& node);

// Reads and verifies the header of the record at `place`. `bytes` must begin
// with all of it.
absl::StatusOr<RecordHeader> ParseRecordHeader(
    absl::Span<const std::byte> bytes, const RecordPlace& place);

}  // namespace banyan::tiers
