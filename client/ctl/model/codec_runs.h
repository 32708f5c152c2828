// The two runs of an evaluation of codecs: see client/ctl/codec_eval.h.
//
// Requires: the forward pass is given whole blocks, one at a time.
// Threads:  thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "client/ctl/model/kv_codec.h"
#include "client/ctl/model/llama.h"

namespace banyan::ctl {

// Watches an exact run, and does to a copy of its keys and values what a codec
// does: errors of a codec by itself, as nothing that it changed is read.
class CodecShadow final : public ForwardObserver {
 public:
  // For sequences of up to so many positions, and the codec's layout and type.
  // `codec` is not owned.
  CodecShadow(const LlamaShape& shape, const KvLayout& layout, ElementType type,
              uint32_t positions, KvRoundTrip& codec);

  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override;
  void OnAttention(uint32_t layer, uint32_t first,
                   absl::Span<const float> queries,
                   absl::Span<const float> output) override;

  double key_error() const { return errors_[0].ratio(); }
  double value_error() const { return errors_[1].ratio(); }
  double output_error() const {
    return outputs_ == 0 ? 0 : output_error_ / static_cast<double>(outputs_);
  }

 private:
  struct SquaredError {
    double error = 0;
    double size = 0;
    double ratio() const { return size > 0 ? error / size : 0; }
  };

  LlamaShape shape_;
  KvCache shadow_;
  KvRoundTrip& codec_;
  SquaredError errors_[2];  // Keys, values.
  double output_error_ = 0;
  uint64_t outputs_ = 0;  // Heads of tokens.
};

// Watches several at once.
class CodecShadows final : public ForwardObserver {
 public:
  void Add(CodecShadow& shadow) { shadows_.push_back(&shadow); }

  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override;
  void OnAttention(uint32_t layer, uint32_t first,
                   absl::Span<const float> queries,
                   absl::Span<const float> output) override;

 private:
  std::vector<CodecShadow*> shadows_;
};

// Puts a codec between the keys and values of a run and its attention.
class CodecInPlace final : public ForwardObserver {
 public:
  explicit CodecInPlace(KvRoundTrip& codec) : codec_(codec) {}

  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override;
  void OnAttention(uint32_t, uint32_t, absl::Span<const float>,
                   absl::Span<const float>) override {}

 private:
  KvRoundTrip& codec_;
};

}  // namespace banyan::ctl
