// The range coder and the coder of whole numbers: what is put comes back, in
// about as many bits as it is worth, and any bytes can be read.
#include "kernels/codec/range_coder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/codec/coefficient_coder.h"

namespace banyan::codec {
namespace {

TEST(RangeCoderTest, BitsComeBackInWhatTheyAreWorth) {
  for (const double odds : {0.5, 0.1, 0.01, 0.0}) {
    std::mt19937_64 rng(1);
    std::bernoulli_distribution draw(odds);
    std::vector<bool> bits(100000);
    for (auto&& bit : bits) bit = draw(rng);
    std::vector<std::byte> bytes(20000);
    RangeEncoder encoder(absl::MakeSpan(bytes));
    AdaptiveBit model;
    for (const bool bit : bits) encoder.Put(model, bit);
    const size_t size = encoder.Finish();
    const double worth =
        odds == 0 ? 0
                  : -odds * std::log2(odds) - (1 - odds) * std::log2(1 - odds);
    EXPECT_LE(8.0 * size / bits.size(), 1.03 * worth + 0.01);
    RangeDecoder decoder(absl::MakeConstSpan(bytes).first(size));
    AdaptiveBit again;
    for (size_t i = 0; i < bits.size(); ++i) {
      ASSERT_EQ(decoder.Take(again), bits[i]) << i;
    }
    EXPECT_TRUE(decoder.is_at_end());
  }
}

// Runs of even bits make low numbers whose sum carries far.
TEST(RangeCoderTest, CarriesReachWhatWasWritten) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 rng(seed);
    std::vector<std::byte> bytes(4000);
    RangeEncoder encoder(absl::MakeSpan(bytes));
    AdaptiveBit model{.fast = 65000, .slow = 65000};
    std::vector<bool> bits;
    for (int i = 0; i < 3000; ++i) bits.push_back(rng() % 16 != 0);
    for (const bool bit : bits) {
      AdaptiveBit odds = model;
      encoder.Put(odds, bit);
    }
    const size_t size = encoder.Finish();
    ASSERT_GT(size, 0u);
    RangeDecoder decoder(absl::MakeConstSpan(bytes).first(size));
    for (const bool bit : bits) {
      AdaptiveBit odds = model;
      ASSERT_EQ(decoder.Take(odds), bit);
    }
    EXPECT_TRUE(decoder.is_at_end());
  }
}

TEST(RangeCoderTest, FullRoomIsToldAndNotOverrun) {
  std::vector<std::byte> bytes(10, std::byte{0xEE});
  RangeEncoder encoder(absl::MakeSpan(bytes).first(8));
  for (int i = 0; i < 200; ++i) encoder.PutEven(i % 3 == 0);
  EXPECT_EQ(encoder.Finish(), 28u);  // Of 200 bits, and the tail.
  EXPECT_EQ(bytes[8], std::byte{0xEE});
}

// 0xFFFFFFFF is no number of the range [0, 0xFFFFFFFF). Read as one, these bytes
// would come to an end.
TEST(RangeCoderTest, NumberAboveTheRangeHasNoEnd) {
  constexpr uint8_t kBytes[] = {0xFF, 0xFF, 0xFF, 0xFF, 0x80, 0, 0, 0};
  RangeDecoder decoder(absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(kBytes), sizeof(kBytes)));
  for (int i = 0; i < 33; ++i) decoder.TakeEven();
  EXPECT_FALSE(decoder.is_at_end());
}

std::vector<float> SomeNumbers() {
  std::mt19937_64 rng(3);
  std::vector<float> numbers;
  for (int i = 0; i < 4000; ++i) {
    const int64_t most = i % 50 == 0 ? (1 << 23) - 1 : i % 7 + 1;
    numbers.push_back(static_cast<float>(
        static_cast<int64_t>(rng() % (2 * most + 1)) - most));
  }
  numbers.push_back(kCoefficientEnd - 1);
  numbers.push_back(1 - kCoefficientEnd);
  return numbers;
}

TEST(CoefficientCoderTest, NumbersComeBack) {
  const std::vector<float> numbers = SomeNumbers();
  std::vector<std::byte> bytes(20000);
  RangeEncoder encoder(absl::MakeSpan(bytes));
  CoefficientModel model;
  float level = 0;
  for (const float number : numbers) model.Put(number, level, encoder);
  const size_t size = encoder.Finish();
  ASSERT_GT(size, 0u);
  RangeDecoder decoder(absl::MakeConstSpan(bytes).first(size));
  CoefficientModel again;
  float same = 0;
  for (const float number : numbers) {
    float taken = 0;
    ASSERT_TRUE(again.Take(same, decoder, taken));
    ASSERT_EQ(taken, number);
  }
  EXPECT_EQ(same, level);
  EXPECT_TRUE(decoder.is_at_end());
}

TEST(CoefficientCoderTest, AnyBytesAreNumbersOrRefused) {
  std::mt19937_64 rng(4);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes(rng() % 40);
    for (std::byte& byte : bytes) {
      byte = static_cast<std::byte>(round % 3 == 0 ? 255 : rng());
    }
    // As large a number as an encoder may write.
    if (bytes.size() > 3 && round % 3 == 0) bytes[3] = std::byte{254};
    RangeDecoder decoder(bytes);
    CoefficientModel model;
    float level = 0;
    for (int i = 0; i < 1000; ++i) {
      float number = 0;
      if (!model.Take(level, decoder, number)) {
        ++refused;
        break;
      }
      ASSERT_LT(std::fabs(number), kCoefficientEnd);
    }
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace banyan::codec
