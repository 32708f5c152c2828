#include "client/ctl/model/kv_gradients.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "base/status_macros.h"
#include "client/ctl/model/llama_math.h"
#include "kernels/dense/panel.h"

namespace banyan::ctl {
namespace {

using Rows = std::vector<float>;  // [token, element].

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// Adds to `to` what a gradient of NormRows' result is of its argument.
void AddNormGradient(const Rows& weight, float epsilon, const Rows& from,
                     const Rows& gradient, Rows& to) {
  const size_t dim = weight.size();
  const auto count = static_cast<float>(dim);
  for (size_t at = 0; at < from.size(); at += dim) {
    float squares = 0;
    float product = 0;
    for (size_t i = 0; i < dim; ++i) {
      squares += from[at + i] * from[at + i];
      product += from[at + i] * gradient[at + i] * weight[i];
    }
    const float scale = 1.0f / std::sqrt(squares / count + epsilon);
    const float pull = scale * scale * scale * product / count;
    for (size_t i = 0; i < dim; ++i) {
      to[at + i] += scale * weight[i] * gradient[at + i] - pull * from[at + i];
    }
  }
}

// A panel [rows, columns] as a matrix, and its turned one.
dense::MatrixView ViewOf(const float* panel, uint32_t rows, uint32_t width,
                         uint32_t columns) {
  return {
      .elements = panel, .row_stride = width, .rows = rows, .columns = columns};
}

class Pass {
 public:
  Pass(const Llama& llama, absl::Span<const uint32_t> tokens)
      : shape_(llama.shape()),
        weights_(llama.weights()),
        rope_(llama.rope()),
        tokens_(tokens.size()) {
    Rows stream(tokens_ * shape_.dim);
    for (size_t i = 0; i < tokens_; ++i) {
      std::copy_n(&weights_.embedding[size_t{tokens[i]} * shape_.dim],
                  shape_.dim, &stream[i * shape_.dim]);
    }
    for (const LlamaLayer& layer : weights_.layers) {
      inputs_.push_back(stream);
      Compute(layer, stream);
      stream = std::move(middle_);
      for (size_t i = 0; i < gate_.size(); ++i) {
        gate_[i] *= Sigmoid(gate_[i]) * up_[i];
      }
      Rows update(stream.size());
      Multiply(gate_, tokens_, {{layer.down, absl::MakeSpan(update)}});
      AddTo(stream, update);
    }
    output_ = std::move(stream);
  }

  absl::Status Back(uint64_t seed, std::vector<uint32_t>& drawn,
                    KvGradientSink sink) {
    Rows gradient = OfLikelihood(seed, drawn);
    for (auto layer = static_cast<uint32_t>(weights_.layers.size());
         layer-- > 0;) {
      Compute(weights_.layers[layer], inputs_[layer]);
      AddFeedForward(weights_.layers[layer], gradient);
      const KvGradient of = AddAttention(layer, gradient);
      BANYAN_RETURN_IF_ERROR(sink(layer, of));
    }
    return absl::OkStatus();
  }

 private:
  // All but the end of a layer.
  void Compute(const LlamaLayer& layer, const Rows& input) {
    const size_t kv = tokens_ * shape_.kv_dim();
    normed_.resize(input.size());
    queries_.resize(input.size());
    attended_.resize(input.size());
    keys_.resize(kv);
    values_.resize(kv);
    gate_.resize(tokens_ * shape_.hidden_dim);
    up_.resize(gate_.size());
    NormRows(layer.attention_norm, shape_.norm_epsilon, input, normed_);
    Multiply(normed_, tokens_,
             {{layer.query, absl::MakeSpan(queries_)},
              {layer.key, absl::MakeSpan(keys_)},
              {layer.value, absl::MakeSpan(values_)}});
    Rotate(rope_, 0, tokens_, Turn::kForth, queries_);
    Rotate(rope_, 0, tokens_, Turn::kForth, keys_);
    Attend(shape_, queries_, keys_, values_, 0, absl::MakeSpan(attended_));
    middle_.resize(input.size());
    Multiply(attended_, tokens_, {{layer.output, absl::MakeSpan(middle_)}});
    AddTo(middle_, input);
    NormRows(layer.ffn_norm, shape_.norm_epsilon, middle_, normed_);
    Multiply(
        normed_, tokens_,
        {{layer.gate, absl::MakeSpan(gate_)}, {layer.up, absl::MakeSpan(up_)}});
  }

