#include "client/ctl/model/llama2c.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::ctl {
namespace {

constexpr size_t kHeadBytes = 28;
constexpr uint32_t kStartToken = 1;
constexpr uint32_t kEndToken = 2;
constexpr uint32_t kFirstByteToken = 3;
constexpr uint32_t kByteTokensEnd = kFirstByteToken + 256;
constexpr uint32_t kTokenBytesMax = 1024;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL", message);
}

// ---- Checkpoints ----

struct Head {
  LlamaShape shape;
  bool has_classifier = false;
};

absl::StatusOr<Head> ParseHead(absl::Span<const std::byte> file) {
  if (file.size() < kHeadBytes) {
    return Bad(absl::StrCat("model file: ", file.size(),
                            " bytes, less than its head of ", kHeadBytes, "."));
  }
  Head head;
  LlamaShape& shape = head.shape;
  uint32_t* const sizes[] = {
      &shape.dim,      &shape.hidden_dim, &shape.layers,   &shape.heads,
      &shape.kv_heads, &shape.vocabulary, &shape.positions};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    *sizes[i] = LoadLe32(&file[4 * i]);
  }
  if (static_cast<int32_t>(shape.vocabulary) < 0) {
    head.has_classifier = true;
    shape.vocabulary = 0 - shape.vocabulary;
  }
  BANYAN_RETURN_IF_ERROR(shape.Validate());
  return head;
}

// Sizes are below 2^20 each, so that none of these sums overflows 64 bits.
uint64_t FileBytes(const Head& head) {
  const LlamaShape& shape = head.shape;
  const uint64_t dim = shape.dim;
  const uint64_t embedding = dim * shape.vocabulary;
  const uint64_t layer = 2 * dim + 2 * dim * dim + 2 * dim * shape.kv_dim() +
                         3 * dim * shape.hidden_dim;
  const uint64_t tables = uint64_t{shape.positions} * shape.head_dim();
  const uint64_t floats = embedding * (head.has_classifier ? 2 : 1) +
                          shape.layers * layer + dim + tables;
  return kHeadBytes + 4 * floats;
}

// Takes weights off the front of what is left.
void Take(uint64_t count, absl::Span<const std::byte>& left,
          std::vector<float>& to) {
  to.resize(count);
  std::memcpy(to.data(), left.data(), 4 * count);
  left.remove_prefix(4 * count);
}

using Part = std::vector<float> LlamaLayer::*;

LlamaWeights TakeWeights(const Head& head, absl::Span<const std::byte> left) {
  const LlamaShape& shape = head.shape;
  const uint64_t dim = shape.dim;
  const uint64_t embedding = dim * shape.vocabulary;
  LlamaWeights weights;
  weights.layers.resize(shape.layers);
  Take(embedding, left, weights.embedding);
  const std::pair<Part, uint64_t> parts[] = {
      {&LlamaLayer::attention_norm, dim},
      {&LlamaLayer::query, dim * dim},
      {&LlamaLayer::key, dim * shape.kv_dim()},
      {&LlamaLayer::value, dim * shape.kv_dim()},
      {&LlamaLayer::output, dim * dim},
      {&LlamaLayer::ffn_norm, dim},
      {&LlamaLayer::gate, dim * shape.hidden_dim},
      {&LlamaLayer::down, dim * shape.hidden_dim},
      {&LlamaLayer::up, dim * shape.hidden_dim}};
  for (const auto& [part, count] : parts) {
    for (LlamaLayer& layer : weights.layers) Take(count, left, layer.*part);
  }
  Take(dim, left, weights.norm);
  left.remove_prefix(4 * uint64_t{shape.positions} * shape.head_dim());
  if (head.has_classifier) Take(embedding, left, weights.classifier);
  return weights;
}

// ---- Vocabularies ----

struct Piece {
  std::string text;
  float score = 0;
};

// Bytes of the UTF-8 character that starts here; 1 for what starts none.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  size_t bytes = 1;
  if (lead >= 0xF0 && lead < 0xF8) {
    bytes = 4;
  } else if (lead >= 0xE0) {
    bytes = 3;
  } else if (lead >= 0xC0) {
    bytes = 2;
  }
  if (lead >= 0xF8 || bytes > text.size()) return 1;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return bytes;
}

class ScoredTokenizer final : public Tokenizer {
 public:
  explicit ScoredTokenizer(std::vector<Piece> pieces)
      : pieces_(std::move(pieces)) {
    for (uint32_t id = kByteTokensEnd; id < pieces_.size(); ++id) {
      ids_.emplace(pieces_[id].text, id);  // The first of equal ones counts.
    }
  }

  uint32_t vocabulary() const override {
    return static_cast<uint32_t>(pieces_.size());
  }

  std::vector<uint32_t> Start() const override { return {kStartToken}; }
  std::vector<uint32_t> Break() const override { return {}; }

