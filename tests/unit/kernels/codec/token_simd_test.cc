// Tokens as floats and back: what lies behind one is its own business.
#include "kernels/codec/token_simd.h"

#include <gtest/gtest.h>

#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

// Rows that fill no vector, of values beyond fp16: each is cut when it is
// stored, and the token behind it is not, whatever the width of vectors.
TEST(TokenSimdTest, StoringATokenChangesNothingBehindIt) {
  const PlaneShape shape{.type = ElementType::kFp16, .heads = 3, .dim = 9};
  const size_t width = shape.token_elements();
  testing::ForEachTarget([&](const char* target) {
    std::vector<float> tokens(2 * width, 1e6f);
    std::vector<std::byte> stored(2 * width);
    const PlaneTarget plane{.bytes = stored.data(),
                            .token_stride_bytes = shape.token_bytes(),
                            .head_stride_bytes = shape.row_bytes(),
                            .tokens = 1};

    StoreToken(shape, tokens.data(), 0, nullptr, plane);

    for (const double x : testing::Values(ElementType::kFp16, stored)) {
      ASSERT_EQ(x, 65504) << target;
    }
    for (size_t i = width; i < 2 * width; ++i) {
      ASSERT_EQ(tokens[i], 1e6f) << target << ", element " << i;
    }
  });
}

}  // namespace
}  // namespace banyan::codec
