// Byte-level BPE: words are cut and merged as GPT-2 does it, and any bytes that
// have tokens come back.
#include "client/ctl/model/byte_pair_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"

namespace banyan::ctl {
namespace {

using ::testing::ElementsAre;

// U+0100 + n as UTF-8: how bytes without a character of their own are written.
std::string Written(uint32_t code) {
  return {static_cast<char>(0xC0 | code >> 6),
          static_cast<char>(0x80 | (code & 63))};
}

// Tokens of all bytes, by byte, then "<end>", then those of merges.
std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (byte > 32 && byte < 127) {
      tokens.push_back(std::string(1, static_cast<char>(byte)));
    } else if (byte > 160 && byte != 173) {
      tokens.push_back(Written(byte));
    } else {
      tokens.push_back(Written(next++));
    }
  }
  tokens.push_back("<end>");
  return tokens;
}

constexpr uint32_t kEnd = 256;

absl::StatusOr<std::unique_ptr<Tokenizer>> Make(
    const std::vector<std::string>& tokens,
    const std::vector<std::string>& merges, SpecialTokens special) {
  const std::vector<absl::string_view> token_views(tokens.begin(),
                                                   tokens.end());
  const std::vector<absl::string_view> merge_views(merges.begin(),
                                                   merges.end());
  return MakeBytePairTokenizer(token_views, merge_views, special);
}

// Every word becomes one token, so that words can be seen.
std::vector<std::string> Words(const std::string& text,
                               const std::vector<std::string>& words) {
  std::vector<std::string> tokens = ByteTokens();
  std::vector<std::string> merges;
  for (const std::string& word : words) {
    std::string joined = tokens[static_cast<uint8_t>(word[0])];
    for (size_t i = 1; i < word.size(); ++i) {
      const std::string next = ByteTokens()[static_cast<uint8_t>(word[i])];
      const std::string merge = joined + " " + next;
      joined += next;
      if (std::find(tokens.begin(), tokens.end(), joined) != tokens.end()) {
        continue;
      }
      merges.push_back(merge);
      tokens.push_back(joined);
    }
  }
  const auto tokenizer = Make(tokens, merges, {.end = kEnd});
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::vector<std::string> out;
  for (const uint32_t token : (*tokenizer)->Encode(text)) {
    out.push_back((*tokenizer)->Decode(token));
  }
  return out;
}

// Merges of pairs of pairs, and so on; each join makes another one possible. In
// a time that grows with the square of a word's length this never ends.
TEST(BytePairTokenizerTest, MergesLongWords) {
  std::vector<std::string> tokens = ByteTokens();
  std::vector<std::string> merges;
  for (size_t size = 1; size <= 8; size *= 2) {
    const std::string half(size, 'a');
    merges.push_back(half + " " + half);
    tokens.push_back(half + half);
  }
  const auto tokenizer = Make(tokens, merges, {.end = kEnd});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  constexpr size_t kWords = 100'000;

  const auto out = (*tokenizer)->Encode(std::string(16 * kWords + 7, 'a'));

  ASSERT_EQ(out.size(), kWords + 3);
  for (size_t i = 0; i < kWords; ++i) ASSERT_EQ(out[i], kEnd + 4) << i;
  EXPECT_EQ((*tokenizer)->Decode(out[kWords]), "aaaa");
  EXPECT_EQ((*tokenizer)->Decode(out[kWords + 1]), "aa");
  EXPECT_EQ((*tokenizer)->Decode(out[kWords + 2]), "a");
}

// The rule itself, on words that overlap themselves: again and again, the most
// urgent pair that is there, and the leftmost of equal ones.
TEST(BytePairTokenizerTest, MergesAsTheRuleSays) {
  std::vector<std::string> tokens = ByteTokens();
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"a", "b"},   {"b", "a"},   {"a", "a"}, {"ab", "a"}, {"aa", "b"},
      {"ba", "ba"}, {"aba", "b"}, {"b", "b"}, {"ab", "ab"}};
  std::mt19937_64 rng(5);
  for (int round = 0; round < 200; ++round) {
    auto order = pairs;
    std::shuffle(order.begin(), order.end(), rng);
    std::vector<std::string> merges;
    auto all = tokens;
    for (const auto& [left, right] : order) {
      merges.push_back(left + " " + right);
      if (std::find(all.begin(), all.end(), left + right) == all.end()) {
        all.push_back(left + right);
      }
    }
    const auto tokenizer = Make(all, merges, {.end = kEnd});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::vector<std::string> pieces;
    std::string word;
    for (int i = 0; i < 20; ++i) {
      pieces.push_back(rng() % 2 ? "a" : "b");
      word += pieces.back();
    }
    for (size_t rank = 0; rank < order.size();) {
      size_t at = 0;
      while (at + 1 < pieces.size() &&
             std::pair(pieces[at], pieces[at + 1]) != order[rank]) {
        ++at;
      }
      if (at + 1 >= pieces.size()) {
        ++rank;
        continue;
      }
      pieces[at] += pieces[at + 1];
      pieces.erase(pieces.begin() + at + 1);
      rank = 0;
    }
    std::vector<std::string> out;
    for (const uint32_t token : (*tokenizer)->Encode(word)) {
      out.push_back((*tokenizer)->Decode(token));
    }
    ASSERT_EQ(out, pieces) << word << ", round " << round;
  }
}