  // Of the stream's end: for each token one next token is drawn.
  Rows OfLikelihood(uint64_t seed, std::vector<uint32_t>& drawn) const {
    std::mt19937_64 rng(seed);
    const Rows& classifier =
        weights_.classifier.empty() ? weights_.embedding : weights_.classifier;
    Rows normed(output_.size());
    NormRows(weights_.norm, shape_.norm_epsilon, output_, normed);
    Rows of_normed(output_.size());
    const size_t dim = shape_.dim;
    const size_t vocabulary = shape_.vocabulary;
    for (size_t at = 0; at < tokens_; at += dense::kPanelColumns) {
      const size_t count = std::min<size_t>(dense::kPanelColumns, tokens_ - at);
      const Rows some(
          normed.begin() + static_cast<ptrdiff_t>(at * dim),
          normed.begin() + static_cast<ptrdiff_t>((at + count) * dim));
      Rows logits(count * vocabulary);
      Multiply(some, count, {{classifier, absl::MakeSpan(logits)}});
      for (size_t i = 0; i < count; ++i) {
        drawn.push_back(LikelihoodGradient(
            absl::MakeSpan(logits).subspan(i * vocabulary, vocabulary), rng));
      }
      MultiplyTurned(logits, count,
                     {{classifier, absl::MakeSpan(of_normed).subspan(
                                       at * dim, count * dim)}});
    }
    Rows gradient(output_.size());
    AddNormGradient(weights_.norm, shape_.norm_epsilon, output_, of_normed,
                    gradient);
    return gradient;
  }

  // Makes logits what the gradient of the log likelihood of a token is of them,
  // which is drawn with the odds that they are. Returns the token.
  static uint32_t LikelihoodGradient(absl::Span<float> logits,
                                     std::mt19937_64& rng) {
    const float most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float& x : logits) {
      x = std::exp(x - most);
      sum += x;
    }
    double left = static_cast<double>(rng() >> 11) * 0x1p-53 * sum;
    uint32_t drawn = 0;
    while (drawn + 1 < logits.size() && left >= logits[drawn]) {
      left -= logits[drawn++];
    }
    const auto scale = static_cast<float>(-1 / sum);
    for (float& x : logits) x *= scale;
    logits[drawn] += 1;
    return drawn;
  }

  // Makes the gradient that of the stream in front of the feed-forward part.
  void AddFeedForward(const LlamaLayer& layer, Rows& gradient) {
    Rows of_gate(gate_.size());
    Rows of_up(up_.size());
    MultiplyTurned(gradient, tokens_, {{layer.down, absl::MakeSpan(of_up)}});
    for (size_t i = 0; i < gate_.size(); ++i) {
      const float sigmoid = Sigmoid(gate_[i]);
      const float active = gate_[i] * sigmoid;
      of_gate[i] = of_up[i] * up_[i] * (sigmoid + active * (1 - sigmoid));
      of_up[i] *= active;
    }
    Rows of_normed(gradient.size());
    Rows part(gradient.size());
    MultiplyTurned(of_gate, tokens_, {{layer.gate, absl::MakeSpan(of_normed)}});
    MultiplyTurned(of_up, tokens_, {{layer.up, absl::MakeSpan(part)}});
    AddTo(of_normed, part);
    AddNormGradient(layer.ffn_norm, shape_.norm_epsilon, middle_, of_normed,
                    gradient);
  }

  // Makes it that of the layer's input. Returns those of keys and values.
  KvGradient AddAttention(uint32_t index, Rows& gradient) {
    const LlamaLayer& layer = weights_.layers[index];
    Rows of_attended(gradient.size());
    MultiplyTurned(gradient, tokens_,
                   {{layer.output, absl::MakeSpan(of_attended)}});
    KvGradient of;
    of.keys.resize(keys_.size());
    of.values.resize(values_.size());
    Rows of_queries(queries_.size());
    for (uint32_t head = 0; head < shape_.heads; ++head) {
      for (size_t at = 0; at < tokens_; at += dense::kPanelColumns) {
        AddPanel(head, at, of_attended, of, of_queries);
      }
    }
    of.bare_keys = of.keys;
    Rotate(rope_, 0, tokens_, Turn::kBack, of.bare_keys);
    Rotate(rope_, 0, tokens_, Turn::kBack, of_queries);
    Rows of_normed(gradient.size());
    Rows part(gradient.size());
    MultiplyTurned(of_queries, tokens_,
                   {{layer.query, absl::MakeSpan(of_normed)}});
    MultiplyTurned(of.bare_keys, tokens_, {{layer.key, absl::MakeSpan(part)}});
    AddTo(of_normed, part);
    MultiplyTurned(of.values, tokens_, {{layer.value, absl::MakeSpan(part)}});
    AddTo(of_normed, part);
    AddNormGradient(layer.attention_norm, shape_.norm_epsilon, inputs_[index],
                    of_normed, gradient);
    return of;
  }

