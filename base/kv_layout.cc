#include "base/kv_layout.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace banyan {
namespace {

constexpr uint32_t kSizeMax = 1 << 20;
constexpr uint64_t kBlockBytesMax = uint64_t{1} << 40;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "LAYOUT", message);
}

// The product stays in range as long as each step is checked before the next.
absl::Status ValidateBytes(const KvLayout::Shape& s) {
  uint64_t bytes = s.element_bytes;
  for (const uint32_t size :
       {s.layers, s.planes, s.block_tokens, s.kv_heads, s.head_dim}) {
    bytes *= size;
    if (bytes > kBlockBytesMax) {
      return Bad(absl::StrCat("layout: a block has over ", kBlockBytesMax,
                              " bytes. Use smaller blocks."));
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const KvLayout::Shape& s) {
  const std::pair<absl::string_view, uint32_t> sizes[] = {
      {"layers", s.layers},
      {"kv_heads", s.kv_heads},
      {"head_dim", s.head_dim},
      {"planes", s.planes},
      {"block_tokens", s.block_tokens}};
  for (const auto& [name, size] : sizes) {
    if (size == 0 || size > kSizeMax) {
      return Bad(absl::StrCat("layout.", name, ": ", size,
                              "; a known layout has 1 to ", kSizeMax, "."));
    }
  }
  if (s.planes > 2) return Bad("layout.planes: want 1 (latent) or 2.");
  if (s.element_bytes != 1 && s.element_bytes != 2 && s.element_bytes != 4) {
    return Bad("layout.data_type: want bf16, fp16, fp32, fp8 or int8.");
  }
  return ValidateBytes(s);
}

}  // namespace

uint32_t ElementBytes(absl::string_view data_type) {
  if (data_type == "bf16" || data_type == "fp16") return 2;
  if (data_type == "fp32") return 4;
  if (data_type == "fp8" || data_type == "int8") return 1;
  return 0;
}

absl::StatusOr<KvLayout> KvLayout::Make(const Shape& shape) {
  if (absl::Status status = Validate(shape); !status.ok()) return status;
  return KvLayout(shape);
}

absl::StatusOr<KvLayout> KvLayout::Of(const Fingerprint& f) {
  if (f.layout == "opaque") {
    return MakeError(absl::StatusCode::kFailedPrecondition, "LAYOUT",
                     "layout: opaque, so nothing is known of its bytes. Use a "
                     "namespace with layout nhd or hnd.");
  }
  return Make({.order = f.layout == "hnd" ? TokenOrder::kHnd : TokenOrder::kNhd,
               .element_bytes = ElementBytes(f.data_type),
               .layers = f.layers,
               .planes = f.planes,
               .block_tokens = f.block_tokens,
               .kv_heads = f.kv_heads,
               .head_dim = f.head_dim});
}

KvLayout::KvLayout(const Shape& shape) : shape_(shape) {
  const bool is_nhd = shape.order == TokenOrder::kNhd;
  token_stride_bytes_ = head_bytes() * (is_nhd ? shape.kv_heads : 1);
  head_stride_bytes_ = head_bytes() * (is_nhd ? 1 : shape.block_tokens);
}

}  // namespace banyan
