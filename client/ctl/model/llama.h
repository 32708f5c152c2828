// A llama-architecture transformer in plain C++ and fp32: RMSNorm, rotary
// embedding of neighbouring pairs, grouped-query attention, SwiGLU. On one thread,
// fast enough for a prompt of some thousand tokens: a real source of real keys and
// values, for looking at what the store and its codecs do to text.
//
//   KvCache cache(layout, ElementType::kFp16, positions);
//   std::vector<float> logits(tokens.size() * model.shape().vocabulary);
//   BANYAN_RETURN_IF_ERROR(model.Forward(tokens, cache, logits));
//
// Invariant: the logits of a token depend on the tokens before it and on what
//            the cache holds, to the bit; never on how a prompt was cut into
//            calls. So a prefix that was read back continues as if it had been
//            computed here.
// Threads:   immutable after it was made, thread-safe.
// Source:    Touvron et al., LLaMA (2023); Su et al., RoFormer (2021); Ainslie
//            et al., GQA (2023).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/ctl/model/kv_cache.h"
#include "kernels/codec/rope.h"

namespace banyan::ctl {

struct LlamaShape {
  uint32_t dim = 0;  // Of the residual stream.
  uint32_t hidden_dim = 0;
  uint32_t layers = 0;
  uint32_t heads = 0;  // Of queries.
  uint32_t kv_heads = 0;
  uint32_t vocabulary = 0;
  uint32_t positions = 0;  // Longest sequence.
  double rope_base = 10000;
  float norm_epsilon = 1e-5f;

  uint32_t head_dim() const { return dim / heads; }
  uint32_t kv_dim() const { return head_dim() * kv_heads; }

  // Errors: kInvalidArgument reason MODEL, naming the size that is wrong.
  absl::Status Validate() const;

  // Where this model's keys and values lie in blocks of so many tokens.
  absl::StatusOr<KvLayout> Layout(ElementType type,
                                  uint32_t block_tokens) const;
  codec::RopeSpec Rope() const;
};

// Matrices are [out, in], row by row.
struct LlamaLayer {
  std::vector<float> attention_norm;  // [dim]
  std::vector<float> query;           // [dim, dim]
  std::vector<float> key;             // [kv_dim, dim]
  std::vector<float> value;           // [kv_dim, dim]
  std::vector<float> output;          // [dim, dim]
  std::vector<float> ffn_norm;        // [dim]
  std::vector<float> gate;            // [hidden_dim, dim]
  std::vector<float> up;              // [hidden_dim, dim]
  std::vector<float> down;            // [dim, hidden_dim]
};

struct LlamaWeights {
  std::vector<float> embedding;  // [vocabulary, dim]
  std::vector<LlamaLayer> layers;
  std::vector<float> norm;        // [dim]
  std::vector<float> classifier;  // [vocabulary, dim]; empty: the embedding.
};

// Sees, and may change, what attention is about to read.
class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;

  // The keys and values of this layer of positions [first, first + count) are
  // in the cache, and nothing has read them yet. An error ends the pass.
  virtual absl::Status OnKeysAndValues(uint32_t layer, uint32_t first,
                                       uint32_t count, KvCache& cache) = 0;

  // What attention made of it: [token, head, head_dim] each.
  virtual void OnAttention(uint32_t layer, uint32_t first,
                           absl::Span<const float> queries,
                           absl::Span<const float> output) = 0;
};

// Attention of the queries [token, head, head_dim], which stand at positions
// from `first` on, over the keys and values [position, kv_head, head_dim] of
// all positions up to their own. Writes `output`, shaped as the queries.
void Attend(const LlamaShape& shape, absl::Span<const float> queries,
            absl::Span<const float> keys, absl::Span<const float> values,
            uint32_t first, absl::Span<float> output);

class Llama {
 public:
  // Errors: kInvalidArgument reason MODEL: sizes that do not fit, or weights
  //         that are no numbers.
  static absl::StatusOr<Llama> Make(const LlamaShape& shape,
                                    LlamaWeights weights);

  const LlamaShape& shape() const { return shape_; }
  const LlamaWeights& weights() const { return weights_; }

  // Puts the rotary embedding of all positions on.
  const codec::RopeTable& rope() const { return rope_; }

  // Computes `tokens`, which follow what the cache holds, and adds their keys
  // and values to it. `logits` gets those of all tokens, [token, vocabulary], or
  // of the last one only, by its size.
  //
  // Requires: a token, each below the vocabulary; room in the cache, whose
  //           layout is of this shape.
  // Errors:   those of the observer; the cache is then of no use.
  absl::Status Forward(absl::Span<const uint32_t> tokens, KvCache& cache,
                       absl::Span<float> logits,
                       ForwardObserver* observer = nullptr) const;

 private:
  Llama(const LlamaShape& shape, LlamaWeights weights,
        std::unique_ptr<codec::Rope> rope);

  struct Pass;  // What one call of Forward works with.

  absl::Status AttentionOf(uint32_t layer, Pass& pass) const;
  void FeedForwardOf(uint32_t layer, Pass& pass) const;

  LlamaShape shape_;
  LlamaWeights weights_;
  codec::RopeTable rope_;  // Of all positions.
};

}  // namespace banyan::ctl
