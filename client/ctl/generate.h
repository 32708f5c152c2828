// The command `banyanctl model generate`: a model continues a prompt. The longest
// stored prefix of it comes from Banyan, the rest is computed, and full blocks
// of what was computed are stored.
//
// Tokens are the likeliest ones, so a text depends on the prompt only, whether or
// not its prefix was stored. With a codec, what was read goes through the codec
// first, the text is that of a reader of such blocks, and its next tokens are
// compared with those of the blocks as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/ctl/model/loaded_model.h"
#include "client/ctl/model/prefix_store.h"

namespace banyan::ctl {

struct GenerateOptions {
  std::string prompt;
  uint32_t tokens = 64;  // To generate, at most.
  uint32_t block_tokens = 16;
  std::string codec;  // A spec, or empty.
};

// What a codec did to the prefix that was read.
struct CodecEffect {
  std::string spec;
  double bits = 0;      // Of an element of the prefix, all overhead included.
  double kl = 0;        // Mean over the generated tokens, nats.
  double same_top = 0;  // Share of them.
};

struct GenerateReport {
  std::string text;  // The prompt and what follows.
  uint32_t prompt_tokens = 0;
  uint32_t stored_tokens = 0;    // Of the prompt, read from Banyan.
  uint32_t computed_tokens = 0;  // The others of the prompt.
  uint32_t generated_tokens = 0;
  uint32_t blocks_written = 0;
  double first_token_ms = 0;  // From the question to Banyan on.
  double total_ms = 0;
  std::optional<CodecEffect> codec;
  std::string store_error;  // Why Banyan was not asked to the end.
};

// `store` may be nullptr: all is computed. Nothing is stored with a codec, as
// what is computed behind a changed prefix is no longer that of its key.
// Errors: kInvalidArgument for a prompt that leaves no room, or for a codec.
//         A node that fails is none: the rest is computed.
absl::StatusOr<GenerateReport> Generate(const LoadedModel& model,
                                        PrefixStore* store,
                                        const GenerateOptions& options);

std::string GenerateText(const GenerateReport& report);
std::string GenerateJson(const GenerateReport& report);

}  // namespace banyan::ctl
