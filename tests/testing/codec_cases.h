// What tests of codecs share: specs, layouts, layers of made-up numbers, and
// the targets that this processor can run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "hwy/targets.h"
#include "kernels/codec/block_codec.h"
#include "kernels/codec/calibrate.h"

namespace banyan::testing {

// Every codec, and every option. New ones go to the end: seeds of the fuzz
// target name them by number.
inline std::vector<std::string> CodecSpecs() {
  return {"raw",
          "fp8",
          "int8",
          "int4",
          "int2",
          "int4:g32",
          "int2:g24",
          "int8:channel",
          "int4:channel",
          "int2:channel:g8",
          "k=int2:channel,v=int2:g32",
          "rotlm4",
          "rotlm3",
          "rotlm2",
          "rotlm3:centre",
          "k=rotlm4:white,v=rotlm4",
          "k=rotlm4:white:pre,v=rotlm4",
          "k=rotlm3:white:pre,v=rotlm3",
          "k=rotlm2:white:pre,v=rotlm2",
          "k=rotlm3:centre:pre,v=int4,sink=4",
          "lossless",
          "k=lossless,v=int4",
          "k=nuq4:channel:pre,v=nuq4",
          "k=nuq3:channel,v=nuq3:dense",
          "k=nuq2:channel:qnorm:pre,v=nuq2:qnorm",
          "nuq4:dense",
          "cold4",
          "k=cold3:pre,v=cold3",
          "k=cold2:pre,v=cold2,sink=4",
          "k=cold2,v=cold1",
          "k=kvarn4:channel,v=kvarn4",
          "k=kvarn4:channel,v=kvarn2,sink=4",
          "k=kvarn3,v=kvarn3:channel",
          "kvarn2:channel",
          "k=cold2:weighted:pre,v=cold2:weighted,sink=4"};
}

inline codec::RopeSpec SomeRope(uint32_t rotary_dim) {
  return {.base = 500000, .rotary_dim = rotary_dim};
}

inline KvLayout CodecLayout(TokenOrder order, uint32_t tokens, uint32_t heads,
                            uint32_t dim, uint32_t planes = 2,
                            uint32_t element_bytes = 2) {
  return *KvLayout::Make({.order = order,
                          .element_bytes = element_bytes,
                          .layers = 1,
                          .planes = planes,
                          .block_tokens = tokens,
                          .kv_heads = heads,
                          .head_dim = dim});
}

// ---- Elements, by plain arithmetic in double ----

inline double Fp16Value(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

// The nearest fp16; ties to even.
inline uint16_t Fp16Bits(double x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(x);
  if (!(magnitude < 65520)) return sign | (magnitude > 0 ? 0x7C00 : 0x7E00);
  if (magnitude == 0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent = std::max(exponent, -13);  // Smaller ones are subnormal.
  const double steps = std::nearbyint(std::ldexp(magnitude, 11 - exponent));
  return static_cast<uint16_t>(
      sign | (static_cast<int>(steps) + ((exponent + 13) << 10)));
}

inline double ElementValue(codec::ElementType type, uint16_t bits) {
  if (type == codec::ElementType::kFp16) return Fp16Value(bits);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t ElementBits(codec::ElementType type, double x) {
  if (type == codec::ElementType::kFp16) return Fp16Bits(x);
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline std::vector<double> Values(codec::ElementType type,
                                  absl::Span<const std::byte> bytes) {
  std::vector<double> values;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    values.push_back(ElementValue(type, LoadLe16(&bytes[i])));
  }
  return values;
}

inline std::vector<std::byte> Elements(codec::ElementType type,
                                       const std::vector<double>& values) {
  std::vector<std::byte> bytes(2 * values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    StoreLe16(ElementBits(type, values[i]), &bytes[2 * i]);
  }
  return bytes;
}

// A layer whose channels differ and have outliers.
inline std::vector<std::byte> SomeLayer(const KvLayout& layout,
                                        codec::ElementType type,
                                        uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  const uint32_t dim = layout.shape().head_dim;
  std::vector<double> values(layout.layer_bytes() / 2);
  for (size_t i = 0; i < values.size(); ++i) {
    const double outlier = i % dim % 13 == 5 ? 8 : 0;
    values[i] = normal(rng) * (1 + 0.3 * (i % dim % 4)) + outlier;
  }
  return Elements(type, values);
}

// ---- Codecs ----

// Where layers that calibrations are made of begin.
inline constexpr uint64_t kCalibratedPosition = 64;

// Of some layers, whatever the order of tokens and heads; nullopt if the spec
// wants none.
inline std::optional<codec::Calibration> SomeCalibration(
    const codec::BlockSpec& spec, const KvLayout& layout_of_codec,
    codec::ElementType type, const std::optional<codec::RopeSpec>& rope) {
  if (!spec.keys.wants_calibration() && !spec.values.wants_calibration()) {
    return std::nullopt;
  }
  const KvLayout::Shape& shape = layout_of_codec.shape();
  const KvLayout layout =
      CodecLayout(TokenOrder::kNhd, shape.block_tokens, shape.kv_heads,
                  shape.head_dim, shape.planes);
  const auto calibrator = codec::Calibrator::Make({.spec = spec,
                                                   .layout = layout,
                                                   .type = type,
                                                   .rope = rope,
                                                   .layers = 1});
  BANYAN_CHECK(calibrator.ok());
  const uint64_t blocks = std::clamp(160 / shape.block_tokens, 1u, 32u);
  for (uint64_t seed = 100; seed < 100 + blocks; ++seed) {
    std::vector<float> gradients;  // Those of nuq have no weights.
    if (spec.keys.is_weighted || spec.values.is_weighted) {
      std::mt19937_64 rng(seed);
      std::normal_distribution<float> normal;
      for (uint64_t i = 0; i < layout.layer_bytes() / 2; ++i) {
        gradients.push_back(normal(rng) *
                            static_cast<float>(1 + i % shape.head_dim % 5));
      }
    }
    BANYAN_CHECK((*calibrator)
                     ->Add(0, kCalibratedPosition,
                           SomeLayer(layout, type, seed), {}, gradients)
                     .ok());
  }
  auto calibration = (*calibrator)->Finish();
  BANYAN_CHECK(calibration.ok());
  return *std::move(calibration);
}

// Requires: they fit.
inline std::unique_ptr<codec::BlockCodec> MakeCodec(
    const std::string& spec, const KvLayout& layout,
    codec::ElementType type = codec::ElementType::kFp16) {
  const auto parsed = codec::ParseBlockSpec(spec);
  BANYAN_CHECK(parsed.ok());
  const auto rope =
      layout.shape().head_dim < 2
          ? std::nullopt
          : std::optional(SomeRope(layout.shape().head_dim / 2 * 2));
  const auto calibration = SomeCalibration(*parsed, layout, type, rope);
  auto made = codec::BlockCodec::Make(
      {.spec = *parsed,
       .layout = layout,
       .type = type,
       .rope = rope,
       .calibration = calibration.has_value() ? &*calibration : nullptr});
  BANYAN_CHECK(made.ok());
  return *std::move(made);
}

// ---- Targets ----

// Runs body() once for each instruction set that codecs have and this
// processor too.
template <typename Body>
void ForEachTarget(const Body& body) {
  constexpr int64_t kTargets[] = {HWY_AVX3, HWY_AVX2, HWY_SSE4, HWY_SCALAR};
  for (const int64_t target : kTargets) {
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target) == 0) {
      continue;
    }
    hwy::SetSupportedTargetsForTest(target);
    body(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(0);
  }
}

}  // namespace banyan::testing
