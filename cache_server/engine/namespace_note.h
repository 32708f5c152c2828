// A namespace as a durable tier keeps it: name and fingerprint, as JSON text
// with the field names of base/fingerprint.h; hash_seed_digest is in hex. The
// id and the digest follow from them.
//
// Errors: Parse returns kDataLoss reason NAMESPACE.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fingerprint.h"
#include "cache_server/engine/ssd_coding.h"

namespace banyan::engine {

struct NamespaceNote {
  std::string name;
  Fingerprint fingerprint;
  SsdPolicy ssd_policy;
  std::string calibration;  // In base64.

  friend bool operator==(const NamespaceNote&, const NamespaceNote&) = default;
};

std::string SerializeNamespaceNote(const NamespaceNote& note);

absl::StatusOr<NamespaceNote> ParseNamespaceNote(absl::string_view text);

}  // namespace banyan::engine
