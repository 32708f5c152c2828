// Llama models and their tokenizers from GGUF files: architecture "llama",
// tokenizer "gpt2" (byte-level BPE).
//
// Queries and keys of such files are permuted for rotary pairs of neighbours,
// which is how Llama rotates.
//
// Errors: kInvalidArgument reason MODEL.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/ctl/model/gguf_file.h"
#include "client/ctl/model/llama.h"
#include "client/ctl/model/tokenizer.h"

namespace banyan::ctl {

absl::StatusOr<Llama> LlamaOfGguf(const GgufFile& file);

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerOfGguf(
    const GgufFile& file);

}  // namespace banyan::ctl
