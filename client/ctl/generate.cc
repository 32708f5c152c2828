#include "client/ctl/generate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/ctl/model/divergence.h"
#include "client/ctl/model/kv_codec.h"

namespace banyan::ctl {
namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

// One sequence under way: its tokens and its keys and values.
class Generation {
 public:
  Generation(const LoadedModel& model, PrefixStore* store,
             const GenerateOptions& options, std::vector<uint32_t> prompt,
             const KvLayout& layout)
      : model_(model),
        store_(store),
        options_(options),
        tokens_(std::move(prompt)),
        cache_(layout, ElementType::kFp16,
               static_cast<uint32_t>(tokens_.size()) + options.tokens),
        logits_(model.llama.shape().vocabulary) {
    report_.prompt_tokens = static_cast<uint32_t>(tokens_.size());
  }

  absl::StatusOr<GenerateReport> Run() {
    const auto start = Clock::now();
    BANYAN_RETURN_IF_ERROR(ReadPrefix());
    BANYAN_RETURN_IF_ERROR(Compute(cache_, logits_));
    report_.first_token_ms = MillisecondsSince(start);
    if (exact_ != nullptr) BANYAN_RETURN_IF_ERROR(Compute(*exact_, expected_));
    while (Take()) {
      StoreFullBlocks();
      if (report_.generated_tokens == options_.tokens) break;
      BANYAN_RETURN_IF_ERROR(Compute(cache_, logits_));
      if (exact_ != nullptr) {
        BANYAN_RETURN_IF_ERROR(Compute(*exact_, expected_));
      }
    }
    report_.total_ms = MillisecondsSince(start);
    TellOfCodec();
    TellText();
    return report_;
  }

 private:
  // At least one token is left to compute: its logits are what it is about.
  absl::Status ReadPrefix() {
    uint32_t blocks = 0;
    if (store_ != nullptr) {
      const uint32_t blocks_max =
          (report_.prompt_tokens - 1) / cache_.block_tokens();
      const auto fetched = store_->Fetch(tokens_, blocks_max, cache_);
      if (fetched.ok()) {
        blocks = *fetched;
      } else {
        GiveUpStore(fetched.status());
      }
    }
    report_.stored_tokens = blocks * cache_.block_tokens();
    report_.computed_tokens = report_.prompt_tokens - report_.stored_tokens;
    next_block_ = blocks;
    if (options_.codec.empty()) return absl::OkStatus();
    BANYAN_ASSIGN_OR_RETURN(
        codec_, KvRoundTrip::Make(options_.codec, model_.llama.shape(),
                                  {.block_tokens = cache_.block_tokens()}));
    exact_ = std::make_unique<KvCache>(cache_);
    expected_.resize(logits_.size());
    return codec_->ApplyToBlocks(blocks, cache_);
  }

  // Computes the tokens that the cache lacks.
  absl::Status Compute(KvCache& cache, std::vector<float>& logits) {
    return model_.llama.Forward(
        absl::MakeConstSpan(tokens_).subspan(cache.size()), cache,
        absl::MakeSpan(logits));
  }

  // Appends the likeliest token; false if that is the end.
  bool Take() {
    if (report_.generated_tokens == options_.tokens) return false;
    if (exact_ != nullptr) divergence_.AddLogits(expected_, logits_);
    const uint32_t token = LikeliestToken(logits_);
    if (model_.tokenizer->IsEnd(token)) return false;
    tokens_.push_back(token);
    ++report_.generated_tokens;
    return true;
  }

  // Those of the prompt come after its first token: nobody waits for them.
  void StoreFullBlocks() {
    if (codec_ != nullptr) return;
    while (store_ != nullptr &&
           (next_block_ + 1) * cache_.block_tokens() <= cache_.size()) {
      const auto result = store_->Store(tokens_, next_block_, cache_);
      if (!result.ok()) return GiveUpStore(result.status());
      if (*result == WriteResult::kCommitted) ++report_.blocks_written;
      ++next_block_;
    }
  }

  // Whatever is wrong with the node, the text goes on.
  void GiveUpStore(const absl::Status& status) {
    report_.store_error = std::string(status.message());
    store_ = nullptr;
  }