  // Some queries of a head.
  void AddPanel(uint32_t head, size_t at, const Rows& of_attended,
                KvGradient& of, Rows& of_queries) {
    const uint32_t dim = shape_.head_dim();
    const auto count = static_cast<uint32_t>(
        std::min<size_t>(dense::kPanelColumns, tokens_ - at));
    const uint32_t width = dense::PanelWidth(count);
    const auto context = static_cast<uint32_t>(at) + count;
    const size_t kv_at = size_t{head / (shape_.heads / shape_.kv_heads)} * dim;
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    const auto pack = [&](const Rows& rows) {
      const float* vectors[dense::kPanelColumns];
      for (uint32_t i = 0; i < count; ++i) {
        vectors[i] = &rows[((at + i) * shape_.heads + head) * dim];
      }
      Rows panel(size_t{dim} * width);
      dense::Pack(vectors, count, dim, panel.data());
      return panel;
    };
    const Rows queries = pack(queries_);
    const Rows of_outputs = pack(of_attended);
    const auto cached = [&](const Rows& rows) {
      return dense::MatrixView{.elements = &rows[kv_at],
                               .row_stride = shape_.kv_dim(),
                               .rows = context,
                               .columns = dim};
    };
    Rows weights(size_t{context} * width);
    Rows of_logits(weights.size());
    dense::Multiply(cached(keys_), queries.data(), width, weights.data());
    uint32_t counts[dense::kPanelColumns];
    for (uint32_t i = 0; i < width; ++i) {
      counts[i] = static_cast<uint32_t>(at) + std::min(i, count - 1) + 1;
    }
    dense::Softmax(scale, counts, context, width, weights.data());
    dense::Multiply(cached(values_), of_outputs.data(), width,
                    of_logits.data());
    for (uint32_t i = 0; i < count; ++i) {
      float mean = 0;
      for (size_t t = i; t < weights.size(); t += width) {
        mean += weights[t] * of_logits[t];
      }
      for (size_t t = i; t < weights.size(); t += width) {
        of_logits[t] = weights[t] * (of_logits[t] - mean) * scale;
      }
    }
    AddProducts(ViewOf(weights.data(), context, width, count), of_attended,
                head, at, kv_at, of.values);
    AddProducts(ViewOf(of_logits.data(), context, width, count), queries_, head,
                at, kv_at, of.keys);
    // Of the queries themselves.
    Rows panel(size_t{dim} * width);
    dense::Multiply({.elements = &keys_[kv_at],
                     .row_stride = 1,
                     .column_stride = shape_.kv_dim(),
                     .rows = dim,
                     .columns = context},
                    of_logits.data(), width, panel.data());
    float* outputs[dense::kPanelColumns];
    for (uint32_t i = 0; i < count; ++i) {
      outputs[i] = &of_queries[((at + i) * shape_.heads + head) * dim];
    }
    dense::Unpack(panel.data(), count, dim, outputs);
  }

  // Adds to rows of keys or values the products of a matrix [position, query]
  // with the queries' rows.
  void AddProducts(const dense::MatrixView& matrix, const Rows& rows,
                   uint32_t head, size_t at, size_t kv_at, Rows& to) const {
    const uint32_t dim = shape_.head_dim();
    for (uint32_t part = 0; part < dim; part += dense::kPanelColumns) {
      const uint32_t elements = std::min(dim - part, dense::kPanelColumns);
      const uint32_t width = dense::PanelWidth(elements);
      Rows panel(size_t{matrix.columns} * width);
      for (uint32_t i = 0; i < matrix.columns; ++i) {
        std::copy_n(&rows[((at + i) * shape_.heads + head) * dim + part],
                    elements, &panel[size_t{i} * width]);
      }
      Rows sums(size_t{matrix.rows} * width);
      dense::Multiply(matrix, panel.data(), width, sums.data());
      for (uint32_t t = 0; t < matrix.rows; ++t) {
        for (uint32_t i = 0; i < elements; ++i) {
          to[size_t{t} * shape_.kv_dim() + kv_at + part + i] +=
              sums[size_t{t} * width + i];
        }
      }
    }
  }

  const LlamaShape& shape_;
  const LlamaWeights& weights_;
  const codec::RopeTable& rope_;
  size_t tokens_;
  std::vector<Rows> inputs_;  // Of each layer.
  Rows output_;               // Of the last.
  // Of the layer that was computed last.
  Rows normed_;
  Rows queries_;
  Rows keys_;
  Rows values_;
  Rows attended_;
  Rows middle_;  // The stream in front of the feed-forward part.
  Rows gate_;
  Rows up_;
};

}  // namespace

absl::StatusOr<std::vector<uint32_t>> KvGradients(
    const Llama& llama, absl::Span<const uint32_t> tokens, uint64_t seed,
    KvGradientSink sink) {
  Pass pass(llama, tokens);
  std::vector<uint32_t> drawn;
  BANYAN_RETURN_IF_ERROR(pass.Back(seed, drawn, sink));
  return drawn;
}

}  // namespace banyan::ctl
