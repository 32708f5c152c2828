// Calibrations as long as those of large models, of made-up numbers: weighted
// cold's, whose basis of each head is near the elements as they are.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/fingerprint.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/half.h"

namespace banyan::testing {

struct CalibratedShape {
  uint32_t layers = 32;
  uint32_t heads = 8;
  uint32_t dim = 128;
};

// Of a model of that shape, in blocks of four tokens.
inline Fingerprint FingerprintOf(const CalibratedShape& shape,
                                 std::string kv_codec = "") {
  return {.model = "made-up",
          .hash_algorithm = "test",
          .data_type = "fp16",
          .layout = "nhd",
          .layers = shape.layers,
          .kv_heads = shape.heads,
          .head_dim = shape.dim,
          .planes = 2,
          .block_tokens = 4,
          .kv_codec = std::move(kv_codec)};
}

inline codec::ColdTables SomeColdTables(const CalibratedShape& shape,
                                        std::mt19937& rng) {
  const auto half = [](float x) {
    return codec::HalfValue(codec::HalfBits(x));
  };
  const uint32_t width = shape.heads * shape.dim;
  codec::ColdTables tables{.bits = 2 * codec::kBitPart};
  tables.means.resize(width);
  for (uint32_t i = 0; i < width; ++i) {
    tables.means[i] = half(0.01f * static_cast<float>(i % 7));
    for (uint32_t j = 0; j < shape.dim; ++j) {
      const float noise = static_cast<float>(rng() % 256) / 256 - 0.5f;
      const float one = i % shape.dim == j ? 1 : 0;
      tables.basis.push_back(
          half(one + noise / static_cast<float>(4 * shape.dim)));
    }
  }
  return tables;
}

// For "cold2:weighted", as a file has it.
inline std::string LongCalibration(const CalibratedShape& shape,
                                   uint32_t seed = 1) {
  const auto spec = *codec::ParseBlockSpec("cold2:weighted");
  std::mt19937 rng(seed);
  std::vector<codec::Calibration::Layer> layers(shape.layers);
  for (auto& layer : layers) {
    for (codec::PlaneTables& plane : layer) {
      plane.cold = SomeColdTables(shape, rng);
    }
  }
  const auto made = codec::Calibration::Make({.layers = shape.layers,
                                              .width = shape.heads * shape.dim,
                                              .dim = shape.dim,
                                              .keys = spec.keys,
                                              .values = spec.values},
                                             std::move(layers));
  BANYAN_CHECK(made.ok());
  return std::string(AsText(made->Serialize()));
}

}  // namespace banyan::testing
