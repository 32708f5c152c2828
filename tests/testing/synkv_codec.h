// Made-up keys and values (synkv.h) through codecs, block by block.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/synkv.h"

namespace banyan::testing {

inline constexpr uint32_t kSynBlockTokens = 128;

// Keys and values of a block of tokens, as a layer in the order [plane, token,
// head].
inline std::vector<double> SynBlock(const SynKv& kv, uint32_t first) {
  std::vector<double> layer;
  for (const auto* const plane : {&kv.keys, &kv.values}) {
    for (uint32_t t = first; t < first + kSynBlockTokens; ++t) {
      for (uint32_t head = 0; head < kv.heads; ++head) {
        const double* const row = &(*plane)[kv.at(head, t)];
        layer.insert(layer.end(), row, row + kv.dim);
      }
    }
  }
  return layer;
}

// The codec for such blocks, calibrated with `others` if it wants that.
inline std::unique_ptr<codec::BlockCodec> SynCodec(
    const std::string& spec, const SynKv& kv,
    const std::vector<SynKv>& others) {
  const codec::BlockSpec parsed = *codec::ParseBlockSpec(spec);
  const KvLayout layout =
      CodecLayout(TokenOrder::kNhd, kSynBlockTokens, kv.heads, kv.dim);
  const auto rope = SomeRope(kv.dim);
  std::optional<codec::Calibration> calibration;
  if (parsed.keys.id == codec::CodecId::kNuq) {
    const auto calibrator = codec::Calibrator::Make(
        {.spec = parsed, .layout = layout, .rope = rope, .layers = 1});
    BANYAN_CHECK(calibrator.ok());
    for (const SynKv& other : others) {
      for (uint32_t at = 0; at < other.tokens; at += kSynBlockTokens) {
        BANYAN_CHECK(
            (*calibrator)
                ->Add(0, at,
                      Elements(codec::ElementType::kFp16, SynBlock(other, at)))
                .ok());
      }
    }
    calibration = *(*calibrator)->Finish();
  }
  auto made = codec::BlockCodec::Make(
      {.spec = parsed,
       .layout = layout,
       .rope = rope,
       .calibration = calibration.has_value() ? &*calibration : nullptr});
  BANYAN_CHECK(made.ok());
  return *std::move(made);
}

struct SynResult {
  KvError error;
  double ratio = 0;  // Bytes of fp16 over bytes of all encoded layers.
};

inline SynResult ThroughCodec(const codec::BlockCodec& codec, const SynKv& kv) {
  std::vector<double> keys(kv.keys.size());
  std::vector<double> values(kv.values.size());
  auto work = codec.MakeWorkspace();
  uint64_t raw_bytes = 0;
  uint64_t encoded_bytes = 0;
  for (uint32_t first = 0; first < kv.tokens; first += kSynBlockTokens) {
    const auto layer = Elements(codec::ElementType::kFp16, SynBlock(kv, first));
    std::vector<std::byte> encoded(codec.EncodedLayerBytes(first));
    BANYAN_CHECK(codec.StartEncoding(first, work).ok());
    const auto bytes =
        codec.EncodeLayerSized(layer, work, absl::MakeSpan(encoded));
    BANYAN_CHECK(bytes.ok());
    raw_bytes += layer.size();
    encoded_bytes += *bytes;
    std::vector<std::byte> decoded(layer.size());
    BANYAN_CHECK(codec.StartDecoding(first, work).ok());
    BANYAN_CHECK(codec
                     .DecodeLayer(absl::MakeConstSpan(encoded).first(*bytes),
                                  work, absl::MakeSpan(decoded))
                     .ok());
    const auto back = Values(codec::ElementType::kFp16, decoded);
    auto from = back.begin();
    for (auto* const plane : {&keys, &values}) {
      for (uint32_t t = first; t < first + kSynBlockTokens; ++t) {
        for (uint32_t head = 0; head < kv.heads; ++head, from += kv.dim) {
          std::copy_n(from, kv.dim, plane->begin() + kv.at(head, t));
        }
      }
    }
  }
  return {.error = Compare(kv, keys, values),
          .ratio = static_cast<double>(raw_bytes) /
                   static_cast<double>(encoded_bytes)};
}

}  // namespace banyan::testing
