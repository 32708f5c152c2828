// What BlockCodec promises, for every codec and every shape that is odd.
//
// Method: T-DET: the same bytes on all instruction sets. T-EDGE: heads and
// tokens that fill no vector, no group and no unit; values at the ends of the
// formats. Corrupt pieces: every byte changed once, every length.
#include "kernels/codec/block_codec.h"

#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/match.h"
#include "base/error.h"
#include "tests/testing/codec_cases.h"

namespace banyan::codec {
namespace {

using testing::CodecLayout;
using testing::CodecSpecs;
using testing::Elements;
using testing::MakeCodec;
using testing::SomeLayer;
using testing::Values;

constexpr uint64_t kPosition = 64;

std::vector<std::byte> Encode(const BlockCodec& codec,
                              absl::Span<const std::byte> layer,
                              uint64_t position = kPosition) {
  auto work = codec.MakeWorkspace();
  BANYAN_CHECK(codec.StartEncoding(position, work).ok());
  std::vector<std::byte> encoded(codec.EncodedLayerBytes(position));
  const auto bytes =
      codec.EncodeLayerSized(layer, work, absl::MakeSpan(encoded));
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LE(bytes.value_or(0), encoded.size());
  encoded.resize(bytes.value_or(0));
  return encoded;
}

absl::Status TryEncode(const BlockCodec& codec,
                       absl::Span<const std::byte> layer) {
  auto work = codec.MakeWorkspace();
  BANYAN_CHECK(codec.StartEncoding(kPosition, work).ok());
  std::vector<std::byte> encoded(codec.EncodedLayerBytes(kPosition));
  return codec.EncodeLayerSized(layer, work, absl::MakeSpan(encoded)).status();
}

bool IsLossless(const std::string& spec) {
  const auto parsed = ParseBlockSpec(spec);
  return parsed->keys.is_lossless() && parsed->values.is_lossless();
}

std::vector<std::byte> Decode(const BlockCodec& codec,
                              absl::Span<const std::byte> encoded,
                              uint64_t position = kPosition) {
  auto work = codec.MakeWorkspace();
  BANYAN_CHECK(codec.StartDecoding(position, work).ok());
  std::vector<std::byte> layer(codec.layer_bytes());
  const absl::Status status =
      codec.DecodeLayer(encoded, work, absl::MakeSpan(layer));
  EXPECT_TRUE(status.ok()) << status;
  return layer;
}

double RelativeError(const std::vector<double>& values,
                     const std::vector<double>& decoded) {
  double error = 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += (values[i] - decoded[i]) * (values[i] - decoded[i]);
    squares += values[i] * values[i];
  }
  return squares == 0 ? error : error / squares;
}

struct Case {
  std::string spec;
  KvLayout layout;
  ElementType type;
};

bool HasBasis(const std::string& spec) {
  return absl::StrContains(spec, "weighted");
}

// The basis of a larger head takes seconds to find.
constexpr uint32_t kBasisDimMax = 80;

std::vector<Case> OddCases() {
  std::vector<Case> cases;
  for (const std::string& spec : CodecSpecs()) {
    const bool has_basis = HasBasis(spec);
    for (const auto type : {ElementType::kFp16, ElementType::kBf16}) {
      for (const auto order : {TokenOrder::kNhd, TokenOrder::kHnd}) {
        cases.push_back({spec, CodecLayout(order, 35, 3, 80), type});
      }
      for (const uint32_t dim : {2, 8, 31, 66, 128, 274}) {
        if (has_basis && dim > kBasisDimMax) continue;
        cases.push_back({spec, CodecLayout(TokenOrder::kNhd, 5, 1, dim), type});
      }
      cases.push_back({spec, CodecLayout(TokenOrder::kNhd, 1, 2, 64), type});
      if (has_basis) continue;
      cases.push_back(
          {spec, CodecLayout(TokenOrder::kHnd, 9, 1, 576, 1), type});
    }
  }
  return cases;
}

TEST(BlockCodecTest, BytesAreTheSameOnEveryTarget) {
  for (const Case& c : OddCases()) {
    const auto codec = MakeCodec(c.spec, c.layout, c.type);
    const auto layer = SomeLayer(c.layout, c.type, 1);
    const auto encoded = Encode(*codec, layer);
    const auto decoded = Decode(*codec, encoded);
    testing::ForEachTarget([&](const char* target) {
      EXPECT_EQ(Encode(*codec, layer), encoded) << target << " " << c.spec;
      EXPECT_EQ(Decode(*codec, encoded), decoded) << target << " " << c.spec;
    });
    ASSERT_FALSE(HasFailure())
        << c.spec << ", dim " << c.layout.shape().head_dim;
  }
}

// Coarse, but a wrong row, order, sign or scale is far beyond.
TEST(BlockCodecTest, DecodedLayerIsNearTheOriginal) {
  for (const Case& c : OddCases()) {
    const auto codec = MakeCodec(c.spec, c.layout, c.type);
    const auto layer = SomeLayer(c.layout, c.type, 2);
    const auto decoded = Decode(*codec, Encode(*codec, layer));
    const bool is_coarse =
        absl::StrContains(c.spec, "2") || absl::StrContains(c.spec, "kvarn3");
    // Where errors are weighed those that weigh little are larger.
    EXPECT_LE(RelativeError(Values(c.type, layer), Values(c.type, decoded)),
              IsLossless(c.spec) ? 0
              : HasBasis(c.spec) ? 0.4
              : is_coarse        ? 0.3
                                 : 0.06)
        << c.spec << ", dim " << c.layout.shape().head_dim;
  }
}

TEST(BlockCodecTest, OrderOfTokensAndHeadsIsNotInTheBytes) {
  for (const std::string& spec : CodecSpecs()) {
    const KvLayout nhd = CodecLayout(TokenOrder::kNhd, 19, 2, 64);
    const KvLayout hnd = CodecLayout(TokenOrder::kHnd, 19, 2, 64);
    const auto layer = SomeLayer(nhd, ElementType::kFp16, 3);
    std::vector<std::byte> turned(layer.size());
    for (uint32_t plane = 0; plane < 2; ++plane) {
      for (uint32_t token = 0; token < 19; ++token) {
        for (uint32_t head = 0; head < 2; ++head) {
          std::memcpy(&turned[hnd.OffsetOf(0, plane, token, head)],
                      &layer[nhd.OffsetOf(0, plane, token, head)], 128);
        }
      }
    }
    EXPECT_EQ(Encode(*MakeCodec(spec, nhd), layer),
              Encode(*MakeCodec(spec, hnd), turned))
        << spec;
  }
}

TEST(BlockCodecTest, ConstantAndZeroLayersComeBack) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 9, 2, 64);
  for (const std::string& spec : CodecSpecs()) {
    // Ranges and means of channels are for layers like those they were made of.
    if (HasBasis(spec) || (absl::StrContains(spec, "nuq") &&
                           absl::StrContains(spec, "channel"))) {
      continue;
    }
    const auto codec = MakeCodec(spec, layout);
    const std::vector<std::byte> zeros(layout.layer_bytes());
    for (const double x :
         Values(ElementType::kFp16, Decode(*codec, Encode(*codec, zeros)))) {
      ASSERT_EQ(x, 0) << spec;
    }
    const std::vector<double> values(layout.layer_bytes() / 2, -3.25);
    const auto layer = Elements(ElementType::kFp16, values);
    const auto decoded = Decode(*codec, Encode(*codec, layer));
    if (absl::StartsWith(spec, "int") || IsLossless(spec)) {
      EXPECT_EQ(decoded, layer) << spec;  // T-X2.
    }
    EXPECT_LE(RelativeError(values, Values(ElementType::kFp16, decoded)), 0.25)
        << spec;
  }
}

