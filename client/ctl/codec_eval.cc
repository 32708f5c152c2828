#include "client/ctl/codec_eval.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/chart.h"
#include "client/ctl/model/calibrate_model.h"
#include "client/ctl/model/codec_runs.h"
#include "client/ctl/model/divergence.h"
#include "client/ctl/model/kv_codec.h"
#include "kernels/codec/calibrated_codec.h"
#include "kernels/codec/codec_spec.h"

namespace banyan::ctl {
namespace {

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "EVAL", message);
}

// A codec under way.
struct Subject {
  CodecRow row;
  std::unique_ptr<KvRoundTrip> codec;
  std::unique_ptr<CodecShadow> shadow;
  std::unique_ptr<KvCache> cache;  // Of its own run.
  Divergence divergence;
  double loss = 0;  // Sum over tokens, nats.
};

class Evaluation {
 public:
  Evaluation(const LoadedModel& model, const CodecEvalOptions& options,
             const KvLayout& exact, const KvLayout& rounded)
      : model_(model),
        options_(options),
        rounded_(rounded),
        exact_(exact, ElementType::kFp32, options.window_tokens) {}

  // `calibration` is for a codec that wants one; or nullptr.
  absl::Status Add(const std::string& spec,
                   const codec::Calibration* calibration) {
    BANYAN_RETURN_IF_ERROR(codec::ParseBlockSpec(spec).status());
    Subject subject{.row = {.spec = spec}};
    auto made = KvRoundTrip::Make(spec, shape(),
                                  {.block_tokens = options_.block_tokens,
                                   .type = options_.type,
                                   .calibration = calibration});
    if (made.ok()) {
      subject.codec = *std::move(made);
      subject.shadow =
          std::make_unique<CodecShadow>(shape(), rounded_, options_.type,
                                        options_.window_tokens, *subject.codec);
      subject.cache = std::make_unique<KvCache>(rounded_, options_.type,
                                                options_.window_tokens);
      shadows_.Add(*subject.shadow);
    } else {
      subject.row.refused = std::string(made.status().message());
    }
    subjects_.push_back(std::move(subject));
    return absl::OkStatus();
  }

  // One window. `told` says how much of it is done.
  absl::Status Read(absl::Span<const uint32_t> tokens,
                    const std::function<void(double)>& told) {
    exact_.Truncate(0);
    for (Subject& subject : subjects_) {
      if (subject.cache != nullptr) subject.cache->Truncate(0);
    }
    for (size_t at = 0; at < tokens.size(); at += options_.block_tokens) {
      BANYAN_RETURN_IF_ERROR(ReadBlock(tokens, at));
      told(static_cast<double>(at + options_.block_tokens) /
           static_cast<double>(tokens.size()));
    }
    predicted_ += tokens.size() - 1;
    return absl::OkStatus();
  }

  double Perplexity(double loss) const {
    return std::exp(loss / static_cast<double>(predicted_));
  }
  double perplexity() const { return Perplexity(loss_); }

  std::vector<CodecRow> Rows() {
    std::vector<CodecRow> rows;
    for (Subject& subject : subjects_) {
      if (subject.codec != nullptr) Fill(subject);
      rows.push_back(subject.row);
    }
    return rows;
  }

 private:
  const LlamaShape& shape() const { return model_.llama.shape(); }

  // All runs read the block from `at` on. What the last token of the window says
  // is compared with nothing.
  absl::Status ReadBlock(absl::Span<const uint32_t> tokens, size_t at) {
    const size_t step = options_.block_tokens;
    const auto block = tokens.subspan(at, step);
    const auto next = tokens.subspan(at + 1, step);
    logits_.resize(step * shape().vocabulary);
    BANYAN_RETURN_IF_ERROR(model_.llama.Forward(
        block, exact_, absl::MakeSpan(logits_), &shadows_));
    std::vector<std::vector<double>> expected;
    for (size_t i = 0; i < next.size(); ++i) {
      expected.push_back(LogProbabilities(LogitsOf(i)));
      loss_ -= expected[i][next[i]];
    }
    for (Subject& subject : subjects_) {
      if (subject.codec == nullptr) continue;
      CodecInPlace in_place(*subject.codec);
      BANYAN_RETURN_IF_ERROR(model_.llama.Forward(
          block, *subject.cache, absl::MakeSpan(logits_), &in_place));
      for (size_t i = 0; i < next.size(); ++i) {
        const std::vector<double> logs = LogProbabilities(LogitsOf(i));
        subject.divergence.Add(expected[i], logs);
        subject.loss -= logs[next[i]];
      }
    }
    return absl::OkStatus();
  }

