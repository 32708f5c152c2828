// A llama model in a GGUF file is the model whose weights it holds: the small
// model of the repository, written as one, gives the same logits.
#include "client/ctl/model/gguf_model.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "client/ctl/model/llama2c.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

using testing::GgufWriter;

// Weights off the front of a checkpoint of llama2.c.
class Weights {
 public:
  explicit Weights(const std::string& file) : left_(AsBytes(file)) {
    left_.remove_prefix(28);
  }
  std::vector<float> Take(size_t count) {
    std::vector<float> floats(count);
    std::memcpy(floats.data(), left_.data(), 4 * count);
    left_.remove_prefix(4 * count);
    return floats;
  }

 private:
  absl::Span<const std::byte> left_;
};

void WriteLayers(const LlamaShape& shape, Weights& weights,
                 GgufWriter& writer) {
  const struct {
    const char* name;
    uint64_t in;
    uint64_t out;
  } parts[] = {{"attn_norm", shape.dim, 1},
               {"attn_q", shape.dim, shape.dim},
               {"attn_k", shape.dim, shape.kv_dim()},
               {"attn_v", shape.dim, shape.kv_dim()},
               {"attn_output", shape.dim, shape.dim},
               {"ffn_norm", shape.dim, 1},
               {"ffn_gate", shape.dim, shape.hidden_dim},
               {"ffn_down", shape.hidden_dim, shape.dim},
               {"ffn_up", shape.dim, shape.hidden_dim}};
  for (const auto& [name, in, out] : parts) {
    for (uint32_t layer = 0; layer < shape.layers; ++layer) {
      writer.Floats(absl::StrCat("blk.", layer, ".", name, ".weight"),
                    {in, out}, weights.Take(in * out));
    }
  }
}

class GgufModelTest : public ::testing::Test {
 protected:
  // The model of the repository, but for what `change` does to it.
  template <typename Change>
  std::string File(const Change& change) const {
    const std::string stories = *ReadFile(testing::kStoriesModel);
    const LlamaShape& shape = model_.llama.shape();
    GgufWriter writer;
    std::vector<std::string> tokens(shape.vocabulary);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = absl::StrCat(i);
    writer.Texts("tokenizer.ggml.tokens", tokens);
    writer.Integer("llama.embedding_length", shape.dim);
    writer.Integer("llama.feed_forward_length", shape.hidden_dim);
    writer.Integer("llama.block_count", shape.layers);
    writer.Integer("llama.attention.head_count", shape.heads);
    writer.Integer("llama.context_length", shape.positions);
    writer.Integer("llama.rope.dimension_count", shape.head_dim());
    writer.Real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    Weights weights(stories);
    writer.Floats("token_embd.weight", {shape.dim, shape.vocabulary},
                  weights.Take(shape.dim * shape.vocabulary));
    WriteLayers(shape, weights, writer);
    writer.Floats("output_norm.weight", {shape.dim}, weights.Take(shape.dim));
    change(writer);
    return writer.File();
  }

  static absl::StatusOr<Llama> Parse(const std::string& bytes) {
    const auto file = GgufFile::Parse(AsBytes(bytes));
    if (!file.ok()) return file.status();
    return LlamaOfGguf(*file);
  }

  static void AddRest(GgufWriter& writer) {
    writer.Text("general.architecture", "llama");
    writer.Integer("llama.attention.head_count_kv", 4);
  }

  static std::vector<float> Logits(const Llama& llama) {
    KvCache cache(*llama.shape().Layout(ElementType::kFp32, 16),
                  ElementType::kFp32, 16);
    std::vector<float> logits(llama.shape().vocabulary);
    EXPECT_TRUE(
        llama.Forward({1, 403, 407, 261}, cache, absl::MakeSpan(logits)).ok());
    return logits;
  }

  const LoadedModel model_ = testing::LoadStories();
};

TEST_F(GgufModelTest, IsTheModelWhoseWeightsItHolds) {
  const auto llama = Parse(File(&AddRest));
  ASSERT_TRUE(llama.ok()) << llama.status();

  EXPECT_EQ(llama->shape().kv_heads, 4u);
  EXPECT_EQ(Logits(*llama), Logits(model_.llama));
}

TEST_F(GgufModelTest, RotatesByItsBase) {
  const auto llama = Parse(File([](GgufWriter& writer) {
    AddRest(writer);
    writer.Real("llama.rope.freq_base", 100000);
  }));
  ASSERT_TRUE(llama.ok()) << llama.status();

  EXPECT_EQ(llama->shape().rope_base, 100000);
  EXPECT_NE(Logits(*llama), Logits(model_.llama));
}

TEST_F(GgufModelTest, RefusesOtherModels) {
  const auto reason = [&](const auto& change) {
    return ErrorReason(Parse(File(change)).status());
  };
  EXPECT_EQ(reason([](GgufWriter& writer) {
              writer.Text("general.architecture", "gemma");
              writer.Integer("llama.attention.head_count_kv", 4);
            }),
            "MODEL");
  EXPECT_EQ(reason([](GgufWriter& writer) {
              writer.Text("general.architecture", "llama");
              writer.Integer("llama.attention.head_count_kv", 2);
            }),
            "MODEL");
  EXPECT_EQ(reason([](GgufWriter& writer) {
              AddRest(writer);
              writer.Text("llama.rope.scaling.type", "yarn");
            }),
            "MODEL");
  EXPECT_EQ(reason([](GgufWriter&) {}), "MODEL");
}

TEST_F(GgufModelTest, HasATokenizerOfOneKind) {
  const std::string bytes = File(
      [](GgufWriter& writer) { writer.Text("tokenizer.ggml.model", "llama"); });
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(ErrorReason(TokenizerOfGguf(*file).status()), "MODEL");
}

}  // namespace
}  // namespace banyan::ctl