TEST(BlockCodecTest, ValuesThatAreNotFiniteAreRefused) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 18, 2, 64);
  for (const std::string& spec : CodecSpecs()) {
    if (absl::StrContains(spec, "lossless") || spec == "raw") continue;
    for (const auto type : {ElementType::kFp16, ElementType::kBf16}) {
      const auto codec = MakeCodec(spec, layout, type);
      const uint16_t infinity = type == ElementType::kFp16 ? 0x7C00 : 0x7F80;
      for (const uint16_t bits :
           {infinity, static_cast<uint16_t>(infinity | 0x8000),
            static_cast<uint16_t>(infinity + 1), uint16_t{0x7FFF},
            uint16_t{0xFFFF}}) {
        for (const size_t at : {size_t{700}, layout.layer_bytes() / 2 - 1}) {
          auto layer = SomeLayer(layout, type, 4);
          StoreLe16(bits, &layer[2 * at]);
          const absl::Status status = TryEncode(*codec, layer);
          EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition)
              << spec << " " << bits;
          EXPECT_EQ(ErrorReason(status), "VALUE");
        }
      }
    }
  }
}

TEST(BlockCodecTest, LosslessLayersOfAnyBytesComeBack) {
  std::mt19937_64 rng(13);
  for (const auto& [type, bytes] : {std::pair(ElementType::kFp16, 2),
                                    {ElementType::kBf16, 2},
                                    {ElementType::kFp32, 4},
                                    {ElementType::kByte, 1}}) {
    // The last ones are of several units.
    for (const uint32_t dim : {1, 3, 16, 33, 576, 20000}) {
      const KvLayout layout =
          CodecLayout(TokenOrder::kHnd, 5, 3, dim, 2, bytes);
      const auto codec = MakeCodec("lossless", layout, type);
      for (const uint32_t mask : {0u, 0x0Fu, 0xFFu}) {
        std::vector<std::byte> layer(layout.layer_bytes());
        for (std::byte& b : layer) b = static_cast<std::byte>(rng() & mask);
        const auto encoded = Encode(*codec, layer);
        EXPECT_EQ(Decode(*codec, encoded), layer) << dim << " " << mask;
        if (dim > 500 && mask != 0xFF) {
          EXPECT_LE(encoded.size(), layer.size() * (mask == 0 ? 0.2 : 0.65));
        }
      }
    }
  }
}

