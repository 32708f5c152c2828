// The command `banyanctl codec eval`: what codecs do to the keys and values of a
// real model that reads a text, as a table, as JSON (fixed field names) and as
// one self-contained HTML page with charts of error against bits.
//
// Method: the text is cut into windows, each of which starts a sequence. A first
//         run keeps keys and values in fp32; what each codec makes of them gives
//         the errors of keys, values and attention outputs. One run for each
//         codec reads nothing but decoded keys and values, of every token and in
//         every layer, and its next tokens are compared with those of the first
//         run. All runs read the text as it is, whatever they would have said,
//         block by block, side by side.
// Source: the metrics are those of KVQuant and KIVI (perplexity), and of
//         llama.cpp's evaluation of quantised models (KL, same top).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/ctl/model/loaded_model.h"

namespace banyan::ctl {

// Relative to the repository.
inline constexpr char kDefaultTextPath[] = "tests/testing/texts/jargon.txt";

struct CodecEvalOptions {
  std::vector<std::string> specs;  // Empty: those of DefaultCodecSpecs.
  uint32_t block_tokens = 64;
  uint32_t window_tokens = 512;  // Whole blocks; cut to what the model has.
  uint32_t tokens = 4096;        // Read in all, at most; whole windows.
  ElementType type = ElementType::kFp16;  // Of what is encoded; or kBf16.
  // Codecs that want a calibration get one from this text, of the same windows;
  // empty: they are refused.
  std::string calibration_text;
  uint32_t calibration_tokens = 8192;
};

// One codec. Errors are against the fp32 run.
struct CodecRow {
  std::string spec;
  std::string refused;     // Why it cannot encode such blocks; else empty.
  double bits = 0;         // Of an element, all that is stored included.
  double encode_gbps = 0;  // GB/s of what is encoded, one thread.
  double decode_gbps = 0;
  double key_error = 0;  // Squared error over squared size.
  double value_error = 0;
  double output_error = 0;  // Mean of |o - o'| / |o| over heads and tokens.
  double kl = 0;            // Of next tokens, nats.
  double same_top = 0;      // Share of tokens.
  double perplexity = 0;
  uint64_t layers_kept = 0;  // That it would not encode, and stayed.

  double ratio() const { return bits > 0 ? 16 / bits : 0; }
};

struct CodecEvalReport {
  std::string model;
  uint64_t windows = 0;
  uint64_t tokens = 0;
  uint32_t window_tokens = 0;
  uint32_t block_tokens = 0;
  std::string type;  // Of the elements that were encoded.
  uint64_t calibration_tokens = 0;
  double perplexity = 0;  // Of the fp32 run.
  std::vector<CodecRow> rows;
};

// Every codec there is, by its name and with the options for keys that it has.
std::vector<std::string> DefaultCodecSpecs();

// The paragraphs of a text as tokens, with the model's break between them, white
// space as single spaces; no more than so many.
std::vector<uint32_t> TokensOfText(const Tokenizer& tokenizer,
                                   absl::string_view text, uint64_t tokens_max);

// The text as sequences of so many tokens each, which fit `tokens_max`.
std::vector<std::vector<uint32_t>> TextWindows(const Tokenizer& tokenizer,
                                               absl::string_view text,
                                               uint32_t window_tokens,
                                               uint64_t tokens_max);

// Called now and then.
struct CodecEvalProgress {
  std::function<void(double share)> done = [](double) {};
  // What is known after each window but the last: a long run has much to say
  // before its end.
  std::function<void(const CodecEvalReport&)> window =
      [](const CodecEvalReport&) {};
};

// Errors: kInvalidArgument for a spec that does not parse, for sizes that do
//         not fit, or for a text that does not fill a window.
absl::StatusOr<CodecEvalReport> EvaluateCodecs(
    const LoadedModel& model, absl::string_view text,
    const CodecEvalOptions& options, const CodecEvalProgress& progress);

std::string CodecEvalText(const CodecEvalReport& report);
std::string CodecEvalJson(const CodecEvalReport& report);
std::string CodecEvalHtml(const CodecEvalReport& report);

}  // namespace banyan::ctl
