#include "client/ctl/model/calibrate_model.h"

#include <memory>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/codec/calibrate.h"

namespace banyan::ctl {
namespace {

// Hands keys and values of an exact run, rounded, to calibrators.
class Sampler final : public ForwardObserver {
 public:
  Sampler(const LlamaShape& shape, const KvLayout& layout, ElementType type)
      : row_(shape.kv_dim()),
        block_(layout, type, layout.shape().block_tokens) {}

  void Add(std::unique_ptr<codec::Calibrator> calibrator) {
    calibrators_.push_back(std::move(calibrator));
  }

  absl::StatusOr<std::vector<codec::Calibration>> Finish() const {
    std::vector<codec::Calibration> made;
    for (const auto& calibrator : calibrators_) {
      BANYAN_ASSIGN_OR_RETURN(codec::Calibration calibration,
                              calibrator->Finish());
      made.push_back(std::move(calibration));
    }
    return made;
  }

  absl::Status OnKeysAndValues(uint32_t layer, uint32_t first, uint32_t count,
                               KvCache& cache) override {
    BANYAN_CHECK(count == block_.block_tokens());
    std::vector<float> rows(size_t{count} * row_);
    for (uint32_t plane = 0; plane < 2; ++plane) {
      cache.Read(layer, plane, first, count, absl::MakeSpan(rows));
      for (uint32_t i = 0; i < count; ++i) {
        block_.Write(layer, plane, i,
                     absl::MakeConstSpan(rows).subspan(size_t{i} * row_, row_));
      }
    }
    for (const auto& calibrator : calibrators_) {
      BANYAN_RETURN_IF_ERROR(
          calibrator->Add(layer, first, block_.BlockLayer(0, layer)));
    }
    return absl::OkStatus();
  }

  void OnAttention(uint32_t, uint32_t, absl::Span<const float>,
                   absl::Span<const float>) override {}

 private:
  uint32_t row_;
  KvCache block_;  // The one that was read last.
  std::vector<std::unique_ptr<codec::Calibrator>> calibrators_;
};

absl::Status ReadSequence(const Llama& llama,
                          absl::Span<const uint32_t> sequence,
                          uint32_t block_tokens, Sampler& sampler) {
  BANYAN_CHECK(sequence.size() % block_tokens == 0);
  BANYAN_ASSIGN_OR_RETURN(
      const KvLayout layout,
      llama.shape().Layout(ElementType::kFp32, block_tokens));
  KvCache cache(layout, ElementType::kFp32,
                static_cast<uint32_t>(sequence.size()));
  std::vector<float> logits(llama.shape().vocabulary);
  for (; !sequence.empty(); sequence.remove_prefix(block_tokens)) {
    BANYAN_RETURN_IF_ERROR(llama.Forward(sequence.first(block_tokens), cache,
                                         absl::MakeSpan(logits), &sampler));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<codec::Calibration>> CalibrateModel(
    const Llama& llama, const CalibrationText& text,
    absl::Span<const codec::BlockSpec> specs, ElementType type) {
  const LlamaShape& shape = llama.shape();
  BANYAN_ASSIGN_OR_RETURN(const KvLayout layout,
                          shape.Layout(type, text.block_tokens));
  Sampler sampler(shape, layout, type);
  for (const codec::BlockSpec& spec : specs) {
    BANYAN_ASSIGN_OR_RETURN(auto calibrator,
                            codec::Calibrator::Make({.spec = spec,
                                                     .layout = layout,
                                                     .type = type,
                                                     .rope = shape.Rope(),
                                                     .layers = shape.layers}));
    sampler.Add(std::move(calibrator));
  }
  for (const std::vector<uint32_t>& sequence : text.sequences) {
    BANYAN_RETURN_IF_ERROR(
        ReadSequence(llama, sequence, text.block_tokens, sampler));
  }
  return sampler.Finish();
}

}  // namespace banyan::ctl