TEST(BlockCodecTest, LosslessLayersTakeFewerBytes) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 64, 8, 128);
  for (const auto& [type, most] :
       {std::pair(ElementType::kFp16, 0.90), {ElementType::kBf16, 0.72}}) {
    const auto layer = SomeLayer(layout, type, 14);
    const auto codec = MakeCodec("lossless", layout, type);
    EXPECT_LE(Encode(*codec, layer).size(), most * layer.size());
  }
}

TEST(BlockCodecTest, CodecWithoutAFixedSizeSaysSo) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 2, 32);
  for (const char* const spec :
       {"lossless", "k=raw,v=lossless", "k=lossless,v=int4"}) {
    const auto codec = MakeCodec(spec, layout);
    EXPECT_FALSE(codec->has_fixed_size());
    auto work = codec->MakeWorkspace();
    ASSERT_TRUE(codec->StartEncoding(kPosition, work).ok());
    std::vector<std::byte> encoded(codec->EncodedLayerBytes(kPosition));
    const absl::Status status =
        codec->EncodeLayer(SomeLayer(layout, ElementType::kFp16, 15), work,
                           absl::MakeSpan(encoded));
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ErrorReason(status), "SIZE");
  }
  EXPECT_TRUE(MakeCodec("int4", layout)->has_fixed_size());
}

TEST(BlockCodecTest, LargestAndSmallestValuesAreDefined) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 4, 1, 64);
  std::vector<double> values(layout.layer_bytes() / 2);
  for (const double size : {65024.0, 0x1p-14, 0x1p-24}) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = i % 3 == 0 ? -size : i % 3 == 1 ? 0 : size;
    }
    const auto layer = Elements(ElementType::kFp16, values);
    for (const char* const spec :
         {"fp8", "int8", "int4:channel", "rotlm4", "rotlm4:white", "kvarn4",
          "kvarn4:channel"}) {
      const auto codec = MakeCodec(spec, layout);
      const auto decoded =
          Values(ElementType::kFp16, Decode(*codec, Encode(*codec, layer)));
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_TRUE(std::isfinite(decoded[i])) << spec;
        if (absl::StartsWith(spec, "fp8") || absl::StartsWith(spec, "int")) {
          // fp16's own steps bound scales of subnormals.
          ASSERT_LE(std::fabs(decoded[i] - values[i]), size / 14 + 8 * 0x1p-24)
              << spec << " " << size;
        }
      }
    }
  }
}