  absl::Span<const float> LogitsOf(size_t token) const {
    return absl::MakeConstSpan(logits_).subspan(token * shape().vocabulary,
                                                shape().vocabulary);
  }

  void Fill(Subject& subject) const {
    const KvRoundTrip& codec = *subject.codec;
    const auto gbps = [&](double seconds) {
      return seconds > 0
                 ? static_cast<double>(codec.raw_bytes()) / seconds / 1e9
                 : 0;
    };
    CodecRow& row = subject.row;
    row.bits = codec.bits();
    row.encode_gbps = gbps(codec.encode_seconds());
    row.decode_gbps = gbps(codec.decode_seconds());
    row.key_error = subject.shadow->key_error();
    row.value_error = subject.shadow->value_error();
    row.output_error = subject.shadow->output_error();
    row.kl = subject.divergence.kl();
    row.same_top = subject.divergence.same_top();
    row.perplexity = Perplexity(subject.loss);
    row.layers_kept = codec.layers_kept();
  }

  const LoadedModel& model_;
  const CodecEvalOptions& options_;
  KvLayout rounded_;
  KvCache exact_;
  std::vector<Subject> subjects_;
  CodecShadows shadows_;
  std::vector<float> logits_;  // [token of a block, vocabulary].
  double loss_ = 0;
  uint64_t predicted_ = 0;
};

// Tokens of a window: whole blocks, as many as asked for or as there are.
absl::StatusOr<uint32_t> WindowTokens(const LoadedModel& model,
                                      const CodecEvalOptions& options) {
  const uint32_t block = options.block_tokens;
  const uint32_t most =
      std::min(options.window_tokens, model.llama.shape().positions);
  if (block == 0 || most / block == 0) {
    return Bad(absl::StrCat("window: ", most, " tokens hold no block of ",
                            block, "."));
  }
  return most / block * block;
}

absl::Status TooShort(absl::string_view name, uint32_t window_tokens) {
  return Bad(absl::StrCat(name, ": less than a window of ", window_tokens,
                          " tokens. Give more text, or more tokens of it."));
}

// The calibration of each spec that wants one, in their order; none without a
// text for it.
absl::StatusOr<std::vector<codec::Calibration>> Calibrate(
    const LoadedModel& model, const CodecEvalOptions& options,
    absl::Span<const std::string> names, uint64_t& tokens) {
  std::vector<codec::BlockSpec> specs;
  for (const std::string& name : names) {
    BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                            codec::ParseBlockSpec(name));
    if (codec::WantsCalibration(spec)) specs.push_back(spec);
  }
  if (specs.empty() || options.calibration_text.empty()) {
    return std::vector<codec::Calibration>();
  }
  const CalibrationText text{
      .sequences =
          TextWindows(*model.tokenizer, options.calibration_text,
                      options.window_tokens, options.calibration_tokens),
      .block_tokens = options.block_tokens};
  if (text.sequences.empty()) {
    return TooShort("calibration-text", options.window_tokens);
  }
  tokens = text.sequences.size() * options.window_tokens;
  return CalibrateModel(model.llama, text, specs, options.type);
}

std::vector<std::string> Paragraphs(absl::string_view text) {
  std::vector<std::string> paragraphs(1);
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line(text.substr(at, end - at));
    absl::RemoveExtraAsciiWhitespace(&line);
    std::string& last = paragraphs.back();
    if (!line.empty()) {
      absl::StrAppend(&last, last.empty() ? "" : " ", line);
    } else if (!last.empty()) {
      paragraphs.emplace_back();
    }
    at = end + 1;
  }
  if (paragraphs.back().empty()) paragraphs.pop_back();
  return paragraphs;
}

}  // namespace

