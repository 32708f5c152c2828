#include "client/ctl/model/llama.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/model/llama_math.h"
#include "kernels/dense/panel.h"

namespace banyan::ctl {
namespace {

// Larger than any model that this is for; so no product of two overflows.
constexpr uint32_t kSizeMax = 1 << 20;
constexpr uint32_t kPositionsMax = 1 << 17;
constexpr uint64_t kAnglesMax = 1 << 25;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL", message);
}

absl::Status CheckWeights(absl::string_view name,
                          const std::vector<float>& weights, uint64_t count) {
  if (weights.size() != count) {
    return Bad(absl::StrCat("model.", name, ": ", weights.size(),
                            " weights, want ", count, "."));
  }
  for (const float weight : weights) {
    if (!std::isfinite(weight)) {
      return Bad(absl::StrCat("model.", name, ": a weight is not finite."));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLayer(const LlamaShape& shape, const LlamaLayer& layer) {
  const uint64_t dim = shape.dim;
  const struct {
    absl::string_view name;
    const std::vector<float>& weights;
    uint64_t count;
  } parts[] = {{"attention_norm", layer.attention_norm, dim},
               {"query", layer.query, dim * dim},
               {"key", layer.key, dim * shape.kv_dim()},
               {"value", layer.value, dim * shape.kv_dim()},
               {"output", layer.output, dim * dim},
               {"ffn_norm", layer.ffn_norm, dim},
               {"gate", layer.gate, dim * shape.hidden_dim},
               {"up", layer.up, dim * shape.hidden_dim},
               {"down", layer.down, dim * shape.hidden_dim}};
  for (const auto& part : parts) {
    BANYAN_RETURN_IF_ERROR(CheckWeights(part.name, part.weights, part.count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LlamaShape::Validate() const {
  const std::pair<absl::string_view, uint32_t> sizes[] = {
      {"dim", dim},
      {"hidden_dim", hidden_dim},
      {"layers", layers},
      {"heads", heads},
      {"kv_heads", kv_heads},
      {"vocabulary", vocabulary},
      {"positions", positions}};
  for (const auto& [name, size] : sizes) {
    if (size == 0 || size > kSizeMax) {
      return Bad(absl::StrCat("model.", name, ": ", size, ", want 1 to ",
                              kSizeMax, "."));
    }
  }
  if (positions > kPositionsMax) {
    return Bad(absl::StrCat("model.positions: ", positions, ", want ",
                            kPositionsMax, " at most."));
  }
  if (dim % heads != 0 || head_dim() % 2 != 0) {
    return Bad(absl::StrCat("model.dim: ", dim, " does not make ", heads,
                            " heads of an even size."));
  }
  // Angles of all positions are kept.
  if (uint64_t{positions} * head_dim() > kAnglesMax) {
    return Bad(absl::StrCat("model.positions: ", positions, " of heads of ",
                            head_dim(), ", want ", kAnglesMax / head_dim(),
                            " at most."));
  }
  if (heads % kv_heads != 0) {
    return Bad(absl::StrCat("model.kv_heads: ", heads,
                            " query heads do not share ", kv_heads, "."));
  }
  return codec::Validate(Rope());
}

absl::StatusOr<KvLayout> LlamaShape::Layout(ElementType type,
                                            uint32_t block_tokens) const {
  return KvLayout::Make({.order = TokenOrder::kNhd,
                         .element_bytes = codec::ElementBytes(type),
                         .layers = layers,
                         .planes = 2,
                         .block_tokens = block_tokens,
                         .kv_heads = kv_heads,
                         .head_dim = head_dim()});
}

codec::RopeSpec LlamaShape::Rope() const {
  return {.base = rope_base,
          .rotary_dim = head_dim(),
          .pairs = codec::RopePairs::kNeighbours};
}

namespace {

// Queries of one head of keys and values, some at a time: every head that
// shares it, token by token.
struct QueryPanel {
  uint32_t count;
  uint32_t width;
  uint32_t context;  // Positions that the last of them sees.
  const float* queries[dense::kPanelColumns];
  float* outputs[dense::kPanelColumns];
  uint32_t contexts[dense::kPanelColumns];
};

QueryPanel PanelOf(const LlamaShape& shape, absl::Span<const float> queries,
                   uint32_t kv_head, size_t at, size_t end, uint32_t first,
                   absl::Span<float> output) {
  const size_t shared = shape.heads / shape.kv_heads;
  const size_t count = std::min<size_t>(end - at, dense::kPanelColumns);
  QueryPanel panel{.count = static_cast<uint32_t>(count),
                   .width = dense::PanelWidth(static_cast<uint32_t>(count))};
  for (size_t i = 0; i < panel.width; ++i) {
    const size_t number = at + std::min(i, count - 1);
    const size_t token = number / shared;
    const size_t head = kv_head * shared + number % shared;
    const size_t offset = (token * shape.heads + head) * shape.head_dim();
    panel.queries[i] = &queries[offset];
    panel.outputs[i] = &output[offset];
    panel.contexts[i] = first + static_cast<uint32_t>(token) + 1;
  }
  panel.context = panel.contexts[panel.width - 1];
  return panel;
}

}  // namespace

void Attend(const LlamaShape& shape, absl::Span<const float> queries,
            absl::Span<const float> keys, absl::Span<const float> values,
            uint32_t first, absl::Span<float> output) {
  const uint32_t dim = shape.head_dim();
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  std::vector<float> packed(size_t{dim} * dense::kPanelColumns);
  std::vector<float> weights(keys.size() / shape.kv_dim() *
                             dense::kPanelColumns);
  const size_t columns = queries.size() / dim / shape.kv_heads;
  for (uint32_t head = 0; head < shape.kv_heads; ++head) {
    for (size_t at = 0; at < columns; at += dense::kPanelColumns) {
      const QueryPanel panel =
          PanelOf(shape, queries, head, at, columns, first, output);
      dense::Pack(panel.queries, panel.count, dim, packed.data());
      dense::Multiply({.elements = &keys[size_t{head} * dim],
                       .row_stride = shape.kv_dim(),
                       .rows = panel.context,
                       .columns = dim},
                      packed.data(), panel.width, weights.data());
      dense::Softmax(scale, panel.contexts, panel.context, panel.width,
                     weights.data());
      dense::Multiply({.elements = &values[size_t{head} * dim],
                       .row_stride = 1,
                       .column_stride = shape.kv_dim(),
                       .rows = dim,
                       .columns = panel.context},
                      weights.data(), panel.width, packed.data());
      dense::Unpack(packed.data(), panel.count, dim, panel.outputs);
    }
  }
}

struct Llama::Pass {
  size_t tokens;
  uint32_t first;  // Position of the first of them.
  KvCache& cache;
  ForwardObserver* observer;
  std::vector<float> stream;  // [token, dim], as all of [token, ...] here.
  std::vector<float> normed;
  std::vector<float> update;
  std::vector<float> attended;
  std::vector<float> queries;
  std::vector<float> kv_rows[2];  // Keys and values of the tokens.
  std::vector<float> context[2];  // And of all positions.
  std::vector<float> gate;
  std::vector<float> up;
};

Llama::Llama(const LlamaShape& shape, LlamaWeights weights,
             std::unique_ptr<codec::Rope> rope)
    : shape_(shape), weights_(std::move(weights)), rope_(rope->MakeTable()) {
  rope->Fill(0, codec::Rope::Direction::kPutOn, rope_);
}

absl::StatusOr<Llama> Llama::Make(const LlamaShape& shape,
                                  LlamaWeights weights) {
  BANYAN_RETURN_IF_ERROR(shape.Validate());
  const uint64_t embedding = uint64_t{shape.vocabulary} * shape.dim;
  BANYAN_RETURN_IF_ERROR(
      CheckWeights("embedding", weights.embedding, embedding));
  BANYAN_RETURN_IF_ERROR(CheckWeights("norm", weights.norm, shape.dim));
  BANYAN_RETURN_IF_ERROR(
      CheckWeights("classifier", weights.classifier,
                   weights.classifier.empty() ? 0 : embedding));
  if (weights.layers.size() != shape.layers) {
    return Bad(absl::StrCat("model.layers: weights of ", weights.layers.size(),
                            ", want ", shape.layers, "."));
  }
  for (const LlamaLayer& layer : weights.layers) {
    BANYAN_RETURN_IF_ERROR(CheckLayer(shape, layer));
  }
  BANYAN_ASSIGN_OR_RETURN(auto rope,
                          codec::Rope::Make(shape.Rope(), shape.positions));
  return Llama(shape, std::move(weights), std::move(rope));
}

absl::Status Llama::AttentionOf(uint32_t index, Pass& pass) const {
  const LlamaLayer& layer = weights_.layers[index];
  NormRows(layer.attention_norm, shape_.norm_epsilon, pass.stream, pass.normed);
  Multiply(pass.normed, pass.tokens,
           {{layer.query, absl::MakeSpan(pass.queries)},
            {layer.key, absl::MakeSpan(pass.kv_rows[0])},
            {layer.value, absl::MakeSpan(pass.kv_rows[1])}});
  Rotate(rope_, pass.first, pass.tokens, Turn::kForth, pass.queries);
  Rotate(rope_, pass.first, pass.tokens, Turn::kForth, pass.kv_rows[0]);
  const uint32_t count = static_cast<uint32_t>(pass.tokens);
  const uint32_t kv_dim = shape_.kv_dim();
  for (uint32_t plane = 0; plane < 2; ++plane) {
    for (uint32_t i = 0; i < count; ++i) {
      pass.cache.Write(
          index, plane, pass.first + i,
          absl::MakeConstSpan(pass.kv_rows[plane]).subspan(i * kv_dim, kv_dim));
    }
  }
  if (pass.observer != nullptr) {
    BANYAN_RETURN_IF_ERROR(
        pass.observer->OnKeysAndValues(index, pass.first, count, pass.cache));
  }
  for (uint32_t plane = 0; plane < 2; ++plane) {
    pass.cache.Read(index, plane, 0, pass.first + count,
                    absl::MakeSpan(pass.context[plane]));
  }
  Attend(shape_, pass.queries, pass.context[0], pass.context[1], pass.first,
         absl::MakeSpan(pass.attended));
  if (pass.observer != nullptr) {
    pass.observer->OnAttention(index, pass.first, pass.queries, pass.attended);
  }
  Multiply(pass.attended, pass.tokens,
           {{layer.output, absl::MakeSpan(pass.update)}});
  AddTo(pass.stream, pass.update);
  return absl::OkStatus();
}

void Llama::FeedForwardOf(uint32_t index, Pass& pass) const {
  const LlamaLayer& layer = weights_.layers[index];
  NormRows(layer.ffn_norm, shape_.norm_epsilon, pass.stream, pass.normed);
  Multiply(pass.normed, pass.tokens,
           {{layer.gate, absl::MakeSpan(pass.gate)},
            {layer.up, absl::MakeSpan(pass.up)}});
  for (size_t i = 0; i < pass.gate.size(); ++i) {
    const float x = pass.gate[i];
    pass.gate[i] = x / (1.0f + std::exp(-x)) * pass.up[i];
  }
  Multiply(pass.gate, pass.tokens, {{layer.down, absl::MakeSpan(pass.update)}});
  AddTo(pass.stream, pass.update);
}

absl::Status Llama::Forward(absl::Span<const uint32_t> tokens, KvCache& cache,
                            absl::Span<float> logits,
                            ForwardObserver* observer) const {
  const size_t count = tokens.size();
  const size_t dim = shape_.dim;
  const uint32_t first = cache.size();
  BANYAN_CHECK(count > 0 && first + count <= cache.room());
  BANYAN_CHECK(first + count <= shape_.positions);
  const size_t context = (first + count) * shape_.kv_dim();
  Pass pass{
      .tokens = count, .first = first, .cache = cache, .observer = observer};
  for (auto* const rows : {&pass.stream, &pass.normed, &pass.update,
                           &pass.attended, &pass.queries}) {
    rows->resize(count * dim);
  }
  for (uint32_t plane = 0; plane < 2; ++plane) {
    pass.kv_rows[plane].resize(count * shape_.kv_dim());
    pass.context[plane].resize(context);
  }
  pass.gate.resize(count * shape_.hidden_dim);
  pass.up.resize(count * shape_.hidden_dim);
  for (size_t i = 0; i < count; ++i) {
    BANYAN_CHECK(tokens[i] < shape_.vocabulary);
    std::copy_n(&weights_.embedding[tokens[i] * dim], dim,
                &pass.stream[i * dim]);
  }
  for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
    BANYAN_RETURN_IF_ERROR(AttentionOf(layer, pass));
    FeedForwardOf(layer, pass);
  }
  cache.Truncate(first + static_cast<uint32_t>(count));
  const size_t wanted = logits.size() / shape_.vocabulary;
  BANYAN_CHECK(wanted == 1 || wanted == count);
  pass.stream.erase(pass.stream.begin(),
                    pass.stream.begin() +
                        static_cast<std::ptrdiff_t>((count - wanted) * dim));
  NormRows(weights_.norm, shape_.norm_epsilon, pass.stream, pass.stream);
  const auto& classifier =
      weights_.classifier.empty() ? weights_.embedding : weights_.classifier;
  Multiply(pass.stream, wanted, {{classifier, logits}});
  return absl::OkStatus();
}

}  // namespace banyan::ctl
