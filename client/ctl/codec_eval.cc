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
#include "client/ctl/model/codec_runs.h"
#include "client/ctl/model/divergence.h"
#include "client/ctl/model/kv_codec.h"
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
  Divergence divergence;
  double loss = 0;  // Sum over tokens, nats.
};

class Evaluation {
 public:
  Evaluation(const LoadedModel& model, const CodecEvalOptions& options,
             const KvLayout& exact, const KvLayout& rounded)
      : model_(model), options_(options), exact_(exact), rounded_(rounded) {}

  absl::Status Add(const std::string& spec) {
    BANYAN_RETURN_IF_ERROR(codec::ParseBlockSpec(spec).status());
    Subject subject{.row = {.spec = spec}};
    auto made = KvRoundTrip::Make(spec, shape(), options_.block_tokens);
    if (made.ok()) {
      subject.codec = *std::move(made);
      subject.shadow = std::make_unique<CodecShadow>(
          shape(), rounded_, options_.window_tokens, *subject.codec);
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
    std::vector<float> expected;
    BANYAN_RETURN_IF_ERROR(
        Run(tokens, ElementType::kFp32, exact_, shadows_, expected));
    loss_ += Loss(tokens, expected);
    std::vector<float> logits;
    for (size_t i = 0; i < subjects_.size(); ++i) {
      told(static_cast<double>(i + 1) /
           static_cast<double>(subjects_.size() + 1));
      Subject& subject = subjects_[i];
      if (subject.codec == nullptr) continue;
      CodecInPlace in_place(*subject.codec);
      BANYAN_RETURN_IF_ERROR(
          Run(tokens, ElementType::kFp16, rounded_, in_place, logits));
      subject.loss += Loss(tokens, logits);
      for (size_t at = 0; at + 1 < tokens.size(); ++at) {
        subject.divergence.Add(LogitsOf(expected, at), LogitsOf(logits, at));
      }
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

  absl::Span<const float> LogitsOf(const std::vector<float>& logits,
                                   size_t token) const {
    return absl::MakeConstSpan(logits).subspan(token * shape().vocabulary,
                                               shape().vocabulary);
  }

  // Reads the tokens block by block.
  absl::Status Run(absl::Span<const uint32_t> tokens, ElementType type,
                   const KvLayout& layout, ForwardObserver& observer,
                   std::vector<float>& logits) const {
    const size_t step = options_.block_tokens;
    KvCache cache(layout, type, static_cast<uint32_t>(tokens.size()));
    logits.resize(tokens.size() * shape().vocabulary);
    for (size_t at = 0; at < tokens.size(); at += step) {
      BANYAN_RETURN_IF_ERROR(model_.llama.Forward(
          tokens.subspan(at, step), cache,
          absl::MakeSpan(logits).subspan(at * shape().vocabulary,
                                         step * shape().vocabulary),
          &observer));
    }
    return absl::OkStatus();
  }

  // How surprising each token was, all together.
  double Loss(absl::Span<const uint32_t> tokens,
              const std::vector<float>& logits) const {
    double loss = 0;
    for (size_t at = 0; at + 1 < tokens.size(); ++at) {
      loss -= LogProbabilities(LogitsOf(logits, at))[tokens[at + 1]];
    }
    return loss;
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
  KvLayout exact_;
  KvLayout rounded_;
  std::vector<Subject> subjects_;
  CodecShadows shadows_;
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
  constexpr absl::string_view kKeyOptions[] = {":channel", ":white:pre",
                                               ":pre"};
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
  for (const std::string& paragraph : Paragraphs(text)) {
    for (const uint32_t token : tokenizer.Encode(paragraph)) {
      if (tokens.size() == tokens_max) return tokens;
      tokens.push_back(token);
    }
  }
  return tokens;
}

absl::StatusOr<CodecEvalReport> EvaluateCodecs(
    const LoadedModel& model, absl::string_view text,
    const CodecEvalOptions& options,
    const std::function<void(double)>& progress) {
  BANYAN_ASSIGN_OR_RETURN(const uint32_t window_tokens,
                          WindowTokens(model, options));
  const LlamaShape& shape = model.llama.shape();
  BANYAN_ASSIGN_OR_RETURN(
      const KvLayout exact,
      shape.Layout(ElementType::kFp32, options.block_tokens));
  BANYAN_ASSIGN_OR_RETURN(
      const KvLayout rounded,
      shape.Layout(ElementType::kFp16, options.block_tokens));
  const std::vector<uint32_t> start = model.tokenizer->Start();
  const size_t part = window_tokens - start.size();
  const std::vector<uint32_t> tokens =
      TokensOfText(*model.tokenizer, text, options.tokens);
  const size_t windows = tokens.size() / part;
  if (windows == 0) {
    return Bad(absl::StrCat("text: ", tokens.size(), " tokens, less than the ",
                            part,
                            " of a window. Give more text, or --tokens."));
  }
  CodecEvalOptions fitting = options;
  fitting.window_tokens = window_tokens;
  Evaluation evaluation(model, fitting, exact, rounded);
  for (const std::string& spec :
       options.specs.empty() ? DefaultCodecSpecs() : options.specs) {
    BANYAN_RETURN_IF_ERROR(evaluation.Add(spec));
  }
  for (size_t window = 0; window < windows; ++window) {
    std::vector<uint32_t> read = start;
    read.insert(read.end(), tokens.begin() + window * part,
                tokens.begin() + (window + 1) * part);
    BANYAN_RETURN_IF_ERROR(evaluation.Read(read, [&](double done) {
      progress((static_cast<double>(window) + done) /
               static_cast<double>(windows));
    }));
  }
  return CodecEvalReport{.model = model.name,
                         .windows = windows,
                         .tokens = windows * window_tokens,
                         .window_tokens = window_tokens,
                         .block_tokens = options.block_tokens,
                         .perplexity = evaluation.perplexity(),
                         .rows = evaluation.Rows()};
}

std::string CodecEvalText(const CodecEvalReport& report) {
  std::string text = absl::StrFormat(
      "%s, %d windows of %d tokens, blocks of %d; perplexity with fp32 keys "
      "and values %.3f\n\n"
      "codec                             bits  ratio  enc GB/s  dec GB/s"
      "   relMSE K   relMSE V   outErr        KL    top-1       ppl\n",
      report.model, report.windows, report.window_tokens, report.block_tokens,
      report.perplexity);
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
      absl::StrAppendFormat(&text, "  of it, %d layers stayed fp16\n",
                            row.layers_kept);
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
  const nlohmann::ordered_json json = {{"model", report.model},
                                       {"windows", report.windows},
                                       {"window_tokens", report.window_tokens},
                                       {"block_tokens", report.block_tokens},
                                       {"tokens", report.tokens},
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
