#include "client/ctl/model/gguf_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/model/byte_pair_tokenizer.h"

namespace banyan::ctl {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL", message);
}

absl::Status ReadSize(const GgufFile& file, absl::string_view name,
                      uint32_t& size) {
  BANYAN_ASSIGN_OR_RETURN(const uint64_t value, file.Integer(name));
  if (value > UINT32_MAX) {
    return Bad(absl::StrCat("model file: ", name, " is too large."));
  }
  size = static_cast<uint32_t>(value);
  return absl::OkStatus();
}

absl::StatusOr<LlamaShape> ShapeOf(const GgufFile& file) {
  BANYAN_ASSIGN_OR_RETURN(const auto kind, file.Text("general.architecture"));
  if (kind != "llama") {
    return Bad(
        absl::StrCat("model file: architecture ", Echo(kind), ". Want llama."));
  }
  LlamaShape shape;
  const std::pair<absl::string_view, uint32_t&> sizes[] = {
      {"llama.embedding_length", shape.dim},
      {"llama.feed_forward_length", shape.hidden_dim},
      {"llama.block_count", shape.layers},
      {"llama.attention.head_count", shape.heads},
      {"llama.attention.head_count_kv", shape.kv_heads},
      {"llama.context_length", shape.positions}};
  for (const auto& [name, size] : sizes) {
    BANYAN_RETURN_IF_ERROR(ReadSize(file, name, size));
  }
  BANYAN_ASSIGN_OR_RETURN(const auto tokens,
                          file.Texts("tokenizer.ggml.tokens"));
  shape.vocabulary = static_cast<uint32_t>(tokens.size());
  if (file.Has("llama.rope.freq_base")) {
    BANYAN_ASSIGN_OR_RETURN(shape.rope_base, file.Real("llama.rope.freq_base"));
  }
  BANYAN_ASSIGN_OR_RETURN(const double epsilon,
                          file.Real("llama.attention.layer_norm_rms_epsilon"));
  if (!(epsilon >= 0 && epsilon < 1)) {
    return Bad(absl::StrCat("llama.attention.layer_norm_rms_epsilon: ", epsilon,
                            ", want 0 to 1."));
  }
  shape.norm_epsilon = static_cast<float>(epsilon);
  BANYAN_RETURN_IF_ERROR(shape.Validate());
  uint32_t rotary_dim = shape.head_dim();
  if (file.Has("llama.rope.dimension_count")) {
    BANYAN_RETURN_IF_ERROR(
        ReadSize(file, "llama.rope.dimension_count", rotary_dim));
  }
  if (rotary_dim != shape.head_dim() || file.Has("llama.rope.scaling.type") ||
      file.HasTensor("rope_freqs.weight")) {
    return Bad("model file: a rotary embedding of another kind.");
  }
  return shape;
}

using Part = std::vector<float> LlamaLayer::*;

absl::StatusOr<LlamaLayer> LayerOf(const GgufFile& file,
                                   const LlamaShape& shape, uint32_t index) {
  const uint64_t dim = shape.dim;
  const struct {
    absl::string_view name;
    Part part;
    uint64_t count;
  } parts[] = {{"attn_norm", &LlamaLayer::attention_norm, dim},
               {"attn_q", &LlamaLayer::query, dim * dim},
               {"attn_k", &LlamaLayer::key, dim * shape.kv_dim()},
               {"attn_v", &LlamaLayer::value, dim * shape.kv_dim()},
               {"attn_output", &LlamaLayer::output, dim * dim},
               {"ffn_norm", &LlamaLayer::ffn_norm, dim},
               {"ffn_gate", &LlamaLayer::gate, dim * shape.hidden_dim},
               {"ffn_up", &LlamaLayer::up, dim * shape.hidden_dim},
               {"ffn_down", &LlamaLayer::down, dim * shape.hidden_dim}};
  LlamaLayer layer;
  for (const auto& [name, part, count] : parts) {
    const std::string full = absl::StrCat("blk.", index, ".", name, ".weight");
    BANYAN_ASSIGN_OR_RETURN(layer.*part, file.Floats(full, count));
  }
  return layer;
}

}  // namespace

absl::StatusOr<Llama> LlamaOfGguf(const GgufFile& file) {
  BANYAN_ASSIGN_OR_RETURN(const LlamaShape shape, ShapeOf(file));
  const uint64_t embedding = uint64_t{shape.vocabulary} * shape.dim;
  LlamaWeights weights;
  BANYAN_ASSIGN_OR_RETURN(weights.embedding,
                          file.Floats("token_embd.weight", embedding));
  for (uint32_t index = 0; index < shape.layers; ++index) {
    BANYAN_ASSIGN_OR_RETURN(LlamaLayer layer, LayerOf(file, shape, index));
    weights.layers.push_back(std::move(layer));
  }
  BANYAN_ASSIGN_OR_RETURN(weights.norm,
                          file.Floats("output_norm.weight", shape.dim));
  if (file.HasTensor("output.weight")) {
    BANYAN_ASSIGN_OR_RETURN(weights.classifier,
                            file.Floats("output.weight", embedding));
  }
  return Llama::Make(shape, std::move(weights));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerOfGguf(
    const GgufFile& file) {
  BANYAN_ASSIGN_OR_RETURN(const auto kind, file.Text("tokenizer.ggml.model"));
  if (kind != "gpt2") {
    return Bad(
        absl::StrCat("model file: tokenizer ", Echo(kind), ". Want gpt2."));
  }
  BANYAN_ASSIGN_OR_RETURN(const auto tokens,
                          file.Texts("tokenizer.ggml.tokens"));
  BANYAN_ASSIGN_OR_RETURN(const auto merges,
                          file.Texts("tokenizer.ggml.merges"));
  SpecialTokens special;
  BANYAN_ASSIGN_OR_RETURN(special.end,
                          file.Integer("tokenizer.ggml.eos_token_id"));
  if (file.Has("tokenizer.ggml.unknown_token_id")) {
    BANYAN_ASSIGN_OR_RETURN(special.unknown,
                            file.Integer("tokenizer.ggml.unknown_token_id"));
  }
  return MakeBytePairTokenizer(tokens, merges, special);
}

}  // namespace banyan::ctl
