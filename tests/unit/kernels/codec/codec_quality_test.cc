// How far decoded keys and values are from the original ones, and how many
// bytes that takes.
//
// Method: T-X1: bounds of the format, element by element, by plain arithmetic
// in double. T-LM: Gaussian rows. T-X6, T-FP8, T-SINK: attention over made-up
// keys and values (tests/testing/synkv.h), in blocks of 128 tokens; T-K4 to T-K7,
// T-BEYOND: nuq, calibrated with two other sequences, against plain codes and
// rotlm; T-QJL. T-RATE: bytes against the formula.
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/synkv.h"

namespace banyan::codec {
namespace {

using testing::Elements;
using testing::KvError;
using testing::SynKv;
using testing::Values;

constexpr uint32_t kBlockTokens = 128;

// The layer's values after encoding and decoding.
std::vector<double> ThereAndBack(const BlockCodec& codec, ElementType type,
                                 const std::vector<double>& values,
                                 uint64_t position) {
  auto work = codec.MakeWorkspace();
  const auto layer = Elements(type, values);
  std::vector<std::byte> encoded(codec.EncodedLayerBytes(position));
  std::vector<std::byte> decoded(layer.size());
  BANYAN_CHECK(codec.StartEncoding(position, work).ok());
  const auto bytes =
      codec.EncodeLayerSized(layer, work, absl::MakeSpan(encoded));
  BANYAN_CHECK(bytes.ok());
  encoded.resize(*bytes);
  BANYAN_CHECK(codec.StartDecoding(position, work).ok());
  BANYAN_CHECK(codec.DecodeLayer(encoded, work, absl::MakeSpan(decoded)).ok());
  return Values(type, decoded);
}

// ---- Bounds of formats ----

std::vector<double> GaussianLayer(const KvLayout& layout, ElementType type,
                                  uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(layout.layer_bytes() / 2);
  for (double& x : values) x = normal(rng);
  return Values(type, Elements(type, values));
}

// T-X1. Along the head, a group is `group` elements of a row.
TEST(CodecQualityTest, IntIsWithinHalfAStep) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 40, 2, 128);
  for (const int bits : {8, 4, 2}) {
    for (const auto type : {ElementType::kFp16, ElementType::kBf16}) {
      const auto codec =
          testing::MakeCodec(absl::StrCat("int", bits), layout, type);
      auto values = Values(type, testing::SomeLayer(layout, type, 1));
      const auto decoded = ThereAndBack(*codec, type, values, 64);
      const double rounding = type == ElementType::kFp16 ? 0x1p-10 : 0x1p-8;
      for (size_t at = 0; at < values.size(); at += 64) {
        const auto [low, high] =
            std::minmax_element(values.begin() + at, values.begin() + at + 64);
        const double step = (*high - *low) / ((1 << bits) - 1);
        const double most = std::max(std::fabs(*low), std::fabs(*high));
        for (size_t i = at; i < at + 64; ++i) {
          ASSERT_LE(std::fabs(decoded[i] - values[i]),
                    step / 2 + rounding * most)
              << bits << " bits, element " << i;
        }
      }
    }
  }
}

TEST(CodecQualityTest, IntAlongTokensIsWithinHalfAStepOfTheChannel) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 32, 1, 64);
  const auto codec = testing::MakeCodec("int4:channel", layout);
  const auto values = Values(ElementType::kFp16,
                             testing::SomeLayer(layout, ElementType::kFp16, 2));
  const auto decoded = ThereAndBack(*codec, ElementType::kFp16, values, 64);
  for (size_t channel = 0; channel < 64; ++channel) {
    double low = 1e9;
    double high = -1e9;
    for (size_t t = 0; t < 32; ++t) {
      low = std::min(low, values[t * 64 + channel]);
      high = std::max(high, values[t * 64 + channel]);
    }
    const double most = std::max(std::fabs(low), std::fabs(high));
    for (size_t t = 0; t < 32; ++t) {
      ASSERT_LE(std::fabs(decoded[t * 64 + channel] - values[t * 64 + channel]),
                (high - low) / 30 + 0x1p-10 * most);
    }
  }
}