  // A text begins with a space of its own. Words are merged one by one: no
  // token has a space but in front.
  std::vector<uint32_t> Encode(absl::string_view text) const override {
    std::vector<uint32_t> tokens;
    const std::string spaced = absl::StrCat(" ", text);
    for (size_t at = 0; at < spaced.size();) {
      size_t end = spaced.find_first_not_of(' ', at);
      end = spaced.find(' ', end == std::string::npos ? spaced.size() : end);
      end = std::min(end, spaced.size());
      for (const uint32_t token :
           Merge(absl::string_view(spaced).substr(at, end - at))) {
        tokens.push_back(token);
      }
      at = end;
    }
    return tokens;
  }

  std::string Decode(uint32_t token) const override {
    if (token < kFirstByteToken) return "";
    if (token < kByteTokensEnd) {
      return std::string(1, static_cast<char>(token - kFirstByteToken));
    }
    return pieces_[token].text;
  }

  bool IsEnd(uint32_t token) const override {
    return token == kStartToken || token == kEndToken;
  }

 private:
  std::vector<uint32_t> Characters(absl::string_view text) const {
    std::vector<uint32_t> tokens;
    while (!text.empty()) {
      const absl::string_view character = text.substr(0, CharacterBytes(text));
      text.remove_prefix(character.size());
      if (const auto id = ids_.find(character); id != ids_.end()) {
        tokens.push_back(id->second);
        continue;
      }
      for (const char byte : character) {
        tokens.push_back(kFirstByteToken + static_cast<uint8_t>(byte));
      }
    }
    return tokens;
  }

  // Joins the two neighbours whose union has the best score, again and again.
  std::vector<uint32_t> Merge(absl::string_view text) const {
    std::vector<uint32_t> tokens = Characters(text);
    while (tokens.size() > 1) {
      size_t best_at = tokens.size();
      uint32_t best_id = 0;
      for (size_t i = 0; i + 1 < tokens.size(); ++i) {
        const auto id = ids_.find(
            absl::StrCat(pieces_[tokens[i]].text, pieces_[tokens[i + 1]].text));
        if (id == ids_.end()) continue;
        if (best_at < tokens.size() &&
            pieces_[id->second].score <= pieces_[best_id].score) {
          continue;
        }
        best_at = i;
        best_id = id->second;
      }
      if (best_at == tokens.size()) break;
      tokens[best_at] = best_id;
      tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
    }
    return tokens;
  }

  std::vector<Piece> pieces_;
  absl::flat_hash_map<std::string, uint32_t> ids_;
};

absl::StatusOr<Piece> TakePiece(absl::Span<const std::byte>& left) {
  if (left.size() < 8) return Bad("vocabulary file: ends early.");
  Piece piece{.score = std::bit_cast<float>(LoadLe32(&left[0]))};
  const uint32_t bytes = LoadLe32(&left[4]);
  left.remove_prefix(8);
  if (bytes == 0 || bytes > kTokenBytesMax || bytes > left.size()) {
    return Bad(absl::StrCat("vocabulary file: a token of ", bytes,
                            " bytes, want 1 to ", kTokenBytesMax,
                            " and no more than is left."));
  }
  if (!std::isfinite(piece.score)) {
    return Bad("vocabulary file: a score is not finite.");
  }
  piece.text = std::string(AsText(left.first(bytes)));
  left.remove_prefix(bytes);
  return piece;
}

}  // namespace

absl::StatusOr<Llama> ParseLlama2cModel(absl::Span<const std::byte> file) {
  BANYAN_ASSIGN_OR_RETURN(const Head head, ParseHead(file));
  const uint64_t bytes = FileBytes(head);
  if (file.size() != bytes) {
    return Bad(absl::StrCat("model file: ", file.size(),
                            " bytes; its sizes ask for ", bytes, "."));
  }
  return Llama::Make(head.shape, TakeWeights(head, file.subspan(kHeadBytes)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseLlama2cVocabulary(
    absl::Span<const std::byte> file, uint32_t vocabulary) {
  if (file.size() < 4) return Bad("vocabulary file: ends early.");
  if (vocabulary < kByteTokensEnd) {
    return Bad(absl::StrCat("vocabulary: ", vocabulary, " tokens, want ",
                            kByteTokensEnd, " or more."));
  }
  absl::Span<const std::byte> left = file.subspan(4);
  std::vector<Piece> pieces;
  for (uint32_t id = 0; id < vocabulary; ++id) {
    BANYAN_ASSIGN_OR_RETURN(Piece piece, TakePiece(left));
    const uint32_t byte = id - kFirstByteToken;
    if (byte < 256 && piece.text != absl::StrFormat("<0x%02X>", byte)) {
      return Bad(absl::StrCat("vocabulary file: token ", id,
                              " is not that of byte ", byte, "."));
    }
    pieces.push_back(std::move(piece));
  }
  if (!left.empty()) {
    return Bad(absl::StrCat("vocabulary file: ", left.size(),
                            " bytes after its last token."));
  }
  return std::make_unique<ScoredTokenizer>(std::move(pieces));
}

}  // namespace banyan::ctl
