// The files of llama2.c: what they say is read, and whatever does not fit is
// refused, wherever a file is cut or changed.
#include "client/ctl/model/llama2c.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/bytes.h"
#include "base/error.h"
#include "tests/testing/stories.h"

namespace banyan::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::byte> Bytes(const char* path) {
  const auto text = ReadFile(path);
  EXPECT_TRUE(text.ok());
  const auto bytes = AsBytes(*text);
  return {bytes.begin(), bytes.end()};
}

TEST(Llama2cModelTest, ReadsTheShape) {
  const auto model = ParseLlama2cModel(Bytes(testing::kStoriesModel));

  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->shape().dim, 64u);
  EXPECT_EQ(model->shape().hidden_dim, 172u);
  EXPECT_EQ(model->shape().layers, 5u);
  EXPECT_EQ(model->shape().heads, 8u);
  EXPECT_EQ(model->shape().kv_heads, 4u);
  EXPECT_EQ(model->shape().head_dim(), 8u);
  EXPECT_EQ(model->shape().vocabulary, 512u);
  EXPECT_EQ(model->shape().positions, 512u);
}

TEST(Llama2cModelTest, RefusesOtherLengths) {
  std::vector<std::byte> file = Bytes(testing::kStoriesModel);
  for (const size_t size :
       {size_t{0}, size_t{27}, size_t{28}, size_t{5000}, file.size() - 1}) {
    const auto model = ParseLlama2cModel(absl::MakeConstSpan(file).first(size));
    EXPECT_EQ(ErrorReason(model.status()), "MODEL") << size;
  }
  file.push_back(std::byte{0});
  EXPECT_EQ(ErrorReason(ParseLlama2cModel(file).status()), "MODEL");
}

TEST(Llama2cModelTest, RefusesOtherSizes) {
  const std::vector<std::byte> good = Bytes(testing::kStoriesModel);
  for (int field = 0; field < 7; ++field) {
    for (const uint32_t value : {0u, 3u, 0x7FFFFFFFu, 0x80000000u, ~0u}) {
      std::vector<std::byte> file = good;
      StoreLe32(value, &file[4 * field]);
      EXPECT_FALSE(ParseLlama2cModel(file).ok()) << field << " " << value;
    }
  }
}

TEST(Llama2cModelTest, RefusesWeightsThatAreNoNumbers) {
  std::vector<std::byte> file = Bytes(testing::kStoriesModel);
  StoreLe32(0x7FC00000, &file[28 + 4 * 40000]);

  const auto model = ParseLlama2cModel(file);

  EXPECT_THAT(std::string(model.status().message()), HasSubstr("finite"));
}

// A head for a classifier of its own asks for more weights.
TEST(Llama2cModelTest, ReadsAClassifier) {
  std::vector<std::byte> file = Bytes(testing::kStoriesModel);
  StoreLe32(0u - 512, &file[20]);
  EXPECT_FALSE(ParseLlama2cModel(file).ok());
  const std::vector<std::byte> classifier(file.begin() + 28,
                                          file.begin() + 28 + 4 * 64 * 512);
  file.insert(file.end(), classifier.begin(), classifier.end());

  const auto model = ParseLlama2cModel(file);

  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->shape().vocabulary, 512u);
}

class Llama2cVocabularyTest : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> Parse() const {
    auto parsed = ParseLlama2cVocabulary(file_, 512);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return *std::move(parsed);
  }

  std::string RoundTrip(const std::string& text) const {
    const auto tokenizer = Parse();
    std::string out;
    for (const uint32_t token : tokenizer->Encode(text)) {
      out += tokenizer->Decode(token);
    }
    return out.empty() ? out : out.substr(1);
  }

  std::vector<std::byte> file_ = Bytes(testing::kStoriesVocabulary);
};

TEST_F(Llama2cVocabularyTest, EncodesAsTheModelWasTrained) {
  // As llama2.c does it: " Once", " upon", " a", " time".
  EXPECT_THAT(Parse()->Encode("Once upon a time"),
              ElementsAre(403, 407, 261, 378));
  EXPECT_THAT(Parse()->Start(), ElementsAre(1));
}

TEST_F(Llama2cVocabularyTest, GivesBackAnyBytes) {
  for (const std::string& text :
       {std::string(testing::kGreedyStory), std::string("two  spaces "),
        std::string("na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x8C\xB3"),
        std::string("\xFF\xC3 \xE2\x82 \xF0"), std::string("\0a\n\t", 4),
        std::string()}) {
    EXPECT_EQ(RoundTrip(text), text);
  }
  std::mt19937_64 rng(7);
  for (int i = 0; i < 50; ++i) {
    std::string text(rng() % 40, '\0');
    for (char& c : text) c = static_cast<char>(rng());
    EXPECT_EQ(RoundTrip(text), text);
  }
}

// What lets words be merged one by one.
TEST_F(Llama2cVocabularyTest, HasNoTokenWithASpaceInside) {
  const auto tokenizer = Parse();
  for (uint32_t token = 0; token < 512; ++token) {
    const std::string text = tokenizer->Decode(token);
    EXPECT_EQ(text.find(' ', text.find_first_not_of(' ') == std::string::npos
                                 ? text.size()
                                 : text.find_first_not_of(' ')),
              std::string::npos)
        << token;
  }
}

TEST_F(Llama2cVocabularyTest, RefusesEveryCut) {
  for (size_t size = 0; size < file_.size(); ++size) {
    const auto parsed =
        ParseLlama2cVocabulary(absl::MakeConstSpan(file_).first(size), 512);
    ASSERT_EQ(ErrorReason(parsed.status()), "MODEL") << size;
  }
  file_.push_back(std::byte{1});
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 512).ok());
}

TEST_F(Llama2cVocabularyTest, RefusesOtherCounts) {
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 511).ok());
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 513).ok());
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 0).ok());
}

TEST_F(Llama2cVocabularyTest, RefusesWrongLengthsAndScores) {
  const std::vector<std::byte> good = file_;
  StoreLe32(0xFFFFFFFF, &file_[8]);  // Length of the first token.
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 512).ok());
  file_ = good;
  StoreLe32(0x7F800000, &file_[4]);  // Its score.
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 512).ok());
  file_ = good;
  file_[0x38] = std::byte{'1'};  // "<0x00>", the token of a byte.
  EXPECT_FALSE(ParseLlama2cVocabulary(file_, 512).ok());
}

}  // namespace
}  // namespace banyan::ctl
