// The byte-level BPE of GPT-2: bytes are written as printable characters, words
// are merged pair by pair in the order of a list.
//
// Words: an apostrophe with its ending, letters, one digit, or other characters,
// each but digits with a space in front if there is one; else white space. Outside
// ASCII, letters are all characters but spaces and punctuation of the blocks
// Latin-1 and General Punctuation, so texts with other scripts' digits or signs
// are cut a little differently than the models were trained on.
//
// Source: Radford et al. (2019); the pattern "smollm" of llama.cpp.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/ctl/model/tokenizer.h"

namespace banyan::ctl {

// What a sequence ends with, and what stands for bytes that have no token, such
// as those that UTF-8 never has.
struct SpecialTokens {
  uint64_t end = 0;
  uint64_t unknown = 0;
};

// Tokens by id, and merges as "left right", the most urgent first. Sequences
// begin with nothing.
// Errors: kInvalidArgument reason MODEL.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBytePairTokenizer(
    absl::Span<const absl::string_view> tokens,
    absl::Span<const absl::string_view> merges, const SpecialTokens& special);

}  // namespace banyan::ctl
