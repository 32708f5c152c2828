// The cold codec: its size, whatever the elements are, and what it costs.
//
// Method: made-up keys and values (tests/testing/synkv.h), in blocks of 128
// tokens, as they are and with a planted low rank across heads, against nuq,
// calibrated with two other sequences of the same model; T-PSEUDO: whether
// later blocks are further off than the first.
#include "kernels/codec/cold_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/testing/synkv_codec.h"

namespace banyan::codec {
namespace {

using testing::SynKv;
using testing::SynResult;

constexpr char kNuq3[] = "k=nuq3:channel:pre,v=nuq3,sink=1";

// The one that is coded, and two to calibrate with.
const std::vector<SynKv>& Sequences(bool has_low_rank) {
  static const auto* const made = [] {
    auto* const all = new std::array<std::vector<SynKv>, 2>;
    for (uint64_t sequence = 0; sequence < 3; ++sequence) {
      (*all)[0].push_back(testing::MakeSynKv(11, sequence));
      (*all)[1].push_back(testing::MakeLowRankKv(11, sequence));
    }
    return all;
  }();
  return (*made)[has_low_rank];
}

SynResult Through(const std::string& spec, const std::vector<SynKv>& kv) {
  const auto codec = testing::SynCodec(spec, kv[0], {kv.begin() + 1, kv.end()});
  return testing::ThroughCodec(*codec, kv[0]);
}

// The goal of a cold tier: an eighth of the bytes at less error than nuq's 3
// bits with outliers, without any calibration.
TEST(ColdCodecTest, WhatHeadsShareIsCodedOnce) {
  const auto& kv = Sequences(true);
  const SynResult cold = Through("k=cold2:pre,v=cold2,sink=1", kv);
  const SynResult nuq = Through(kNuq3, kv);
  EXPECT_GE(cold.ratio, 8);
  EXPECT_LE(nuq.ratio, 5);
  EXPECT_LE(cold.error.output, 0.5 * nuq.error.output);
  EXPECT_LE(cold.error.divergence, 0.2 * nuq.error.divergence);
  EXPECT_LE(cold.error.keys, nuq.error.keys);
  EXPECT_LE(cold.error.values, nuq.error.values);
}

// As the SSD has it, which does not know the rotary embedding.
TEST(ColdCodecTest, RotatedKeysAreNoWorseThanNuq) {
  const auto& kv = Sequences(true);
  const SynResult cold = Through("cold2,sink=1", kv);
  EXPECT_GE(cold.ratio, 8);
  EXPECT_LE(cold.error.output, Through(kNuq3, kv).error.output);
}

// Without anything that heads share, tokens still resemble each other.
TEST(ColdCodecTest, OrdinaryKeysTakeLessThanNuqToo) {
  const auto& kv = Sequences(false);
  const SynResult cold = Through("k=cold3:pre,v=cold3,sink=1", kv);
  const SynResult nuq = Through(kNuq3, kv);
  EXPECT_GE(cold.ratio, 1.1 * nuq.ratio);
  EXPECT_LE(cold.error.output, 0.9 * nuq.error.output);
  EXPECT_LE(cold.error.divergence, nuq.error.divergence);
}

TEST(ColdCodecTest, ErrorFallsWithBits) {
  const auto& kv = Sequences(false);
  double before = 1;
  for (const int bits : {1, 2, 3, 4}) {
    const SynResult result = Through(
        absl::StrCat("k=cold", bits, ":pre,v=cold", bits, ",sink=1"), kv);
    EXPECT_LE(result.error.output, 0.7 * before) << bits;
    before = result.error.output;
  }
}

// T-SINK.
TEST(ColdCodecTest, KeepingSinkTokensIsNotWorse) {
  const auto& kv = Sequences(false);
  EXPECT_LE(Through("k=cold2:pre,v=cold2,sink=4", kv).error.divergence,
            Through("k=cold2:pre,v=cold2", kv).error.divergence);
}

// T-RATE: an upper bound for any elements, which such ones nearly use up.
TEST(ColdCodecTest, LayerTakesItsBitsAtMost) {
  for (const auto& [tokens, heads, dim] :
       {std::tuple(128, 4, 128), {16, 8, 128}, {200, 2, 64}, {64, 1, 576}}) {
    const KvLayout layout =
        testing::CodecLayout(TokenOrder::kNhd, tokens, heads, dim);
    for (const int bits : {4, 3, 2, 1}) {
      const auto codec = testing::MakeCodec(absl::StrCat("cold", bits), layout);
      const auto layer = testing::SomeLayer(layout, ElementType::kFp16, bits);
      const uint64_t most = codec->EncodedLayerBytes(64);
      std::vector<std::byte> encoded(most);
      auto work = codec->MakeWorkspace();
      ASSERT_TRUE(codec->StartEncoding(64, work).ok());
      const auto bytes =
          codec->EncodeLayerSized(layer, work, absl::MakeSpan(encoded));
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_GE(*bytes, 0.9 * most);
      // With the length behind it in a piece.
      if (tokens * heads * dim * (bits - 1) > 2048) {
        EXPECT_LE(*bytes + 8, layer.size() * bits / 16);
      }
    }
  }
}

// Elements that no step fits: the bound holds, and they come back.
TEST(ColdCodecTest, AnythingFits) {
  const KvLayout layout = testing::CodecLayout(TokenOrder::kNhd, 40, 2, 64);
  std::mt19937_64 rng(5);
  for (const char* const spec : {"cold1", "cold2", "cold4"}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<double> values(layout.layer_bytes() / 2);
      for (double& x : values) {
        const double sign = rng() % 2 ? 1 : -1;
        x = kind == 0   ? sign * 65504
            : kind == 1 ? sign * 0x1p-24
            : kind == 2 ? (rng() % 1000 == 0 ? 65504 : 0)
                        : std::ldexp(sign, static_cast<int>(rng() % 40) - 24);
      }
      const auto layer = testing::Elements(ElementType::kFp16, values);
      const auto codec = testing::MakeCodec(spec, layout);
      auto work = codec->MakeWorkspace();
      std::vector<std::byte> encoded(codec->EncodedLayerBytes(64));
      ASSERT_TRUE(codec->StartEncoding(64, work).ok());
      const auto bytes =
          codec->EncodeLayerSized(layer, work, absl::MakeSpan(encoded));
      ASSERT_TRUE(bytes.ok());
      std::vector<std::byte> decoded(layer.size());
      ASSERT_TRUE(codec->StartDecoding(64, work).ok());
      ASSERT_TRUE(codec
                      ->DecodeLayer(absl::MakeConstSpan(encoded).first(*bytes),
                                    work, absl::MakeSpan(decoded))
                      .ok());
      double error = 0;
      double size = 0;
      const auto back = testing::Values(ElementType::kFp16, decoded);
      for (size_t i = 0; i < back.size(); ++i) {
        ASSERT_TRUE(std::isfinite(back[i]));
        error += (back[i] - values[i]) * (back[i] - values[i]);
        size += values[i] * values[i];
      }
      EXPECT_LE(error, 1.01 * size) << spec << " " << kind;
    }
  }
}

}  // namespace
}  // namespace banyan::codec