  void TellOfCodec() {
    if (codec_ == nullptr) return;
    report_.codec = CodecEffect{.spec = options_.codec,
                                .bits = codec_->bits(),
                                .kl = divergence_.kl(),
                                .same_top = divergence_.same_top()};
  }

  void TellText() {
    std::string text;
    for (size_t i = report_.prompt_tokens; i < tokens_.size(); ++i) {
      absl::StrAppend(&text, model_.tokenizer->Decode(tokens_[i]));
    }
    if (options_.prompt.empty() && absl::StartsWith(text, " ")) {
      text.erase(0, 1);  // Texts begin with a space that is not theirs.
    }
    report_.text = absl::StrCat(options_.prompt, text);
  }

  const LoadedModel& model_;
  PrefixStore* store_;
  const GenerateOptions& options_;
  std::vector<uint32_t> tokens_;
  KvCache cache_;
  std::vector<float> logits_;
  uint32_t next_block_ = 0;  // The first that may have to be stored.
  std::unique_ptr<KvRoundTrip> codec_;
  std::unique_ptr<KvCache> exact_;  // Only with a codec, as the next two.
  std::vector<float> expected_;
  Divergence divergence_;
  GenerateReport report_;
};

}  // namespace

absl::StatusOr<GenerateReport> Generate(const LoadedModel& model,
                                        PrefixStore* store,
                                        const GenerateOptions& options) {
  std::vector<uint32_t> prompt = model.tokenizer->Start();
  if (!options.prompt.empty()) {
    for (const uint32_t token : model.tokenizer->Encode(options.prompt)) {
      prompt.push_back(token);
    }
  }
  const uint32_t positions = model.llama.shape().positions;
  if (prompt.empty() || prompt.size() + options.tokens > positions) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "PROMPT",
        absl::StrCat("prompt: ", prompt.size(), " tokens and ", options.tokens,
                     " to generate; the model has ", positions,
                     " positions. Shorten the prompt, or pass --tokens."));
  }
  BANYAN_ASSIGN_OR_RETURN(
      const KvLayout layout,
      model.llama.shape().Layout(ElementType::kFp16, options.block_tokens));
  return Generation(model, store, options, std::move(prompt), layout).Run();
}

std::string GenerateText(const GenerateReport& r) {
  std::string text = absl::StrFormat(
      "%s\n\n"
      "prompt          %d tokens: %d from the store, %d computed\n"
      "generated       %d tokens, %d blocks stored\n"
      "first token     %.2f ms; all %.2f ms\n",
      r.text, r.prompt_tokens, r.stored_tokens, r.computed_tokens,
      r.generated_tokens, r.blocks_written, r.first_token_ms, r.total_ms);
  if (!r.store_error.empty()) {
    absl::StrAppend(&text, "the store       ", r.store_error, "\n");
  }
  if (r.codec) {
    absl::StrAppendFormat(
        &text,
        "codec           %s, %.2f bits an element of the prefix\n"
        "next tokens     KL %.3g nats to those without it, same likeliest "
        "%.1f %%\n",
        r.codec->spec, r.codec->bits, r.codec->kl, 100 * r.codec->same_top);
  }
  return text;
}

std::string GenerateJson(const GenerateReport& r) {
  nlohmann::ordered_json json = {{"text", r.text},
                                 {"prompt_tokens", r.prompt_tokens},
                                 {"stored_tokens", r.stored_tokens},
                                 {"computed_tokens", r.computed_tokens},
                                 {"generated_tokens", r.generated_tokens},
                                 {"blocks_written", r.blocks_written},
                                 {"first_token_ms", r.first_token_ms},
                                 {"total_ms", r.total_ms}};
  if (!r.store_error.empty()) json["store_error"] = r.store_error;
  if (r.codec) {
    json["codec"] = {{"spec", r.codec->spec},
                     {"bits", r.codec->bits},
                     {"kl", r.codec->kl},
                     {"same_top", r.codec->same_top}};
  }
  // Text of a model need not be UTF-8.
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

}  // namespace banyan::ctl
