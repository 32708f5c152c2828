// A PlaceRecord is what the engine asks a durable tier to keep beside a block:
// the namespace and the place in its chain, so that a restart can make the
// block findable again. Tiers see opaque bytes.
//
// Format: docs/formats/place_record.md, vectors in
//         docs/formats/place_record.json.
// Errors: Parse returns kDataLoss reason PLACE for anything but exactly one
//         record of a known version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cache_server/index/prefix_index.h"

namespace banyan::engine {

inline constexpr size_t kPlaceRecordBytes = 56;

struct PlaceRecord {
  std::string namespace_id;  // kNamespaceIdBytes.
  uint16_t group_blocks = 0;
  index::BlockPlace place;

  friend bool operator==(const PlaceRecord&, const PlaceRecord&) = default;
};

// Requires: namespace_id has kNamespaceIdBytes.
std::string SerializePlaceRecord(const PlaceRecord& record);

absl::StatusOr<PlaceRecord> ParsePlaceRecord(absl::string_view bytes);

}  // namespace banyan::engine