TEST(CodecQualityTest, Fp8IsWithinHalfItsStep) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 64, 1, 128, 1);
  const auto codec = testing::MakeCodec("fp8", layout);
  const auto values = GaussianLayer(layout, ElementType::kFp16, 3);
  const auto decoded = ThereAndBack(*codec, ElementType::kFp16, values, 64);
  double most = 0;
  for (const double x : values) most = std::max(most, std::fabs(x));
  for (size_t i = 0; i < values.size(); ++i) {
    const double bound =
        std::max(std::fabs(values[i]) * 0x1p-4, most / 448 * 0x1p-10) +
        std::fabs(values[i]) * 0x1p-10;
    ASSERT_LE(std::fabs(decoded[i] - values[i]), bound) << values[i];
  }
}

// T-LM, and lengths of rows.
TEST(CodecQualityTest, RotLmOfGaussianRowsHasTheErrorOfItsLevels) {
  const KvLayout layout =
      testing::CodecLayout(TokenOrder::kNhd, 512, 2, 128, 1);
  const auto values = GaussianLayer(layout, ElementType::kFp16, 4);
  for (const auto& [bits, expected] :
       {std::pair(2, 0.1175), std::pair(3, 0.03455), std::pair(4, 0.0095)}) {
    const auto codec = testing::MakeCodec(absl::StrCat("rotlm", bits), layout);
    const auto decoded = ThereAndBack(*codec, ElementType::kFp16, values, 64);
    double error = 0;
    double squares = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      error += (values[i] - decoded[i]) * (values[i] - decoded[i]);
      squares += values[i] * values[i];
    }
    EXPECT_GE(error / squares, 0.85 * expected);
    EXPECT_LE(error / squares, 1.05 * expected);
    for (size_t at = 0; at < values.size(); at += 128) {
      double length = 0;
      double decoded_length = 0;
      for (size_t i = at; i < at + 128; ++i) {
        length += values[i] * values[i];
        decoded_length += decoded[i] * decoded[i];
      }
      ASSERT_NEAR(std::sqrt(decoded_length / length), 1, 0.001);
    }
  }
}

// Halves of an encoded layer of one plane, from this one on.
std::vector<double> Halves(absl::Span<const std::byte> encoded, size_t first,
                           size_t count) {
  return Values(ElementType::kFp16,
                encoded.subspan(kLayerHeadBytes + 2 * first, 2 * count));
}

// Rotations keep lengths: the error of a row is that of its codes, of which each
// is within half a step, and evenly spread.
TEST(CodecQualityTest, KvarnRowsAreWithinHalfAStepOfTheirGroups) {
  constexpr uint32_t kTokens = 128;
  constexpr uint32_t kDim = 64;
  const KvLayout layout =
      testing::CodecLayout(TokenOrder::kNhd, kTokens, 1, kDim, 1);
  const auto layer = testing::SomeLayer(layout, ElementType::kFp16, 8);
  const auto values = Values(ElementType::kFp16, layer);
  for (const std::string spec :
       {"kvarn4", "kvarn4:channel", "kvarn2", "kvarn3:channel"}) {
    const bool has_channels = absl::StrContains(spec, "channel");
    const auto codec = testing::MakeCodec(spec, layout);
    auto work = codec->MakeWorkspace();
    std::vector<std::byte> encoded(codec->EncodedLayerBytes(0));
    ASSERT_TRUE(codec->StartEncoding(0, work).ok());
    ASSERT_TRUE(codec->EncodeLayer(layer, work, absl::MakeSpan(encoded)).ok());
    const size_t groups = has_channels ? kDim : kTokens;
    const auto scales = Halves(encoded, 0, groups);
    const auto factors =
        Halves(encoded, 2 * groups, has_channels ? kTokens : kDim);
    const auto decoded = ThereAndBack(*codec, ElementType::kFp16, values, 0);

    double all_errors = 0;
    double all_bounds = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      double error = 0;
      double bound = 0;
      double size = 0;
      for (size_t e = 0; e < kDim; ++e) {
        const double x = values[t * kDim + e];
        const double step =
            scales[has_channels ? e : t] * factors[has_channels ? t : e];
        error += (x - decoded[t * kDim + e]) * (x - decoded[t * kDim + e]);
        bound += 0.25 * step * step;
        size += x * x;
      }
      EXPECT_LE(std::sqrt(error),
                1.001 * std::sqrt(bound) + 0x1p-10 * std::sqrt(size))
          << spec << ", token " << t;
      all_errors += error;
      all_bounds += bound;
    }
    EXPECT_NEAR(all_errors / all_bounds, 1.0 / 3, 0.05) << spec;
  }
}

