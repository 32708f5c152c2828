// The rows of the catalogue: one for each block, one for each segment, and the
// notes of the engine. Every row carries a checksum seeded with its key, so a
// damaged row, and one that was read under another key, is refused.
//
// Format: docs/formats/ssd_catalogue.md, vectors in
//         docs/formats/ssd_catalogue.json.
// Errors: kDataLoss with reason HEADER.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/block_header.h"
#include "base/block_id.h"
#include "base/checksum.h"

namespace banyan::tiers {

// What a block is, as far as it can be known without its payload.
struct BlockFacts {
  BlockIdentity identity;
  uint16_t codec = 0;
  uint64_t generation = 0;
  uint64_t payload_bytes = 0;
  uint64_t piece_bytes = 0;

  friend bool operator==(const BlockFacts&, const BlockFacts&) = default;
};

struct BlockRow {
  uint16_t directory = 0;  // Number of the directory that holds the segment.
  uint8_t heat = 0;        // Reads since it was written, up to 255.
  uint64_t segment_id = 0;
  uint64_t segment_generation = 0;
  uint64_t offset = 0;
  uint64_t record_bytes = 0;
  Checksum128 header_checksum;  // Of the record header on disk.
  BlockFacts facts;
  std::string annotation;

  friend bool operator==(const BlockRow&, const BlockRow&) = default;
};

// A row as it lies in the catalogue: what a start needs of each, without a copy.
// Lives as long as the value it was parsed from.
struct BlockRowView {
  uint16_t directory = 0;
  uint8_t heat = 0;
  uint16_t codec = 0;
  uint64_t segment_id = 0;
  uint64_t segment_generation = 0;
  uint64_t offset = 0;
  uint64_t record_bytes = 0;
  uint64_t generation = 0;
  uint64_t payload_bytes = 0;
  uint64_t piece_bytes = 0;
  Checksum128 header_checksum;
  absl::string_view namespace_id;
  absl::string_view salt_digest;
  absl::string_view key;
  absl::string_view annotation;
};

// Every record that starts before append_offset has, or had, a row.
struct SegmentRow {
  uint64_t generation = 0;
  uint64_t append_offset = 0;

  friend bool operator==(const SegmentRow&, const SegmentRow&) = default;
};

std::string BlockRowKey(const BlockId& id);
std::string SegmentRowKey(uint64_t segment_id);
std::string NoteRowKey(absl::string_view key);

std::string SerializeBlockRow(const BlockId& id, const BlockRow& row);
std::string SerializeSegmentRow(uint64_t segment_id, const SegmentRow& row);
std::string SerializeNote(absl::string_view key, absl::string_view note);

// `key` and `value` as they stand in the catalogue.
absl::StatusOr<BlockId> ParseBlockRowKey(absl::string_view key);
absl::StatusOr<uint64_t> ParseSegmentRowKey(absl::string_view key);
absl::StatusOr<BlockRowView> ViewBlockRow(absl::string_view key,
                                          absl::string_view value);
absl::StatusOr<BlockRow> ParseBlockRow(absl::string_view key,
                                       absl::string_view value);
absl::StatusOr<SegmentRow> ParseSegmentRow(absl::string_view key,
                                           absl::string_view value);
absl::StatusOr<std::string> ParseNote(absl::string_view key,
                                      absl::string_view value);

}  // namespace banyan::tiers
