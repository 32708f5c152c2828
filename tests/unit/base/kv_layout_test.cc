// Goal: offsets and sizes are those of the stated orders, and every byte of a
// block belongs to exactly one head of one token.
// Method: hand-computed values for a real model's shape, and for small shapes a
// walk over all indices in the order the header writes down.
#include "base/kv_layout.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace banyan {
namespace {

KvLayout::Shape Small(TokenOrder order) {
  return {.order = order,
          .element_bytes = 2,
          .layers = 3,
          .planes = 2,
          .block_tokens = 5,
          .kv_heads = 4,
          .head_dim = 7};
}

// Llama-3.1-8B in bf16, blocks of 16 tokens: 2 MiB.
Fingerprint Llama(absl::string_view layout) {
  return {.model = "llama",
          .data_type = "bf16",
          .layout = std::string(layout),
          .layers = 32,
          .kv_heads = 8,
          .head_dim = 128,
          .planes = 2,
          .block_tokens = 16};
}

TEST(KvLayoutTest, SizesOfARealModel) {
  const auto layout = KvLayout::Of(Llama("nhd"));

  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->head_bytes(), 256u);
  EXPECT_EQ(layout->plane_bytes(), 32768u);
  EXPECT_EQ(layout->layer_bytes(), 65536u);
  EXPECT_EQ(layout->block_bytes(), 2097152u);
  EXPECT_EQ(layout->bytes_per_token(), 131072u);
}

TEST(KvLayoutTest, OffsetsOfARealModel) {
  const auto nhd = KvLayout::Of(Llama("nhd"));
  const auto hnd = KvLayout::Of(Llama("hnd"));

  ASSERT_TRUE(nhd.ok() && hnd.ok());
  // Layer 1, V, token 3, head 2.
  EXPECT_EQ(nhd->OffsetOf(1, 1, 3, 2), 65536u + 32768 + 3 * 2048 + 2 * 256);
  EXPECT_EQ(hnd->OffsetOf(1, 1, 3, 2), 65536u + 32768 + 2 * 4096 + 3 * 256);
}

TEST(KvLayoutTest, NhdIsHeadAfterHeadThenTokenAfterToken) {
  const auto layout = KvLayout::Make(Small(TokenOrder::kNhd));

  ASSERT_TRUE(layout.ok());
  uint64_t next = 0;
  for (uint32_t layer = 0; layer < 3; ++layer) {
    for (uint32_t plane = 0; plane < 2; ++plane) {
      for (uint32_t token = 0; token < 5; ++token) {
        for (uint32_t head = 0; head < 4; ++head) {
          EXPECT_EQ(layout->OffsetOf(layer, plane, token, head), next);
          next += 14;
        }
      }
    }
  }
  EXPECT_EQ(layout->block_bytes(), next);
}

TEST(KvLayoutTest, HndIsTokenAfterTokenThenHeadAfterHead) {
  const auto layout = KvLayout::Make(Small(TokenOrder::kHnd));

  ASSERT_TRUE(layout.ok());
  uint64_t next = 0;
  for (uint32_t layer = 0; layer < 3; ++layer) {
    for (uint32_t plane = 0; plane < 2; ++plane) {
      for (uint32_t head = 0; head < 4; ++head) {
        for (uint32_t token = 0; token < 5; ++token) {
          EXPECT_EQ(layout->OffsetOf(layer, plane, token, head), next);
          next += 14;
        }
      }
    }
  }
  EXPECT_EQ(layout->block_bytes(), next);
}

TEST(KvLayoutTest, AnOpaqueLayoutHasNone) {
  const auto layout = KvLayout::Of({.layout = "opaque"});

  EXPECT_TRUE(absl::IsFailedPrecondition(layout.status()));
  EXPECT_EQ(ErrorReason(layout.status()), "LAYOUT");
}

TEST(KvLayoutTest, WrongSizesAreNamed) {
  const auto message = [](auto change) {
    KvLayout::Shape shape = Small(TokenOrder::kNhd);
    change(shape);
    return std::string(KvLayout::Make(shape).status().message());
  };
  EXPECT_EQ(message([](auto& s) { s.kv_heads = 0; }),
            "layout.kv_heads: 0; a known layout has 1 to 1048576.");
  EXPECT_EQ(message([](auto& s) { s.planes = 3; }),
            "layout.planes: want 1 (latent) or 2.");
  EXPECT_EQ(message([](auto& s) { s.element_bytes = 3; }),
            "layout.data_type: want bf16, fp16, fp32, fp8 or int8.");
}

TEST(KvLayoutTest, NoProductOfSizesOverflows) {
  constexpr uint32_t kMost = 1 << 20;
  const auto layout = KvLayout::Make({.element_bytes = 4,
                                      .layers = kMost,
                                      .planes = 2,
                                      .block_tokens = kMost,
                                      .kv_heads = kMost,
                                      .head_dim = kMost});

  EXPECT_TRUE(absl::IsInvalidArgument(layout.status()));
}

}  // namespace
}  // namespace banyan
