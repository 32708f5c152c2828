// The forward pass gives the text that another implementation documents, and its
// logits do not depend on how a prompt is cut into calls: to the bit. Attention
// is held to plain arithmetic in double.
#include "client/ctl/model/llama.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

uint32_t Likeliest(absl::Span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) -
                               logits.begin());
}

class LlamaTest : public ::testing::Test {
 protected:
  KvCache MakeCache(ElementType type, uint32_t block_tokens = 16) const {
    return KvCache(*shape().Layout(type, block_tokens), type,
                   shape().positions);
  }

  const LlamaShape& shape() const { return model_.llama.shape(); }

  std::vector<uint32_t> Prompt(absl::string_view text) const {
    std::vector<uint32_t> tokens = model_.tokenizer->Start();
    for (const uint32_t token : model_.tokenizer->Encode(text)) {
      tokens.push_back(token);
    }
    return tokens;
  }

  // Logits of the last token, after calls of up to so many tokens.
  std::vector<float> Logits(absl::Span<const uint32_t> tokens, KvCache& cache,
                            size_t call_tokens) const {
    std::vector<float> logits(shape().vocabulary);
    for (; !tokens.empty();
         tokens.remove_prefix(std::min(call_tokens, tokens.size()))) {
      EXPECT_TRUE(model_.llama
                      .Forward(tokens.subspan(0, call_tokens), cache,
                               absl::MakeSpan(logits))
                      .ok());
    }
    return logits;
  }

  // Continues greedily from nothing but the start of a sequence.
  std::string Story(ElementType type, uint32_t tokens) const {
    KvCache cache = MakeCache(type);
    std::vector<float> logits = Logits(model_.tokenizer->Start(), cache, 1);
    std::string text;
    for (uint32_t i = 0; i < tokens; ++i) {
      const uint32_t token = Likeliest(logits);
      text += model_.tokenizer->Decode(token);
      logits = Logits({token}, cache, 1);
    }
    return text.substr(1);  // The space that texts begin with.
  }

  const LoadedModel model_ = testing::LoadStories();
};

TEST_F(LlamaTest, TellsTheDocumentedStory) {
  EXPECT_EQ(Story(ElementType::kFp32, 200), testing::kGreedyStory);
}

TEST_F(LlamaTest, TellsItFromFp16KeysAndValuesToo) {
  EXPECT_EQ(Story(ElementType::kFp16, 200), testing::kGreedyStory);
}

TEST_F(LlamaTest, LogitsDoNotDependOnHowAPromptIsCut) {
  const std::vector<uint32_t> tokens = Prompt(testing::kGreedyStory);
  ASSERT_GT(tokens.size(), 190u);
  KvCache whole = MakeCache(ElementType::kFp16);
  const std::vector<float> expected = Logits(tokens, whole, tokens.size());
  for (const size_t call_tokens : {1, 7, 16, 50}) {
    KvCache cache = MakeCache(ElementType::kFp16);
    EXPECT_EQ(Logits(tokens, cache, call_tokens), expected) << call_tokens;
    for (uint32_t block = 0; block < tokens.size() / 16; ++block) {
      EXPECT_EQ(cache.Block(block), whole.Block(block)) << block;
    }
  }
}

TEST_F(LlamaTest, LogitsOfAllTokensAreThoseOfEach) {
  const std::vector<uint32_t> tokens = Prompt("There was a cat.");
  KvCache cache = MakeCache(ElementType::kFp32);
  std::vector<float> all(tokens.size() * shape().vocabulary);
  ASSERT_TRUE(model_.llama.Forward(tokens, cache, absl::MakeSpan(all)).ok());
  KvCache again = MakeCache(ElementType::kFp32, 32);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto expected = Logits({tokens[i]}, again, 1);
    const auto got = absl::MakeConstSpan(all).subspan(i * shape().vocabulary,
                                                      shape().vocabulary);
    EXPECT_EQ(got, absl::MakeConstSpan(expected)) << i;
  }
}

TEST_F(LlamaTest, ABlockOfAnotherCacheContinuesAsItsOwn) {
  const std::vector<uint32_t> tokens = Prompt(testing::kGreedyStory);
  KvCache writer = MakeCache(ElementType::kFp16);
  const std::vector<float> expected = Logits(tokens, writer, 16);

  KvCache reader = MakeCache(ElementType::kFp16);
  for (uint32_t block = 0; block < 5; ++block) {
    const auto from = writer.Block(block);
    std::copy(from.begin(), from.end(), reader.Block(block).begin());
  }
  reader.Truncate(80);

  EXPECT_EQ(Logits(absl::MakeConstSpan(tokens).subspan(80), reader, 16),
            expected);
}