// What factors are for: a token that is small among large ones.
TEST(CodecQualityTest, KvarnKeepsSmallTokensAsWellAsLargeOnes) {
  const KvLayout layout =
      testing::CodecLayout(TokenOrder::kNhd, 128, 1, 128, 1);
  auto values = GaussianLayer(layout, ElementType::kFp16, 9);
  const auto size_of = [](size_t token) { return token % 4 == 0 ? 2.5 : 1.0; };
  for (size_t i = 0; i < values.size(); ++i) values[i] *= size_of(i / 128);
  const auto error_of = [&](const std::string& spec, double size) {
    const auto decoded = ThereAndBack(*testing::MakeCodec(spec, layout),
                                      ElementType::kFp16, values, 0);
    double error = 0;
    double squares = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (size_of(i / 128) != size) continue;
      error += (values[i] - decoded[i]) * (values[i] - decoded[i]);
      squares += values[i] * values[i];
    }
    return error / squares;
  };
  const std::string kvarn = "kvarn4:channel";
  EXPECT_LE(error_of(kvarn, 1), 1.6 * error_of(kvarn, 2.5));
  EXPECT_LE(error_of(kvarn, 1), 0.6 * error_of("int4:channel:g128", 1));
}

// ---- Attention ----

const SynKv& Kv() {
  static const SynKv* const kv = new SynKv(testing::MakeSynKv(11));
  return *kv;
}

// Keys and values of some tokens as a layer in the order [plane, token, head].
std::vector<double> BlockOf(const SynKv& kv, uint32_t first) {
  std::vector<double> layer;
  for (const auto* const plane : {&kv.keys, &kv.values}) {
    for (uint32_t t = first; t < first + kBlockTokens; ++t) {
      for (uint32_t head = 0; head < kv.heads; ++head) {
        const double* const row = &(*plane)[kv.at(head, t)];
        layer.insert(layer.end(), row, row + kv.dim);
      }
    }
  }
  return layer;
}

KvLayout BlockLayout() {
  return testing::CodecLayout(TokenOrder::kNhd, kBlockTokens, Kv().heads,
                              Kv().dim);
}

// The codec for such blocks; nuq is calibrated with other sequences.
std::unique_ptr<BlockCodec> CodecOf(const std::string& spec) {
  if (!absl::StrContains(spec, "nuq")) {
    return testing::MakeCodec(spec, BlockLayout());
  }
  static const auto* const sequences = new std::vector<SynKv>{
      testing::MakeSynKv(11, 1), testing::MakeSynKv(11, 2)};
  const BlockCodec::Options options{.spec = *ParseBlockSpec(spec),
                                    .layout = BlockLayout(),
                                    .rope = testing::SomeRope(Kv().dim)};
  const auto calibrator = Calibrator::Make({.spec = options.spec,
                                            .layout = options.layout,
                                            .rope = options.rope,
                                            .layers = 1});
  BANYAN_CHECK(calibrator.ok());
  for (const SynKv& kv : *sequences) {
    for (uint32_t first = 0; first < kv.tokens; first += kBlockTokens) {
      BANYAN_CHECK(
          (*calibrator)
              ->Add(0, first, Elements(ElementType::kFp16, BlockOf(kv, first)))
              .ok());
    }
  }
  const auto calibration = (*calibrator)->Finish();
  BANYAN_CHECK(calibration.ok());
  auto codec = BlockCodec::Make({.spec = options.spec,
                                 .layout = options.layout,
                                 .rope = options.rope,
                                 .calibration = &*calibration});
  BANYAN_CHECK(codec.ok());
  return *std::move(codec);
}

