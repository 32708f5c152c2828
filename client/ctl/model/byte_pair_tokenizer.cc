#include "client/ctl/model/byte_pair_tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::ctl {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL", message);
}

// The printable character of each byte, as UTF-8: itself if it has one in
// Latin-1, else one of those from U+0100 on.
const std::array<std::string, 256>& Characters() {
  static const auto* const characters = [] {
    auto* const made = new std::array<std::string, 256>;
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool is_printable =
          (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
      const uint32_t code = is_printable ? byte : next++;
      (*made)[byte] = code < 128
                          ? std::string(1, static_cast<char>(code))
                          : std::string{static_cast<char>(0xC0 | code >> 6),
                                        static_cast<char>(0x80 | (code & 63))};
    }
    return made;
  }();
  return *characters;
}

// A character of a text and what it is for the cutting into words.
enum class Kind : uint8_t { kSpace, kLetter, kDigit, kOther };
struct Character {
  size_t bytes;
  Kind kind;
};

Character CharacterAt(absl::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 128) {
    if (absl::ascii_isspace(lead)) return {1, Kind::kSpace};
    if (absl::ascii_isalpha(lead)) return {1, Kind::kLetter};
    if (absl::ascii_isdigit(lead)) return {1, Kind::kDigit};
    return {1, Kind::kOther};
  }
  size_t bytes = 1;
  uint32_t code = lead < 0xE0 ? lead & 31 : lead < 0xF0 ? lead & 15 : lead & 7;
  while (bytes < 4 && at + bytes < text.size() &&
         (static_cast<uint8_t>(text[at + bytes]) & 0xC0) == 0x80) {
    code = code << 6 | (static_cast<uint8_t>(text[at + bytes]) & 63);
    ++bytes;
  }
  if (code == 0xA0 || code == 0x3000) return {bytes, Kind::kSpace};
  const bool is_sign = code < 0xC0 || (code >= 0x2000 && code < 0x2070);
  return {bytes, is_sign ? Kind::kOther : Kind::kLetter};
}

// End of the run of characters of this kind.
size_t EndOfRun(absl::string_view text, size_t at, Kind kind) {
  while (at < text.size()) {
    const Character character = CharacterAt(text, at);
    if (character.kind != kind) break;
    at += character.bytes;
  }
  return at;
}

// Bytes of the ending that an apostrophe begins here; 0 if there is none.
size_t EndingBytes(absl::string_view text) {
  for (const absl::string_view ending :
       {"'re", "'ve", "'ll", "'s", "'t", "'m", "'d"}) {
    if (absl::StartsWith(text, ending)) return ending.size();
  }
  return 0;
}

size_t EndOfWord(absl::string_view text, size_t at) {
  if (const size_t bytes = EndingBytes(text.substr(at)); bytes > 0) {
    return at + bytes;
  }
  const Character first = CharacterAt(text, at);
  if (first.kind == Kind::kDigit) return at + 1;
  if (first.kind != Kind::kSpace) return EndOfRun(text, at, first.kind);
  const size_t end = EndOfRun(text, at, Kind::kSpace);
  if (end == text.size()) return end;
  // The last one stands by itself, or, as a space, goes with what follows it;
  // not before a digit.
  const Kind next = CharacterAt(text, end).kind;
  if (next == Kind::kDigit || static_cast<uint8_t>(text[end - 1]) >= 128) {
    return end;
  }
  if (end - at > 1) return end - 1;
  return text[at] == ' ' ? EndOfRun(text, end, next) : end;
}

using Pair = std::pair<uint32_t, uint32_t>;

// No piece, no token.
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

class BytePairTokenizer final : public Tokenizer {
 public:
  BytePairTokenizer(std::vector<std::string> texts,
                    std::array<uint32_t, 256> bytes,
                    absl::flat_hash_map<Pair, Pair> merges, uint32_t end)
      : texts_(std::move(texts)),
        bytes_(bytes),
        merges_(std::move(merges)),
        end_(end) {}

  uint32_t vocabulary() const override {
    return static_cast<uint32_t>(texts_.size());
  }
  std::vector<uint32_t> Start() const override { return {}; }
  // Line ends in front of a word are words of their own.
  std::vector<uint32_t> Break() const override {
    std::vector<uint32_t> tokens;
    for (int line = 0; line < 2; ++line) {
      for (const uint32_t token : Encode("\n")) tokens.push_back(token);
    }
    return tokens;
  }
  std::string Decode(uint32_t token) const override { return texts_[token]; }
  bool IsEnd(uint32_t token) const override { return token == end_; }

  std::vector<uint32_t> Encode(absl::string_view text) const override {
    std::vector<uint32_t> tokens;
    for (size_t at = 0; at < text.size();) {
      const size_t end = EndOfWord(text, at);
      for (const uint32_t token : Merge(text.substr(at, end - at))) {
        tokens.push_back(token);
      }
      at = end;
    }
    return tokens;
  }

 private:
  // A merge that was possible when it was queued. The most urgent is first, of
  // equal ones the leftmost.
  struct Candidate {
    uint32_t rank;
    uint32_t at;  // Of the left piece.
    uint32_t left;
    uint32_t right;
    uint32_t joined;

