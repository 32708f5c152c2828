#include "kernels/layout/paged_layout.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan::layout {
namespace {

constexpr uint32_t kSizeMax = 1 << 20;
constexpr uint64_t kPoolBytesMax = uint64_t{1} << 46;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "LAYOUT", message);
}

absl::Status Validate(const PagedLayout::Shape& s) {
  const std::pair<absl::string_view, uint32_t> sizes[] = {
      {"page_tokens", s.page_tokens},
      {"kv_heads", s.kv_heads},
      {"head_dim", s.head_dim}};
  for (const auto& [name, size] : sizes) {
    if (size == 0 || size > kSizeMax) {
      return Bad(absl::StrCat("pages.", name, ": ", size, ". Want 1 to ",
                              kSizeMax, "."));
    }
  }
  if (s.pages == 0) return Bad("pages.pages: 0. Want at least one.");
  if (s.planes != 1 && s.planes != 2) {
    return Bad("pages.planes: want 1 (latent) or 2.");
  }
  if (s.element_bytes != 1 && s.element_bytes != 2 && s.element_bytes != 4) {
    return Bad("pages.element_bytes: want 1, 2 or 4.");
  }
  // The product stays in range as long as each step is checked before the next.
  uint64_t bytes = s.element_bytes;
  for (const uint64_t size : {uint64_t{s.head_dim}, uint64_t{s.kv_heads},
                              uint64_t{s.page_tokens}, uint64_t{s.planes}}) {
    bytes *= size;
    if (bytes > kPoolBytesMax) break;
  }
  if (bytes > kPoolBytesMax / s.pages) {
    return Bad(absl::StrCat("pages: a layer has over ", kPoolBytesMax,
                            " bytes. Use fewer or smaller pages."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PagedLayout> PagedLayout::Make(const Shape& shape) {
  if (absl::Status status = Validate(shape); !status.ok()) return status;
  return PagedLayout(shape);
}

PagedLayout::PagedLayout(const Shape& shape) : shape_(shape) {
  const bool is_nhd = shape.token_order == TokenOrder::kNhd;
  const bool is_plane_first = shape.plane_order == PlaneOrder::kPlaneFirst;
  token_stride_bytes_ = head_bytes() * (is_nhd ? shape.kv_heads : 1);
  head_stride_bytes_ = head_bytes() * (is_nhd ? 1 : shape.page_tokens);
  page_stride_bytes_ = page_plane_bytes() * (is_plane_first ? 1 : shape.planes);
  plane_stride_bytes_ = page_plane_bytes() * (is_plane_first ? shape.pages : 1);
}

}  // namespace banyan::layout