struct Decoded {
  std::vector<double> keys;  // As SynKv has them.
  std::vector<double> values;
};

Decoded DecodedOf(const std::string& spec) {
  const SynKv& kv = Kv();
  const auto codec = CodecOf(spec);
  std::vector<double> keys(kv.keys.size());
  std::vector<double> values(kv.values.size());
  for (uint32_t first = 0; first < kv.tokens; first += kBlockTokens) {
    const auto layer =
        ThereAndBack(*codec, ElementType::kFp16, BlockOf(kv, first), first);
    auto from = layer.begin();
    for (auto* const plane : {&keys, &values}) {
      for (uint32_t t = first; t < first + kBlockTokens; ++t) {
        for (uint32_t head = 0; head < kv.heads; ++head, from += kv.dim) {
          std::copy_n(from, kv.dim, plane->begin() + kv.at(head, t));
        }
      }
    }
  }
  return {keys, values};
}

KvError ErrorOf(const Decoded& decoded) {
  return testing::Compare(Kv(), decoded.keys, decoded.values);
}

KvError ErrorOf(const std::string& spec) { return ErrorOf(DecodedOf(spec)); }

double BitsOf(const std::string& spec) {
  const auto codec = CodecOf(spec);
  return 8.0 *
         static_cast<double>(codec->EncodedLayerBytes(kBlockTokens) -
                             kLayerHeadBytes) /
         (static_cast<double>(codec->layer_bytes()) / 2);
}

// Codes of equal steps for groups along the head, each with its own range.
std::vector<double> EvenCodes(const std::vector<double>& values, size_t group,
                              int bits) {
  std::vector<double> decoded = values;
  for (size_t at = 0; at < values.size(); at += group) {
    const auto [low, high] =
        std::minmax_element(values.begin() + at, values.begin() + at + group);
    const double step = (*high - *low) / ((1 << bits) - 1);
    for (size_t i = at; i < at + group; ++i) {
      decoded[i] = *low + std::round((values[i] - *low) / step) * step;
    }
  }
  return decoded;
}

Decoded EvenlyCoded(size_t group, int bits) {
  return {EvenCodes(Kv().keys, group, bits),
          EvenCodes(Kv().values, group, bits)};
}

TEST(CodecQualityTest, RawIsExact) {
  const KvError error = ErrorOf("raw");
  EXPECT_LE(error.output, 0.005);  // Rounding to fp16.
}

TEST(CodecQualityTest, Fp8KeepsAttention) {
  EXPECT_LE(ErrorOf("fp8").output, 0.06);
}

TEST(CodecQualityTest, Int4KeepsAttention) {
  EXPECT_LE(ErrorOf("int4").output, 0.30);
}

TEST(CodecQualityTest, KeysAreBetterCodedAlongTokens) {
  EXPECT_LE(ErrorOf("k=int4:channel,v=int4:g32").divergence,
            0.3 * ErrorOf("int4:g32").divergence);
}

TEST(CodecQualityTest, WhitenedKeysAreBetterThanRotatedOnes) {
  for (const int bits : {4, 3, 2}) {
    const auto white =
        ErrorOf(absl::StrCat("k=rotlm", bits, ":white:pre,v=rotlm", bits));
    const auto plain = ErrorOf(absl::StrCat("rotlm", bits));
    EXPECT_LE(white.divergence, 0.6 * plain.divergence);
    EXPECT_LE(white.output, 0.9 * plain.output);
    EXPECT_LE(plain.norm95, 0.001);
  }
}