    bool operator>(const Candidate& other) const {
      return std::pair(rank, at) > std::pair(other.rank, other.at);
    }
  };
  using Queue = std::priority_queue<Candidate, std::vector<Candidate>,
                                    std::greater<Candidate>>;

  // A token of a word, in a list. Pieces lie where their first byte does.
  struct Piece {
    uint32_t token;
    uint32_t previous;
    uint32_t next;
  };

  void AddCandidate(const std::vector<Piece>& pieces, uint32_t at,
                    Queue& queue) const {
    const uint32_t next = pieces[at].next;
    if (next == kNone) return;
    const Pair pair{pieces[at].token, pieces[next].token};
    const auto merge = merges_.find(pair);
    if (merge == merges_.end()) return;
    queue.push({merge->second.first, at, pair.first, pair.second,
                merge->second.second});
  }

  // Joins the neighbours whose merge is the most urgent, again and again.
  // Requires: a word of less than 2^32 - 1 bytes.
  // Cost: n log n in its bytes.
  std::vector<uint32_t> Merge(absl::string_view word) const {
    const auto size = static_cast<uint32_t>(word.size());
    std::vector<Piece> pieces(size);
    for (uint32_t i = 0; i < size; ++i) {
      pieces[i] = {.token = bytes_[static_cast<uint8_t>(word[i])],
                   .previous = i == 0 ? kNone : i - 1,
                   .next = i + 1 == size ? kNone : i + 1};
    }
    Queue queue;
    for (uint32_t i = 0; i < size; ++i) AddCandidate(pieces, i, queue);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Piece& left = pieces[best.at];
      // Not if one of them has been joined to another meanwhile.
      if (left.token != best.left || left.next == kNone ||
          pieces[left.next].token != best.right) {
        continue;
      }
      Join(best, pieces);
      AddCandidate(pieces, best.at, queue);
      if (left.previous != kNone) AddCandidate(pieces, left.previous, queue);
    }
    std::vector<uint32_t> tokens;
    for (uint32_t i = 0; i < size; i = pieces[i].next) {
      tokens.push_back(pieces[i].token);
    }
    return tokens;
  }

  static void Join(const Candidate& best, std::vector<Piece>& pieces) {
    Piece& left = pieces[best.at];
    Piece& right = pieces[left.next];
    left.token = best.joined;
    right.token = kNone;  // No token: no candidate finds it any more.
    left.next = right.next;
    if (left.next != kNone) pieces[left.next].previous = best.at;
  }

  std::vector<std::string> texts_;          // Bytes of each token.
  std::array<uint32_t, 256> bytes_;         // Tokens of single bytes.
  absl::flat_hash_map<Pair, Pair> merges_;  // To rank and joined token.
  uint32_t end_;
};

// The bytes that a token's characters stand for; tokens with others, such as
// control tokens, stand for themselves.
std::string BytesOf(absl::string_view token,
                    const absl::flat_hash_map<absl::string_view, char>& bytes) {
  std::string text;
  for (size_t at = 0; at < token.size();) {
    const size_t size = static_cast<uint8_t>(token[at]) < 128 ? 1 : 2;
    const auto byte = bytes.find(token.substr(at, size));
    if (byte == bytes.end()) return std::string(token);
    text.push_back(byte->second);
    at += size;
  }
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBytePairTokenizer(
    absl::Span<const absl::string_view> tokens,
    absl::Span<const absl::string_view> merges, const SpecialTokens& special) {
  absl::flat_hash_map<absl::string_view, uint32_t> ids;
  absl::flat_hash_map<absl::string_view, char> bytes;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    bytes.emplace(Characters()[byte], static_cast<char>(byte));
  }
  std::vector<std::string> texts;
  for (uint32_t id = 0; id < tokens.size(); ++id) {
    if (!ids.emplace(tokens[id], id).second) {
      return Bad("vocabulary: two tokens of one text.");
    }
    texts.push_back(BytesOf(tokens[id], bytes));
  }
  if (std::max(special.end, special.unknown) >= tokens.size()) {
    return Bad("vocabulary: a special token that is not there.");
  }
  std::array<uint32_t, 256> singles{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const auto id = ids.find(Characters()[byte]);
    singles[byte] =
        id == ids.end() ? static_cast<uint32_t>(special.unknown) : id->second;
  }
  absl::flat_hash_map<Pair, Pair> ranks;
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    const size_t space = merge.find(' ');
    if (space == absl::string_view::npos) return Bad("merges: no pair.");
    const auto left = ids.find(merge.substr(0, space));
    const auto right = ids.find(merge.substr(space + 1));
    const auto joined =
        ids.find(absl::StrCat(merge.substr(0, space), merge.substr(space + 1)));
    if (left == ids.end() || right == ids.end() || joined == ids.end()) {
      return Bad("merges: of tokens that are not there.");
    }
    ranks.emplace(Pair{left->second, right->second},
                  Pair{rank, joined->second});
  }
  return std::make_unique<BytePairTokenizer>(
      std::move(texts), singles, std::move(ranks),
      static_cast<uint32_t>(special.end));
}

}  // namespace banyan::ctl
