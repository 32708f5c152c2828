#include "client/ctl/model/calibrate_model.h"

#include <memory>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "client/ctl/model/kv_gradients.h"
#include "kernels/codec/calibrate.h"

namespace banyan::ctl {
namespace {

// Hands keys and values of an exact run, rounded, to calibrators.
class Sampler final : public ForwardObserver {
 public:
  Sampler(const LlamaShape& shape, const KvLayout& layout, ElementType type)
      : row_(shape.kv_dim()),
        block_(layout, type, layout.shape().block_tokens) {}

  void Add(const codec::BlockSpec& spec,
           std::unique_ptr<codec::Calibrator> calibrator) {
    users_.push_back(
        {.is_weighted = spec.keys.is_weighted || spec.values.is_weighted,
         .takes_bare_keys = spec.keys.is_pre_rope,
         .calibrator = std::move(calibrator)});
    wants_gradients_ |= users_.back().is_weighted;
  }

  bool wants_gradients() const { return wants_gradients_; }

  // Of the sequence that is read next, of each layer.
  void SetGradients(std::vector<KvGradient> gradients) {
    gradients_ = std::move(gradients);
  }

  absl::StatusOr<std::vector<codec::Calibration>> Finish() const {
    std::vector<codec::Calibration> made;
    for (const User& user : users_) {
      BANYAN_ASSIGN_OR_RETURN(codec::Calibration calibration,
                              user.calibrator->Finish());
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
    for (const User& user : users_) {
      std::vector<float> gradients;
      if (user.is_weighted) {
        gradients = GradientsOf(layer, first, count, user.takes_bare_keys);
      }
      BANYAN_RETURN_IF_ERROR(user.calibrator->Add(
          layer, first, block_.BlockLayer(0, layer), {}, gradients));
    }
    return absl::OkStatus();
  }

  void OnAttention(uint32_t, uint32_t, absl::Span<const float>,
                   absl::Span<const float>) override {}

 private:
  struct User {
    bool is_weighted;
    bool takes_bare_keys;
    std::unique_ptr<codec::Calibrator> calibrator;
  };

  // Of some tokens, [plane, token, channel].
  std::vector<float> GradientsOf(uint32_t layer, uint32_t first, uint32_t count,
                                 bool are_keys_bare) const {
    const KvGradient& of = gradients_[layer];
    std::vector<float> gradients;
    for (const auto* const plane :
         {are_keys_bare ? &of.bare_keys : &of.keys, &of.values}) {
      const auto begin = plane->begin() + ptrdiff_t{first} * row_;
      gradients.insert(gradients.end(), begin, begin + ptrdiff_t{count} * row_);
    }
    return gradients;
  }

  uint32_t row_;
  KvCache block_;  // The one that was read last.
  std::vector<User> users_;
  bool wants_gradients_ = false;
  std::vector<KvGradient> gradients_;
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
    sampler.Add(spec, std::move(calibrator));
  }
  uint64_t seed = 0;
  for (const std::vector<uint32_t>& sequence : text.sequences) {
    if (sampler.wants_gradients()) {
      std::vector<KvGradient> gradients(shape.layers);
      BANYAN_RETURN_IF_ERROR(
          KvGradients(llama, sequence, ++seed,
                      [&](uint32_t layer, const KvGradient& of) {
                        gradients[layer] = of;
                        return absl::OkStatus();
                      })
              .status());
      sampler.SetGradients(std::move(gradients));
    }
    BANYAN_RETURN_IF_ERROR(
        ReadSequence(llama, sequence, text.block_tokens, sampler));
  }
  return sampler.Finish();
}

}  // namespace banyan::ctl
