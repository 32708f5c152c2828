#include "tiers/host/size_classes.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kSmallBytesMax = 4 * kKiB;
constexpr uint64_t kSmallGranule = 64;    // A cache line.
constexpr uint64_t kLargeGranule = 4096;  // A page, and what O_DIRECT wants.
constexpr uint64_t kStepsPerDoubling = 8;

uint64_t RoundToGranule(uint64_t bytes) {
  return RoundUp(bytes,
                 bytes <= kSmallBytesMax ? kSmallGranule : kLargeGranule);
}

uint64_t GridBytes(uint64_t bytes) {
  if (bytes <= kSmallBytesMax) return RoundToGranule(bytes);
  const uint64_t base = std::bit_floor(bytes - 1);
  return RoundToGranule(RoundUp(bytes, base / kStepsPerDoubling));
}

}  // namespace

SizeClasses::SizeClasses(uint64_t slot_bytes_max)
    : slot_bytes_max_(slot_bytes_max) {}

uint64_t SizeClasses::SlotBytes(uint64_t block_bytes) const {
  BANYAN_CHECK(block_bytes > 0 && block_bytes <= slot_bytes_max_);
  uint64_t slot_bytes = std::min(GridBytes(block_bytes), slot_bytes_max_);
  const auto declared = declared_.lower_bound(block_bytes);
  if (declared != declared_.end()) slot_bytes = std::min(slot_bytes, *declared);
  return slot_bytes;
}

absl::Status SizeClasses::Add(uint64_t block_bytes) {
  if (block_bytes == 0 || block_bytes > slot_bytes_max_) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "BLOCK_SIZE",
        absl::StrCat("block_bytes: no block of this size fits (got ",
                     block_bytes, " B, limit ", slot_bytes_max_,
                     " B). Use smaller blocks or a larger tier."));
  }
  const uint64_t slot_bytes =
      std::min(RoundToGranule(block_bytes), slot_bytes_max_);
  if (declared_.contains(slot_bytes)) return absl::OkStatus();
  if (declared_.size() >= kDeclaredSizesMax) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, "BLOCK_SIZE",
        absl::StrCat("block_bytes: too many declared sizes (limit ",
                     kDeclaredSizesMax,
                     "). This size is served by the grid instead."));
  }
  declared_.insert(slot_bytes);
  return absl::OkStatus();
}

}  // namespace banyan::tiers