TEST(BytePairTokenizerTest, CutsWords) {
  EXPECT_THAT(Words("ab cd", {"ab", " cd"}), ElementsAre("ab", " cd"));
  EXPECT_THAT(Words("it's", {"it", "'s"}), ElementsAre("it", "'s"));
  EXPECT_THAT(Words("ab  cd", {"ab", " cd"}), ElementsAre("ab", " ", " cd"));
  EXPECT_THAT(Words("a, b", {"a", ",", " b"}), ElementsAre("a", ",", " b"));
  EXPECT_THAT(Words("20", {"20"}), ElementsAre("2", "0"));
  EXPECT_THAT(Words("a 20", {" 2"}), ElementsAre("a", " ", "2", "0"));
  EXPECT_THAT(Words("a  2", {"  "}), ElementsAre("a", "  ", "2"));
  EXPECT_THAT(Words("a\n\nb", {"\n\n"}), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Words("a \n", {" \n"}), ElementsAre("a", " \n"));
}

TEST(BytePairTokenizerTest, MergesTheMostUrgentFirst) {
  std::vector<std::string> tokens = ByteTokens();
  for (const char* const token : {"bc", "ab", "abc"}) tokens.push_back(token);
  const auto tokenizer =
      *Make(tokens, {"b c", "a b", "ab c", "a bc"}, {.end = kEnd});

  EXPECT_THAT(tokenizer->Encode("abc"), ElementsAre(259));
  EXPECT_THAT(tokenizer->Encode("abbc"), ElementsAre(258, 257));
  EXPECT_THAT(tokenizer->Encode("ab"), ElementsAre(258));
}

TEST(BytePairTokenizerTest, GivesBackAnyBytes) {
  const auto tokenizer = *Make(ByteTokens(), {}, {.end = kEnd});
  std::string text;
  for (int round = 0; round < 3; ++round) {
    for (int byte = 0; byte < 256; ++byte) {
      text.push_back(static_cast<char>(byte * (2 * round + 1)));
    }
  }
  text += "na\xC3\xAFve \xE2\x80\x9Cquoted\xE2\x80\x9D \xF0\x9F\x8C\xB3";
  std::string again;
  for (const uint32_t token : tokenizer->Encode(text)) {
    again += tokenizer->Decode(token);
  }
  EXPECT_EQ(again, text);
  EXPECT_TRUE(tokenizer->Start().empty());
  EXPECT_THAT(tokenizer->Break(), ElementsAre('\n', '\n'));
  EXPECT_TRUE(tokenizer->IsEnd(kEnd));
  EXPECT_FALSE(tokenizer->IsEnd(0));
}

TEST(BytePairTokenizerTest, BytesWithoutATokenAreUnknown) {
  std::vector<std::string> tokens = ByteTokens();
  tokens.at(0xFF) = "<unknown>";
  const auto tokenizer = *Make(tokens, {}, {.end = kEnd, .unknown = 0xFF});
  EXPECT_THAT(tokenizer->Encode("a\xFF"), ElementsAre('a', 0xFF));
}

TEST(BytePairTokenizerTest, RefusesWhatDoesNotFit) {
  const std::vector<std::string> good = ByteTokens();
  const auto reason = [](const auto& made) {
    return ErrorReason(made.status());
  };
  EXPECT_EQ(reason(Make(good, {"a"}, {.end = kEnd})), "MODEL");
  EXPECT_EQ(reason(Make(good, {"a b"}, {.end = kEnd})), "MODEL");
  EXPECT_EQ(reason(Make(good, {}, {.end = 257})), "MODEL");
  EXPECT_EQ(reason(Make(good, {}, {.unknown = 257})), "MODEL");
  std::vector<std::string> twice = good;
  twice.push_back("a");
  EXPECT_EQ(reason(Make(twice, {}, {.end = kEnd})), "MODEL");
}

}  // namespace
}  // namespace banyan::ctl
