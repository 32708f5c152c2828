// The files of llama2.c: checkpoints in its first format ("version 0", fp32),
// and vocabularies of SentencePiece with their scores. All numbers are 32 bits,
// little-endian.
//
//   checkpoint  i32 dim, hidden_dim, layers, heads, kv_heads, vocabulary (below
//               0: the classifier has weights of its own), positions; then the
//               weights, each kind over all layers; then tables of cosines and
//               sines that nobody needs.
//   vocabulary  i32 longest token; then for each token f32 score, i32 length,
//               bytes.
//
// Both are foreign bytes: sizes are checked before anything is allocated, and a
// file must have exactly the length that its sizes ask for.
//
// Errors: kInvalidArgument reason MODEL.
// Source: github.com/karpathy/llama2.c, the description of its export format.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/ctl/model/llama.h"
#include "client/ctl/model/tokenizer.h"

namespace banyan::ctl {

absl::StatusOr<Llama> ParseLlama2cModel(absl::Span<const std::byte> file);

// A tokenizer that merges by the scores of the vocabulary, and has a token for
// each byte: ids 0, 1 and 2 are <unk>, <s> and </s>, 3 to 258 the bytes.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseLlama2cVocabulary(
    absl::Span<const std::byte> file, uint32_t vocabulary);

}  // namespace banyan::ctl
