// Text to token ids and back.
//
// Threads: immutable, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace banyan::ctl {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual uint32_t vocabulary() const = 0;

  // What a sequence of this model begins with; may be nothing.
  virtual std::vector<uint32_t> Start() const = 0;

  // What stands between two paragraphs; may be nothing.
  virtual std::vector<uint32_t> Break() const = 0;

  // Tokens of a text in the middle of a sequence. Any bytes.
  virtual std::vector<uint32_t> Encode(absl::string_view text) const = 0;

  // The bytes of one token. Requires: token < vocabulary().
  virtual std::string Decode(uint32_t token) const = 0;

  // True for a token after which there is nothing more to say.
  virtual bool IsEnd(uint32_t token) const = 0;
};

}  // namespace banyan::ctl