// Adds to every key and counts what it was asked.
class Meddler : public ForwardObserver {
 public:
  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override {
    ++calls;
    const size_t elements =
        cache.layout().shape().kv_heads * cache.layout().shape().head_dim;
    std::vector<float> rows(count * elements);
    cache.Read(layer, 0, first, count, absl::MakeSpan(rows));
    for (float& x : rows) x += 1;
    for (uint32_t i = 0; i < count; ++i) {
      cache.Write(layer, 0, first + i,
                  absl::MakeConstSpan(rows).subspan(i * elements, elements));
    }
    return layer == failing_layer ? absl::DataLossError("no")
                                  : absl::OkStatus();
  }
  void OnAttention(uint32_t, uint32_t, absl::Span<const float> queries,
                   absl::Span<const float> output) override {
    EXPECT_EQ(queries.size(), output.size());
    ++attentions;
  }

  uint32_t failing_layer = 99;
  int calls = 0;
  int attentions = 0;
};

TEST_F(LlamaTest, AttentionReadsWhatAnObserverLeaves) {
  const std::vector<uint32_t> tokens = Prompt("Tom had a dog");
  KvCache cache = MakeCache(ElementType::kFp32);
  const std::vector<float> expected = Logits(tokens, cache, tokens.size());
  KvCache other = MakeCache(ElementType::kFp32);
  std::vector<float> logits(shape().vocabulary);
  Meddler meddler;
  ASSERT_TRUE(
      model_.llama.Forward(tokens, other, absl::MakeSpan(logits), &meddler)
          .ok());

  EXPECT_EQ(meddler.calls, 5);
  EXPECT_EQ(meddler.attentions, 5);
  EXPECT_NE(logits, expected);

  meddler.failing_layer = 2;
  KvCache third = MakeCache(ElementType::kFp32);
  EXPECT_EQ(
      model_.llama.Forward(tokens, third, absl::MakeSpan(logits), &meddler)
          .code(),
      absl::StatusCode::kDataLoss);
}

// ---- Attention by plain arithmetic ----

TEST(AttendTest, IsWhatTheFormulaSays) {
  const LlamaShape shape{.dim = 24, .heads = 6, .kv_heads = 2};
  constexpr uint32_t kFirst = 5;
  constexpr uint32_t kTokens = 3;
  std::mt19937_64 rng(1);
  std::normal_distribution<float> normal;
  const auto made = [&](size_t count) {
    std::vector<float> values(count);
    for (float& x : values) x = normal(rng);
    return values;
  };
  const auto queries = made(kTokens * 24);
  const auto keys = made((kFirst + kTokens) * 8);
  const auto values = made((kFirst + kTokens) * 8);
  std::vector<float> output(queries.size());

  Attend(shape, queries, keys, values, kFirst, absl::MakeSpan(output));

  for (uint32_t token = 0; token < kTokens; ++token) {
    for (uint32_t head = 0; head < 6; ++head) {
      double sum = 0;
      double out[4] = {};
      for (uint32_t at = 0; at <= kFirst + token; ++at) {
        double score = 0;
        for (int i = 0; i < 4; ++i) {
          score += double{queries[token * 24 + head * 4 + i]} *
                   keys[at * 8 + head / 3 * 4 + i];
        }
        const double weight = std::exp(score / 2);
        sum += weight;
        for (int i = 0; i < 4; ++i) {
          out[i] += weight * values[at * 8 + head / 3 * 4 + i];
        }
      }
      for (int i = 0; i < 4; ++i) {
        EXPECT_TRUE(std::fabs(output[token * 24 + head * 4 + i] -
                              out[i] / sum) <= 2e-6);
      }
    }
  }
}

TEST(LlamaShapeTest, NamesTheSizeThatIsWrong) {
  const LlamaShape good{.dim = 16,
                        .hidden_dim = 8,
                        .layers = 1,
                        .heads = 4,
                        .kv_heads = 2,
                        .vocabulary = 300,
                        .positions = 8};
  EXPECT_TRUE(good.Validate().ok());
  const auto reason = [&](auto change) {
    LlamaShape shape = good;
    change(shape);
    return ErrorReason(shape.Validate());
  };
  EXPECT_EQ(reason([](LlamaShape& s) { s.dim = 0; }), "MODEL");
  EXPECT_EQ(reason([](LlamaShape& s) { s.heads = 3; }), "MODEL");
  EXPECT_EQ(reason([](LlamaShape& s) { s.heads = 16; }), "MODEL");
  EXPECT_EQ(reason([](LlamaShape& s) { s.kv_heads = 3; }), "MODEL");
  EXPECT_EQ(reason([](LlamaShape& s) { s.layers = 1u << 31; }), "MODEL");
  EXPECT_EQ(reason([](LlamaShape& s) { s.rope_base = 0; }), "ROPE");
}

}  // namespace
}  // namespace banyan::ctl
