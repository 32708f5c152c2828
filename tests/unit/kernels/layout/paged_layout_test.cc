// Goal: offsets and sizes are those of the stated orders.
// Method: hand-computed values for vLLM's pools of a real model.
#include "kernels/layout/paged_layout.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace banyan::layout {
namespace {

// Llama-3.1-8B in bf16: 1000 pages of 16 tokens, 8 heads of 256 bytes.
PagedLayout::Shape Llama(PlaneOrder plane_order, TokenOrder token_order) {
  return {.plane_order = plane_order,
          .token_order = token_order,
          .element_bytes = 2,
          .planes = 2,
          .pages = 1000,
          .page_tokens = 16,
          .kv_heads = 8,
          .head_dim = 128};
}

TEST(PagedLayoutTest, OffsetsOfARealModel) {
  const auto offset = [](PlaneOrder plane_order, TokenOrder token_order) {
    const auto layout = PagedLayout::Make(Llama(plane_order, token_order));
    EXPECT_TRUE(layout.ok()) << layout.status();
    EXPECT_EQ(layout->head_bytes(), 256u);
    EXPECT_EQ(layout->pool_bytes(), 65536000u);
    return layout->OffsetOf(1, 5, 3, 2);  // V, page 5, slot 3, head 2.
  };

  EXPECT_EQ(offset(PlaneOrder::kPlaneFirst, TokenOrder::kNhd),
            32768000u + 5 * 32768 + 3 * 2048 + 2 * 256);
  EXPECT_EQ(offset(PlaneOrder::kPlaneFirst, TokenOrder::kHnd),
            32768000u + 5 * 32768 + 2 * 4096 + 3 * 256);
  EXPECT_EQ(offset(PlaneOrder::kPageFirst, TokenOrder::kNhd),
            5 * 65536u + 32768 + 3 * 2048 + 2 * 256);
  EXPECT_EQ(offset(PlaneOrder::kPageFirst, TokenOrder::kHnd),
            5 * 65536u + 32768 + 2 * 4096 + 3 * 256);
}

TEST(PagedLayoutTest, WrongSizesAreNamed) {
  const auto message = [](auto change) {
    PagedLayout::Shape shape = Llama(PlaneOrder::kPageFirst, TokenOrder::kNhd);
    change(shape);
    const absl::Status status = PagedLayout::Make(shape).status();
    EXPECT_EQ(ErrorReason(status), "LAYOUT");
    return std::string(status.message());
  };

  EXPECT_EQ(message([](auto& s) { s.page_tokens = 0; }),
            "pages.page_tokens: 0. Want 1 to 1048576.");
  EXPECT_EQ(message([](auto& s) { s.pages = 0; }),
            "pages.pages: 0. Want at least one.");
  EXPECT_EQ(message([](auto& s) { s.planes = 3; }),
            "pages.planes: want 1 (latent) or 2.");
  EXPECT_EQ(message([](auto& s) { s.element_bytes = 3; }),
            "pages.element_bytes: want 1, 2 or 4.");
  EXPECT_NE(message([](auto& s) { s.pages = 0xffffffffu; }).find("has over"),
            std::string::npos);
  EXPECT_NE(message([](auto& s) {
              s.page_tokens = s.kv_heads = s.head_dim = 1 << 20;
            }).find("has over"),
            std::string::npos);
}

}  // namespace
}  // namespace banyan::layout
