// Walks the records of a segment file by their headers; payloads are skipped.
//
// Threads: a scan has one caller; several segments may be scanned at once.
// Cost:    one read of a page for each large record; small ones share reads.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "tiers/io/file.h"
#include "tiers/ssd/segment_format.h"

namespace banyan::tiers {

struct FoundRecord {
  RecordHeader header;
  Checksum128 header_checksum;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct ScanResult {
  uint64_t end_offset = 0;  // Where the last record found ends.
  uint64_t record_count = 0;
  uint64_t read_bytes = 0;
  uint64_t skipped_bytes = 0;  // Between records: damaged or never written.
};

// What a bad record header means.
enum class BadHeader {
  kEnds,   // The segment ends here: after a crash, with a catalogue.
  kSkips,  // Look for the next record page by page: without a catalogue.
};

// The header of this segment file, with the size of the file. Where the header
// page is damaged, the first record that names itself soundly tells the name.
absl::StatusOr<SegmentHeader> ReadSegmentHeader(File& file,
                                                const Checksum128& node,
                                                uint64_t segment_id);

// Calls for every record from `from` on. Errors: those of reading.
absl::StatusOr<ScanResult> ScanSegment(
    File& file, const SegmentHeader& segment, uint64_t from,
    BadHeader bad_header, absl::FunctionRef<void(FoundRecord)> found);

}  // namespace banyan::tiers