TEST(BlockCodecTest, Bf16BeyondFp16IsRefusedWhereScalesAreFp16) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 4, 1, 64);
  std::vector<double> values(layout.layer_bytes() / 2, 1.0);
  values[5] = 1e30;
  const auto layer = Elements(ElementType::kBf16, values);
  for (const char* const spec :
       {"int8", "int4:channel", "rotlm4", "nuq4:dense", "kvarn4:channel"}) {
    EXPECT_EQ(ErrorReason(TryEncode(
                  *MakeCodec(spec, layout, ElementType::kBf16), layer)),
              "VALUE")
        << spec;
  }
  const auto fp8 = MakeCodec("fp8", layout, ElementType::kBf16);
  const auto decoded =
      Values(ElementType::kBf16, Decode(*fp8, Encode(*fp8, layer)));
  EXPECT_NEAR(decoded[5] / 1e30, 1, 0.07);
}

// ---- Verification ----

TEST(BlockCodecTest, VerifiedLayerIsTheSameAsDecodedOne) {
  for (const Case& c : OddCases()) {
    const auto codec = MakeCodec(c.spec, c.layout, c.type);
    const auto encoded = Encode(*codec, SomeLayer(c.layout, c.type, 5));
    auto work = codec->MakeWorkspace();
    std::vector<std::byte> layer(codec->layer_bytes());
    ASSERT_TRUE(codec->StartDecoding(kPosition, work).ok());
    const BlockCodec::Check check{.seed = 9, .expected = Xxh3_128(encoded, 9)};
    const absl::Status status =
        codec->DecodeLayerVerified(encoded, check, work, absl::MakeSpan(layer));
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(layer, Decode(*codec, encoded)) << c.spec;
  }
}

TEST(BlockCodecTest, EachChangedByteIsFound) {
  for (const std::string& spec : CodecSpecs()) {
    const KvLayout layout = CodecLayout(TokenOrder::kNhd, 3, 1, 16);
    const auto codec = MakeCodec(spec, layout);
    auto encoded = Encode(*codec, SomeLayer(layout, ElementType::kFp16, 6));
    const BlockCodec::Check check{.seed = 1, .expected = Xxh3_128(encoded, 1)};
    auto work = codec->MakeWorkspace();
    std::vector<std::byte> layer(codec->layer_bytes());
    ASSERT_TRUE(codec->StartDecoding(kPosition, work).ok());
    for (std::byte& byte : encoded) {
      byte ^= std::byte{0x10};
      const absl::Status status = codec->DecodeLayerVerified(
          encoded, check, work, absl::MakeSpan(layer));
      EXPECT_TRUE(status.code() == absl::StatusCode::kDataLoss ||
                  ErrorReason(status) == "POSITION")
          << status;
      byte ^= std::byte{0x10};
    }
    EXPECT_TRUE(
        codec->DecodeLayerVerified(encoded, check, work, absl::MakeSpan(layer))
            .ok());
  }
}

// A larger scale than that of the largest element would make infinities, and of
// zeros what is no number.
TEST(BlockCodecTest, Fp8ScalesEndAtTheLargestElements) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 3, 2, 64);
  for (const auto& [type, most] :
       {std::pair(ElementType::kFp16, uint16_t{0x7BFF}),
        {ElementType::kBf16, uint16_t{0x7F7F}}}) {
    const auto codec = MakeCodec("fp8", layout, type);
    auto encoded = Encode(*codec, SomeLayer(layout, type, 9));
    const auto decode_with = [&](float scale) {
      StoreLe32(std::bit_cast<uint32_t>(scale), &encoded[kLayerHeadBytes]);
      std::vector<std::byte> layer(layout.layer_bytes());
      auto work = codec->MakeWorkspace();
      EXPECT_TRUE(codec->StartDecoding(kPosition, work).ok());
      return codec->DecodeLayer(encoded, work, absl::MakeSpan(layer));
    };
    const auto scale_max =
        static_cast<float>(testing::ElementValue(type, most) / 448);
    EXPECT_TRUE(decode_with(scale_max).ok());
    EXPECT_EQ(ErrorReason(decode_with(std::nextafter(scale_max, INFINITY))),
              "CODEC");
    EXPECT_EQ(ErrorReason(decode_with(-1)), "CODEC");
    EXPECT_EQ(ErrorReason(decode_with(NAN)), "CODEC");

    std::vector<std::byte> layer(layout.layer_bytes());
    for (size_t i = 0; i < layer.size(); i += 2) StoreLe16(most, &layer[i]);
    EXPECT_LE(
        RelativeError(Values(type, layer),
                      Values(type, Decode(*codec, Encode(*codec, layer)))),
        1e-4);
  }
}

