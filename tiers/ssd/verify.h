// The offline check of an SSD tier's directory: reads every record from the
// device, compares it with the catalogue, and changes nothing. For
// `banyanctl verify DIR`, and for a person who wants to know.
//
// Errors: kFailedPrecondition  in use, or no directory of this format
//         kNotFound            there is none
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tiers/io/file.h"

namespace banyan::tiers {

struct VerifyReport {
  std::string node_id;
  uint64_t segments = 0;
  uint64_t segments_unreadable = 0;
  uint64_t records = 0;
  uint64_t records_damaged = 0;  // A checksum of the payload is wrong.
  uint64_t headers_damaged = 0;  // A row names a record that is not there.
  uint64_t read_bytes = 0;
  uint64_t skipped_bytes = 0;  // Before the last record, in none.
  bool has_catalogue = false;  // Only the first directory has one.
  uint64_t rows = 0;           // For segments of this directory.
  uint64_t rows_damaged = 0;
  uint64_t records_without_row = 0;   // Erased, replaced, or not yet committed.
  std::vector<std::string> findings;  // The first kFindingsTold, one line each.

  bool is_sound() const {
    return segments_unreadable + records_damaged + headers_damaged +
               rows_damaged ==
           0;
  }
};

inline constexpr size_t kFindingsTold = 100;

absl::StatusOr<VerifyReport> VerifyDirectory(const std::string& path,
                                             FileSystem& file_system);

}  // namespace banyan::tiers