std::string Nuq(int bits, const std::string& options = "",
                const std::string& sink = ",sink=1") {
  const std::string name = absl::StrCat("nuq", bits);
  return absl::StrCat("k=", name, ":channel", options, ":pre,v=", name, options,
                      sink);
}

// T-K3.
TEST(CodecQualityTest, NuqKeepsWhatIsFurthestOut) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 8, 4, 128, 1);
  const auto codec = testing::MakeCodec("nuq2", layout);
  auto values = GaussianLayer(layout, ElementType::kBf16, 6);
  for (size_t token = 0; token < 8; ++token) {
    values[token * 512 + 40 * token] = 1000.5 * (token % 2 ? 1 : -1);
  }
  values = Values(ElementType::kFp16, Elements(ElementType::kFp16, values));
  const auto decoded = ThereAndBack(*codec, ElementType::kFp16, values, 64);
  for (size_t token = 0; token < 8; ++token) {
    const auto first = values.begin() + token * 512;
    std::vector<double> sorted(first, first + 512);
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = token * 512; i < token * 512 + 512; ++i) {
      if (values[i] < sorted[3] || values[i] > sorted[508]) {
        EXPECT_EQ(decoded[i], values[i]);
      }
      EXPECT_LE(std::fabs(decoded[i] - values[i]), 2);
    }
  }
}

// T-K4.
TEST(CodecQualityTest, NuqIsFarBetterThanEvenCodes) {
  const KvError nuq = ErrorOf(Nuq(3));
  const KvError a_token = ErrorOf(EvenlyCoded(128, 3));
  EXPECT_GE(a_token.keys / nuq.keys, 8);
  EXPECT_GE(a_token.output / nuq.output, 2);
  EXPECT_GE(ErrorOf(EvenlyCoded(64, 3)).output / nuq.output, 1.6);
  EXPECT_GE(ErrorOf(Nuq(3, ":dense")).output / nuq.output, 1.3);
}

// T-K5.
TEST(CodecQualityTest, NuqKeepsAttention) {
  EXPECT_LE(ErrorOf(Nuq(4)).output, 0.15);
  EXPECT_LE(ErrorOf(Nuq(3)).output, 0.29);
  EXPECT_LE(ErrorOf(Nuq(2)).output, 0.55);
}

// T-K6, on the first token.
TEST(CodecQualityTest, NuqWithoutSinkTokensIsWorse) {
  EXPECT_GE(ErrorOf(Nuq(4, ":dense", "")).divergence,
            1.2 * ErrorOf(Nuq(4, ":dense")).divergence);
}

// T-K7.
TEST(CodecQualityTest, QNormHelpsTwoBits) {
  EXPECT_LT(ErrorOf(Nuq(2, ":qnorm")).divergence, ErrorOf(Nuq(2)).divergence);
}

// T-BEYOND: no calibration, fewer bits, and no worse.
TEST(CodecQualityTest, WhitenedKeysAreNoWorseThanNuq) {
  for (const int bits : {4, 3, 2}) {
    const std::string white =
        absl::StrCat("k=rotlm", bits, ":white:pre,v=rotlm", bits, ",sink=1");
    EXPECT_LE(ErrorOf(white).output, ErrorOf(Nuq(bits)).output) << bits;
    EXPECT_LE(BitsOf(white), BitsOf(Nuq(bits)) - 0.1) << bits;
  }
}

// Other implementations of KVarN come to an output error of 0.149 and 0.467 on
// such data, 0.025 nats and an error of lengths of 0.014.
TEST(CodecQualityTest, KvarnKeepsAttention) {
  const KvError four = ErrorOf("k=kvarn4:channel,v=kvarn4");
  EXPECT_LE(four.output, 0.165);
  EXPECT_LE(four.divergence, 0.035);
  EXPECT_LE(four.norm95, 0.017);
  EXPECT_LE(ErrorOf("k=kvarn4:channel,v=kvarn2").output, 0.52);
}

