// A cache is blocks in the layout of the store: rows are found where the layout
// says, in their block, rounded to the element type.
#include "client/ctl/model/kv_cache.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "tests/testing/codec_cases.h"

namespace banyan::ctl {
namespace {

KvLayout Layout(uint32_t element_bytes, TokenOrder order) {
  return *KvLayout::Make({.order = order,
                          .element_bytes = element_bytes,
                          .layers = 3,
                          .planes = 2,
                          .block_tokens = 4,
                          .kv_heads = 2,
                          .head_dim = 6});
}

std::vector<float> Row(uint32_t layer, uint32_t plane, uint32_t position) {
  std::vector<float> row(12);
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = 1000.0f * layer + 100.0f * plane + position + i / 16.0f + 1e-5f;
  }
  return row;
}

void Fill(KvCache& cache) {
  for (uint32_t layer = 0; layer < 3; ++layer) {
    for (uint32_t position = 0; position < 10; ++position) {
      cache.Write(layer, 0, position, Row(layer, 0, position));
      cache.Write(layer, 1, position, Row(layer, 1, position));
    }
  }
}

TEST(KvCacheTest, RowsLieWhereTheLayoutSays) {
  for (const TokenOrder order : {TokenOrder::kNhd, TokenOrder::kHnd}) {
    KvCache cache(Layout(2, order), ElementType::kFp16, 10);
    EXPECT_EQ(cache.room(), 12u);
    Fill(cache);
    for (uint32_t position = 0; position < 10; ++position) {
      const auto row = Row(2, 1, position);
      for (uint32_t head = 0; head < 2; ++head) {
        const uint64_t at =
            cache.layout().OffsetOf(2, 1, position % 4, head) + 2 * 3;
        EXPECT_EQ(LoadLe16(&cache.Block(position / 4)[at]),
                  testing::Fp16Bits(row[head * 6 + 3]));
      }
    }
  }
}

TEST(KvCacheTest, ReadsWhatWasWritten) {
  KvCache exact(Layout(4, TokenOrder::kNhd), ElementType::kFp32, 10);
  KvCache rounded(Layout(2, TokenOrder::kHnd), ElementType::kFp16, 10);
  Fill(exact);
  Fill(rounded);
  std::vector<float> rows(3 * 12);

  exact.Read(1, 1, 6, 3, absl::MakeSpan(rows));
  for (uint32_t i = 0; i < 36; ++i) {
    EXPECT_EQ(rows[i], Row(1, 1, 6 + i / 12)[i % 12]);
  }

  rounded.Read(1, 1, 6, 3, absl::MakeSpan(rows));
  for (uint32_t i = 0; i < 36; ++i) {
    EXPECT_EQ(rows[i], testing::Fp16Value(
                           testing::Fp16Bits(Row(1, 1, 6 + i / 12)[i % 12])));
  }
}

TEST(KvCacheTest, RoundsToBf16) {
  KvCache cache(Layout(2, TokenOrder::kNhd), ElementType::kBf16, 10);
  Fill(cache);
  std::vector<float> rows(3 * 12);

  cache.Read(1, 1, 6, 3, absl::MakeSpan(rows));

  for (uint32_t i = 0; i < 36; ++i) {
    const double exact = Row(1, 1, 6 + i / 12)[i % 12];
    EXPECT_EQ(rows[i], testing::Values(
                           ElementType::kBf16,
                           testing::Elements(ElementType::kBf16, {exact}))[0]);
  }
}

TEST(KvCacheTest, ALayerOfABlockIsOneRun) {
  KvCache cache(Layout(2, TokenOrder::kNhd), ElementType::kFp16, 8);
  EXPECT_EQ(cache.BlockLayer(1, 2).data(),
            cache.Block(1).data() + 2 * cache.layout().layer_bytes());
  EXPECT_EQ(cache.BlockLayer(1, 2).size(), cache.layout().layer_bytes());
}

}  // namespace
}  // namespace banyan::ctl
