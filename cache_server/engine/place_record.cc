#include "cache_server/engine/place_record.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "base/block_header.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"

namespace banyan::engine {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kHasParent = 1;

// Offsets; see the format page.
constexpr size_t kVersionAt = 0;
constexpr size_t kFlagsAt = 1;
constexpr size_t kGroupBlocksAt = 2;
constexpr size_t kDepthAt = 4;
constexpr size_t kNamespaceAt = 8;
constexpr size_t kHeadAt = 24;
constexpr size_t kParentAt = 40;
static_assert(kParentAt + 16 == kPlaceRecordBytes);

void StoreId(const BlockId& id, std::byte* out) {
  StoreLe64(id.low, out);
  StoreLe64(id.high, out + 8);
}

BlockId LoadId(const std::byte* in) {
  return {.low = LoadLe64(in), .high = LoadLe64(in + 8)};
}

absl::Status Bad(absl::string_view what) {
  return MakeError(
      absl::StatusCode::kDataLoss, "PLACE",
      absl::StrCat("place record: ", what, ". The block is dropped."));
}

}  // namespace

std::string SerializePlaceRecord(const PlaceRecord& record) {
  BANYAN_CHECK(record.namespace_id.size() == kNamespaceIdBytes);
  std::array<std::byte, kPlaceRecordBytes> out{};
  out[kVersionAt] = std::byte{kVersion};
  StoreLe16(record.group_blocks, &out[kGroupBlocksAt]);
  StoreLe32(record.place.depth, &out[kDepthAt]);
  std::memcpy(&out[kNamespaceAt], record.namespace_id.data(),
              kNamespaceIdBytes);
  StoreId(record.place.head, &out[kHeadAt]);
  if (record.place.parent.has_value()) {
    out[kFlagsAt] = std::byte{kHasParent};
    StoreId(*record.place.parent, &out[kParentAt]);
  }
  return std::string(AsText(out));
}

absl::StatusOr<PlaceRecord> ParsePlaceRecord(absl::string_view bytes) {
  if (bytes.size() != kPlaceRecordBytes) return Bad("wrong length");
  const std::byte* const in = AsBytes(bytes).data();
  if (in[kVersionAt] != std::byte{kVersion}) return Bad("unknown version");
  const uint8_t flags = std::to_integer<uint8_t>(in[kFlagsAt]);
  if ((flags & ~kHasParent) != 0) return Bad("unknown flags");
  PlaceRecord record{
      .namespace_id = std::string(bytes.substr(kNamespaceAt, 16)),
      .group_blocks = LoadLe16(&in[kGroupBlocksAt]),
      .place = {.head = LoadId(&in[kHeadAt]), .depth = LoadLe32(&in[kDepthAt])},
  };
  if (record.group_blocks == 0) return Bad("group_blocks is 0");
  if ((flags & kHasParent) != 0) record.place.parent = LoadId(&in[kParentAt]);
  if (record.place.depth % record.group_blocks == 0 &&
      record.place.parent.has_value()) {
    return Bad("the first block of a group has no parent in it");
  }
  return record;
}

}  // namespace banyan::engine