TEST(BlockCodecTest, WrongLengthIsFound) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 3, 1, 16);
  for (const std::string& spec : CodecSpecs()) {
    const auto codec = MakeCodec(spec, layout);
    auto encoded = Encode(*codec, SomeLayer(layout, ElementType::kFp16, 7));
    encoded.push_back(std::byte{0});
    auto work = codec->MakeWorkspace();
    std::vector<std::byte> layer(codec->layer_bytes());
    ASSERT_TRUE(codec->StartDecoding(kPosition, work).ok());
    for (size_t size = 0; size <= encoded.size(); ++size) {
      if (size + 1 == encoded.size()) continue;
      EXPECT_EQ(ErrorReason(
                    codec->DecodeLayer(absl::MakeConstSpan(encoded).first(size),
                                       work, absl::MakeSpan(layer))),
                "CODEC");
    }
  }
}

TEST(BlockCodecTest, LayerOfAnotherCodecIsRefused) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 2, 32);
  const auto layer = SomeLayer(layout, ElementType::kFp16, 8);
  const auto specs = CodecSpecs();
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto encoded = Encode(*MakeCodec(specs[i], layout), layer);
    const auto other = MakeCodec(specs[(i + 1) % specs.size()], layout);
    auto work = other->MakeWorkspace();
    std::vector<std::byte> decoded(layer.size());
    ASSERT_TRUE(other->StartDecoding(kPosition, work).ok());
    EXPECT_EQ(
        ErrorReason(other->DecodeLayer(encoded, work, absl::MakeSpan(decoded))),
        "CODEC")
        << specs[i];
  }
}

// ---- Positions ----

TEST(BlockCodecTest, KeysWithoutRotationCanMove) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 16, 1, 64);
  const auto codec = MakeCodec("k=rotlm4:white:pre,v=rotlm4", layout);
  const auto layer = SomeLayer(layout, ElementType::kFp16, 9);
  const auto encoded = Encode(*codec, layer, 1000);
  const auto here = Values(ElementType::kFp16, Decode(*codec, encoded, 1000));
  const auto there = Values(ElementType::kFp16, Decode(*codec, encoded, 3000));
  const auto frequencies = RopeFrequencies(testing::SomeRope(64));
  for (size_t row = 0; row < 16; ++row) {
    for (size_t i = 0; i < 32; ++i) {
      const double a = here[row * 64 + i];
      const double b = here[row * 64 + 32 + i];
      const double turn = 2000 * frequencies[i];
      const double bound = 2e-3 * (std::fabs(a) + std::fabs(b)) + 1e-3;
      ASSERT_NEAR(there[row * 64 + i], a * std::cos(turn) - b * std::sin(turn),
                  bound);
      ASSERT_NEAR(there[row * 64 + 32 + i],
                  b * std::cos(turn) + a * std::sin(turn), bound);
    }
  }
}

TEST(BlockCodecTest, RotatedKeysAndSinksStayWhereTheyAre) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 1, 32);
  for (const char* const spec :
       {"int4", "fp8", "raw", "k=rotlm4:pre,v=rotlm4,sink=4"}) {
    const auto codec = MakeCodec(spec, layout);
    const auto encoded =
        Encode(*codec, SomeLayer(layout, ElementType::kFp16, 10), 0);
    auto work = codec->MakeWorkspace();
    std::vector<std::byte> layer(codec->layer_bytes());
    ASSERT_TRUE(codec->StartDecoding(8, work).ok());
    const absl::Status status =
        codec->DecodeLayer(encoded, work, absl::MakeSpan(layer));
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << spec;
    EXPECT_EQ(ErrorReason(status), "POSITION");
  }
}