std::vector<std::string> DefaultCodecSpecs() {
  constexpr absl::string_view kKeyOptions[] = {":channel", ":channel:pre",
                                               ":white:pre", ":pre"};
  std::vector<std::string> specs;
  for (const std::string& name : codec::CodecNames()) {
    specs.push_back(name);
    for (const absl::string_view option : kKeyOptions) {
      const std::string spec = absl::StrCat("k=", name, option, ",v=", name);
      const bool is_better = specs.back() != name;  // Without the rest, too.
      if (option == ":pre" && is_better) continue;
      if (codec::ParseBlockSpec(spec).ok()) specs.push_back(spec);
    }
  }
  return specs;
}

std::vector<uint32_t> TokensOfText(const Tokenizer& tokenizer,
                                   absl::string_view text,
                                   uint64_t tokens_max) {
  std::vector<uint32_t> tokens;
  const std::vector<uint32_t> pause = tokenizer.Break();
  for (const std::string& paragraph : Paragraphs(text)) {
    if (tokens.size() >= tokens_max) break;
    if (!tokens.empty()) {
      tokens.insert(tokens.end(), pause.begin(), pause.end());
    }
    const std::vector<uint32_t> more = tokenizer.Encode(paragraph);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  if (tokens.size() > tokens_max) tokens.resize(tokens_max);
  return tokens;
}

std::vector<std::vector<uint32_t>> TextWindows(const Tokenizer& tokenizer,
                                               absl::string_view text,
                                               uint32_t window_tokens,
                                               uint64_t tokens_max) {
  const std::vector<uint32_t> start = tokenizer.Start();
  const size_t part = window_tokens - start.size();
  const std::vector<uint32_t> tokens =
      TokensOfText(tokenizer, text, tokens_max);
  std::vector<std::vector<uint32_t>> windows;
  for (size_t at = 0; at + part <= tokens.size(); at += part) {
    windows.push_back(start);
    windows.back().insert(windows.back().end(), &tokens[at],
                          &tokens[at] + part);
  }
  return windows;
}

absl::StatusOr<CodecEvalReport> EvaluateCodecs(
    const LoadedModel& model, absl::string_view text,
    const CodecEvalOptions& options, const CodecEvalProgress& progress) {
  BANYAN_ASSIGN_OR_RETURN(const uint32_t window_tokens,
                          WindowTokens(model, options));
  CodecEvalOptions fitting = options;
  fitting.window_tokens = window_tokens;
  if (fitting.specs.empty()) fitting.specs = DefaultCodecSpecs();
  const LlamaShape& shape = model.llama.shape();
  BANYAN_ASSIGN_OR_RETURN(
      const KvLayout exact,
      shape.Layout(ElementType::kFp32, options.block_tokens));
  BANYAN_ASSIGN_OR_RETURN(const KvLayout rounded,
                          shape.Layout(options.type, options.block_tokens));
  const auto windows =
      TextWindows(*model.tokenizer, text, window_tokens, options.tokens);
  if (windows.empty()) return TooShort("text", window_tokens);

  CodecEvalReport report{
      .model = model.name,
      .windows = windows.size(),
      .tokens = windows.size() * window_tokens,
      .window_tokens = window_tokens,
      .block_tokens = options.block_tokens,
      .type = options.type == ElementType::kBf16 ? "bf16" : "fp16"};
  BANYAN_ASSIGN_OR_RETURN(
      const std::vector<codec::Calibration> calibrations,
      Calibrate(model, fitting, fitting.specs, report.calibration_tokens));
  Evaluation evaluation(model, fitting, exact, rounded);
  size_t calibrated = 0;
  for (const std::string& name : fitting.specs) {
    BANYAN_ASSIGN_OR_RETURN(const codec::BlockSpec spec,
                            codec::ParseBlockSpec(name));
    const bool has_one = codec::WantsCalibration(spec) && !calibrations.empty();
    BANYAN_RETURN_IF_ERROR(
        evaluation.Add(name, has_one ? &calibrations[calibrated++] : nullptr));
  }
  for (size_t window = 0; window < windows.size(); ++window) {
    BANYAN_RETURN_IF_ERROR(evaluation.Read(windows[window], [&](double done) {
      progress.done((static_cast<double>(window) + done) /
                    static_cast<double>(windows.size()));
    }));
    report.windows = window + 1;
    report.tokens = report.windows * window_tokens;
    report.perplexity = evaluation.perplexity();
    report.rows = evaluation.Rows();
    if (report.windows < windows.size()) progress.window(report);
  }
  return report;
}

std::string CodecEvalText(const CodecEvalReport& report) {
  std::string text = absl::StrFormat(
      "%s, %d windows of %d tokens, %s in blocks of %d; perplexity with fp32 "
      "keys and values %.3f\n\n"
      "codec                             bits  ratio  enc GB/s  dec GB/s"
      "   relMSE K   relMSE V   outErr        KL    top-1       ppl\n",
      report.model, report.windows, report.window_tokens, report.type,
      report.block_tokens, report.perplexity);
  for (const CodecRow& row : report.rows) {
    if (!row.refused.empty()) {
      absl::StrAppendFormat(&text, "%-32s  %s\n", row.spec, row.refused);
      continue;
    }
    absl::StrAppendFormat(
        &text,
        "%-32s %5.2f  %5.2f  %8.3f  %8.3f   %8.2e   %8.2e  %7.4f  %8.2e"
        "  %5.1f %%  %8.3f\n",
        row.spec, row.bits, row.ratio(), row.encode_gbps, row.decode_gbps,
        row.key_error, row.value_error, row.output_error, row.kl,
        100 * row.same_top, row.perplexity);
    if (row.layers_kept > 0) {
      absl::StrAppendFormat(&text, "  of it, %d layers of blocks stayed %s\n",
                            row.layers_kept, report.type);
    }
  }
  return text;
}

std::string CodecEvalJson(const CodecEvalReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const CodecRow& row : report.rows) {
    if (!row.refused.empty()) {
      rows.push_back({{"codec", row.spec}, {"refused", row.refused}});
      continue;
    }
    rows.push_back({{"codec", row.spec},
                    {"bits", row.bits},
                    {"ratio", row.ratio()},
                    {"encode_gbps", row.encode_gbps},
                    {"decode_gbps", row.decode_gbps},
                    {"rel_mse_keys", row.key_error},
                    {"rel_mse_values", row.value_error},
                    {"output_error", row.output_error},
                    {"kl", row.kl},
                    {"same_top", row.same_top},
                    {"perplexity", row.perplexity},
                    {"layers_kept", row.layers_kept}});
  }
  const nlohmann::ordered_json json = {
      {"model", report.model},
      {"windows", report.windows},
      {"window_tokens", report.window_tokens},
      {"block_tokens", report.block_tokens},
      {"type", report.type},
      {"tokens", report.tokens},
      {"calibration_tokens", report.calibration_tokens},
      {"perplexity_fp32", report.perplexity},
      {"codecs", rows}};
  return json.dump(2) + "\n";
}

std::string CodecEvalHtml(const CodecEvalReport& report) {
  std::vector<Mark> kl;
  std::vector<Mark> output;
  for (const CodecRow& row : report.rows) {
    if (!row.refused.empty()) continue;
    kl.push_back({.name = row.spec, .x = row.bits, .y = row.kl});
    output.push_back({.name = row.spec, .x = row.bits, .y = row.output_error});
  }
  return HtmlPage(
      "Banyan codecs", CodecEvalText(report),
      absl::StrCat(MarkChart("Next tokens", "bits of an element",
                             "KL to fp32 keys and values, nats", kl),
                   MarkChart("Attention outputs", "bits of an element",
                             "relative error", output)));
}

}  // namespace banyan::ctl
