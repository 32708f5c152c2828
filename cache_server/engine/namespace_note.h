// A namespace as a durable tier keeps it: name and fingerprint, as JSON text
// with the field names of base/fingerprint.h; hash_seed_digest is in hex. The
// id and the digest follow from them. A calibration of more than
// kCalibrationPartBytes is kept in notes of its own, in order, behind that of the
// namespace: PartKey.
//
// Errors: Parse returns kDataLoss reason NAMESPACE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fingerprint.h"
#include "cache_server/engine/ssd_coding.h"

namespace banyan::engine {

struct NamespaceNote {
  std::string name;
  Fingerprint fingerprint;
  SsdPolicy ssd_policy;
  std::string calibration;         // In base64; or empty, and
  uint64_t calibration_bytes = 0;  // what its parts have together.

  friend bool operator==(const NamespaceNote&, const NamespaceNote&) = default;
};

inline constexpr size_t kCalibrationPartBytes = size_t{1} << 20;

// What the notes of a namespace say of such a calibration, and its parts in order:
// none if the note has all of it.
void SetCalibration(absl::string_view calibration, NamespaceNote& note);
std::vector<absl::string_view> PartsOf(absl::string_view calibration);

// The key of part `part` behind the namespace's, which is its id; they sort so.
std::string PartKey(absl::string_view namespace_id, size_t part);

std::string SerializeNamespaceNote(const NamespaceNote& note);

absl::StatusOr<NamespaceNote> ParseNamespaceNote(absl::string_view text);

}  // namespace banyan::engine