TEST(BlockCodecTest, SinkTokensAreKeptAsTheyAre) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 2, 32);
  const auto layer = SomeLayer(layout, ElementType::kFp16, 11);
  const uint64_t token_bytes = layout.token_stride_bytes();
  for (const uint64_t position : {0, 2, 4, 100}) {
    for (const std::string& codec_name : CodecSpecs()) {
      if (absl::StrContains(codec_name, "sink")) continue;
      const auto codec = MakeCodec(codec_name + ",sink=4", layout);
      const auto decoded =
          Decode(*codec, Encode(*codec, layer, position), position);
      const uint64_t kept = position < 4 ? 4 - position : 0;
      for (const uint64_t plane : {uint64_t{0}, layout.plane_bytes()}) {
        EXPECT_EQ(
            0, std::memcmp(&decoded[plane], &layer[plane], kept * token_bytes))
            << codec_name << " at " << position;
      }
    }
  }
}

TEST(BlockCodecTest, BlockOfSinkTokensOnlyIsRaw) {
  const KvLayout layout = CodecLayout(TokenOrder::kHnd, 4, 2, 32);
  const auto layer = SomeLayer(layout, ElementType::kBf16, 12);
  const auto codec = MakeCodec("rotlm2,sink=32", layout, ElementType::kBf16);
  EXPECT_EQ(codec->EncodedLayerBytes(8), kLayerHeadBytes + layer.size());
  EXPECT_EQ(Decode(*codec, Encode(*codec, layer, 8), 8), layer);
}

// ---- What cannot be made ----

TEST(BlockCodecTest, MismatchesAreRefused) {
  const KvLayout wide = CodecLayout(TokenOrder::kNhd, 4, 1, 32, 2, 4);
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 4, 1, 32);
  const auto reason = [](const char* spec, const KvLayout& of, ElementType type,
                         std::optional<RopeSpec> rope) {
    return ErrorReason(BlockCodec::Make({.spec = *ParseBlockSpec(spec),
                                         .layout = of,
                                         .type = type,
                                         .rope = rope})
                           .status());
  };
  EXPECT_EQ(reason("raw", wide, ElementType::kFp32, {}), "");
  EXPECT_EQ(reason("int4", wide, ElementType::kFp32, {}), "CODEC");
  EXPECT_EQ(reason("int4", layout, ElementType::kFp32, {}), "CODEC");
  EXPECT_EQ(
      reason("rotlm4:pre", layout, ElementType::kFp16, testing::SomeRope(32)),
      "CODEC");
  EXPECT_EQ(reason("k=rotlm4:pre,v=raw", layout, ElementType::kFp16, {}),
            "CODEC");
  EXPECT_EQ(reason("k=rotlm4:pre,v=raw", layout, ElementType::kFp16,
                   testing::SomeRope(64)),
            "CODEC");
  EXPECT_EQ(reason("k=rotlm4:pre,v=raw", layout, ElementType::kFp16,
                   testing::SomeRope(31)),
            "ROPE");
  EXPECT_EQ(reason("rotlm4", CodecLayout(TokenOrder::kNhd, 1, 1, 1025),
                   ElementType::kFp16, {}),
            "CODEC");
}

TEST(BlockCodecTest, PositionsEndSomewhere) {
  const KvLayout layout = CodecLayout(TokenOrder::kNhd, 8, 1, 32);
  const auto codec = MakeCodec("k=rotlm4:pre,v=rotlm4", layout);
  auto work = codec->MakeWorkspace();
  EXPECT_TRUE(codec->StartEncoding(kRopePositionEnd - 16, work).ok());
  EXPECT_EQ(ErrorReason(codec->StartEncoding(kRopePositionEnd - 15, work)),
            "ROPE");
  EXPECT_EQ(ErrorReason(codec->StartDecoding(UINT64_MAX, work)), "ROPE");
}

}  // namespace
}  // namespace banyan::codec
