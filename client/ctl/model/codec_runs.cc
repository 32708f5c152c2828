#include "client/ctl/model/codec_runs.h"

#include <cmath>

#include "base/check.h"
#include "base/status_macros.h"

namespace banyan::ctl {
namespace {

absl::Status Encode(uint32_t layer, uint32_t first, uint32_t count,
                    KvRoundTrip& codec, KvCache& cache) {
  BANYAN_CHECK(first % cache.block_tokens() == 0);
  BANYAN_CHECK(count == cache.block_tokens());
  return codec.Apply(layer, first, cache.BlockLayer(first / count, layer));
}

}  // namespace

CodecShadow::CodecShadow(const LlamaShape& shape, const KvLayout& layout,
                         ElementType type, uint32_t positions,
                         KvRoundTrip& codec)
    : shape_(shape), shadow_(layout, type, positions), codec_(codec) {}

absl::Status CodecShadow::OnKeysAndValues(uint32_t layer, uint32_t first,
                                          uint32_t count, KvCache& cache) {
  const uint32_t row = shape_.kv_dim();
  std::vector<float> exact[2];
  for (uint32_t plane = 0; plane < 2; ++plane) {
    exact[plane].resize(size_t{count} * row);
    cache.Read(layer, plane, first, count, absl::MakeSpan(exact[plane]));
    for (uint32_t i = 0; i < count; ++i) {
      shadow_.Write(layer, plane, first + i,
                    absl::MakeConstSpan(exact[plane]).subspan(i * row, row));
    }
  }
  BANYAN_RETURN_IF_ERROR(Encode(layer, first, count, codec_, shadow_));
  std::vector<float> decoded(size_t{count} * row);
  for (uint32_t plane = 0; plane < 2; ++plane) {
    shadow_.Read(layer, plane, first, count, absl::MakeSpan(decoded));
    for (size_t i = 0; i < decoded.size(); ++i) {
      const double x = exact[plane][i];
      errors_[plane].error += (x - decoded[i]) * (x - decoded[i]);
      errors_[plane].size += x * x;
    }
  }
  return absl::OkStatus();
}

void CodecShadow::OnAttention(uint32_t layer, uint32_t first,
                              absl::Span<const float> queries,
                              absl::Span<const float> output) {
  const auto count = static_cast<uint32_t>(queries.size() / shape_.dim);
  std::vector<float> context[2];
  for (uint32_t plane = 0; plane < 2; ++plane) {
    context[plane].resize(size_t{first + count} * shape_.kv_dim());
    shadow_.Read(layer, plane, 0, first + count,
                 absl::MakeSpan(context[plane]));
  }
  std::vector<float> got(output.size());
  Attend(shape_, queries, context[0], context[1], first, absl::MakeSpan(got));
  const uint32_t dim = shape_.head_dim();
  for (size_t at = 0; at < got.size(); at += dim) {
    double error = 0;
    double size = 0;
    for (size_t i = at; i < at + dim; ++i) {
      error += (double{output[i]} - got[i]) * (double{output[i]} - got[i]);
      size += double{output[i]} * output[i];
    }
    if (size > 0) output_error_ += std::sqrt(error / size);
    ++outputs_;
  }
}

absl::Status CodecShadows::OnKeysAndValues(uint32_t layer, uint32_t first,
                                           uint32_t count, KvCache& cache) {
  for (CodecShadow* const shadow : shadows_) {
    BANYAN_RETURN_IF_ERROR(shadow->OnKeysAndValues(layer, first, count, cache));
  }
  return absl::OkStatus();
}

void CodecShadows::OnAttention(uint32_t layer, uint32_t first,
                               absl::Span<const float> queries,
                               absl::Span<const float> output) {
  for (CodecShadow* const shadow : shadows_) {
    shadow->OnAttention(layer, first, queries, output);
  }
}

absl::Status CodecInPlace::OnKeysAndValues(uint32_t layer, uint32_t first,
                                           uint32_t count, KvCache& cache) {
  return Encode(layer, first, count, codec_, cache);
}

}  // namespace banyan::ctl