// T-QJL: a bit for the signs of a random projection of what is left, which
// makes products with queries true on average, is worse than a bit more.
TEST(CodecQualityTest, SignsOfTheRestAreWorseThanALevelMore) {
  const SynKv& kv = Kv();
  std::mt19937_64 rng(12);
  std::normal_distribution<double> normal;
  std::vector<double> projection(size_t{kv.dim} * kv.dim);
  for (double& x : projection) x = normal(rng);
  const Decoded three = DecodedOf("rotlm3");
  Decoded signs{DecodedOf("rotlm2").keys, three.values};
  for (size_t at = 0; at < kv.keys.size(); at += kv.dim) {
    std::vector<double> rest(kv.dim);
    double squares = 0;
    for (size_t i = 0; i < kv.dim; ++i) {
      rest[i] = kv.keys[at + i] - signs.keys[at + i];
      squares += rest[i] * rest[i];
    }
    const double size = std::sqrt(std::acos(-1) / 2 * squares) / kv.dim;
    for (size_t row = 0; row < kv.dim; ++row) {
      const double* const p = &projection[row * kv.dim];
      double product = 0;
      for (size_t i = 0; i < kv.dim; ++i) product += p[i] * rest[i];
      for (size_t i = 0; i < kv.dim; ++i) {
        signs.keys[at + i] += std::copysign(size, product) * p[i];
      }
    }
  }
  EXPECT_GE(ErrorOf(signs).output, 1.4 * ErrorOf(three).output);
}

// T-SINK.
TEST(CodecQualityTest, KeepingSinkTokensIsNotWorse) {
  for (const char* const spec :
       {"fp8", "int4", "int2", "k=rotlm3:white:pre,v=rotlm3", "rotlm2",
        "k=nuq3:channel:pre,v=nuq3", "k=kvarn4:channel,v=kvarn4",
        "k=kvarn4:channel,v=kvarn2"}) {
    EXPECT_LE(ErrorOf(absl::StrCat(spec, ",sink=4")).divergence,
              ErrorOf(spec).divergence * 1.0001)
        << spec;
  }
}

// ---- Bytes ----

// T-RATE.
TEST(CodecQualityTest, BitsAreThoseOfTheFormula) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 1024, 8, 128);
  const double elements = static_cast<double>(layout.layer_bytes()) / 2;
  const std::pair<const char*, double> rates[] = {
      {"raw", 16},
      {"fp8", 8},
      {"int8", 8.5},
      {"int4", 4.5},
      {"int2", 2.5},
      {"k=int4:channel,v=int4:g32", 5},
      {"k=int2:channel,v=int2:g32", 3},
      {"rotlm4", 4 + 16.0 / 128},
      {"rotlm3", 3 + 16.0 / 128},
      {"rotlm2", 2 + 16.0 / 128},
      {"k=rotlm3:white:pre,v=rotlm3", 3 + 16.0 / 128 + 16.0 / 1024},
      {"k=rotlm3:centre:pre,v=rotlm3", 3 + 16.0 / 128 + 8.0 / 1024},
      {"nuq4:channel", 4 + 12.0 * 32 / 1024},
      {"nuq4", 4 + 12.0 * 32 / 1024 + 32.0 / 1024},
      {"nuq3", 3 + 12.0 * 32 / 1024 + 32.0 / 1024},
      {"nuq2:dense", 2 + 32.0 / 1024},
      {"k=kvarn4:channel,v=kvarn4", 4 + 48.0 / 128},
      {"k=kvarn4:channel,v=kvarn2", 3 + 48.0 / 128}};
  for (const auto& [spec, bits] : rates) {
    const auto codec = testing::MakeCodec(spec, layout);
    EXPECT_NEAR(8 * codec->EncodedLayerBytes(64) / elements / bits, 1, 0.001)
        << spec;
  }
}

}  // namespace
}  // namespace banyan::codec
