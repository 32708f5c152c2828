// Goal: what EncodePieces writes, readers take, whatever the shape of the layers.
// Method: layers of shapes whose pieces step by no power of two, of many lengths
// once they are encoded.
#include "kernels/codec/block_pieces.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

constexpr uint32_t kLayers = 2;

KvLayout LayoutOf(uint32_t tokens, uint32_t heads, uint32_t dim) {
  return *KvLayout::Make({.order = TokenOrder::kNhd,
                          .element_bytes = 2,
                          .layers = kLayers,
                          .planes = 2,
                          .block_tokens = tokens,
                          .kv_heads = heads,
                          .head_dim = dim});
}

// bf16 values of so many exponents: the more, the longer a lossless layer is.
std::vector<std::byte> LayerOf(uint64_t bytes, uint32_t exponents,
                               std::mt19937_64& rng) {
  std::vector<std::byte> layer(bytes);
  for (size_t at = 0; at < bytes; at += 2) {
    const auto bits = static_cast<uint16_t>((100 + rng() % exponents) << 7 |
                                            (rng() & 0x807F));
    std::memcpy(&layer[at], &bits, 2);
  }
  return layer;
}

TEST(BlockPiecesTest, ReadersTakeWhatIsWritten) {
  for (const KvLayout& layout :
       {LayoutOf(128, 3, 64), LayoutOf(64, 5, 128), LayoutOf(64, 8, 128)}) {
    const auto codec =
        testing::MakeCodec("lossless", layout, ElementType::kBf16);
    BlockCodec::Workspace work = codec->MakeWorkspace();
    BlockCodec::Workspace reading = codec->MakeWorkspace();
    ASSERT_TRUE(codec->StartDecoding(0, reading).ok());
    ASSERT_TRUE(codec->StartEncoding(0, work).ok());
    std::mt19937_64 rng(3);
    for (uint32_t exponents = 1; exponents <= 24; ++exponents) {
      std::vector<std::vector<std::byte>> layers;
      for (uint32_t i = 0; i < kLayers; ++i) {
        layers.push_back(LayerOf(codec->layer_bytes(), exponents + i, rng));
      }
      const auto pieces = EncodePieces(
          *codec, kLayers, 0,
          [&](uint32_t i) -> absl::StatusOr<absl::Span<const std::byte>> {
            return layers[i];
          },
          work);
      ASSERT_TRUE(pieces.ok()) << pieces.status();
      EXPECT_TRUE(CanBePiece(*codec, 0, pieces->piece_bytes))
          << pieces->piece_bytes << " of " << codec->layer_bytes();
      for (uint32_t i = 0; i < kLayers; ++i) {
        const auto encoded =
            LayerInPiece(*codec, {pieces->bytes.get() + i * pieces->piece_bytes,
                                  pieces->piece_bytes});
        ASSERT_TRUE(encoded.ok()) << encoded.status();
        std::vector<std::byte> layer(codec->layer_bytes());
        ASSERT_TRUE(
            codec->DecodeLayer(*encoded, reading, absl::MakeSpan(layer)).ok());
        EXPECT_EQ(layer, layers[i]);
      }
    }
  }
}

}  // namespace
}  // namespace banyan::codec
