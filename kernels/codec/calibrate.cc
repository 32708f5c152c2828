#include "kernels/codec/calibrate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "kernels/codec/codec_errors.h"
#include "kernels/codec/half.h"
#include "kernels/codec/k_means.h"
#include "kernels/codec/nuq_simd.h"
#include "kernels/codec/token_simd.h"

namespace banyan::codec {

// Of one plane of one layer: [token, channel].
struct Calibrator::Samples {
  std::vector<float> values;
  std::vector<float> weights;  // Empty: all alike.
};

namespace {

// Of an element's bits, what an entropy-coded number takes more than its share
// of the rate that is least.
constexpr double kRateLoss = 0.25;

// What keys and values keep of their bits at least.
constexpr double kShareMin = 0.375;

constexpr double kOutliersASide = 0.005;
constexpr float kHalfMax = 65504;

// The least a range may be wide: fp16's smallest normal number, twice.
constexpr float kRangeMin = 0x1p-13f;

absl::Status Bad(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION",
                   absl::StrCat("calibration: ", what, "."));
}

absl::Status NoTokens(size_t layer) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "CALIBRATION",
      absl::StrCat("calibration: layer ", layer, " has no tokens."));
}

struct Range {
  float lower;
  float upper;

  float centre() const { return (upper + lower) * 0.5f; }
  float scale() const { return (upper - lower) * 0.5f; }
};

// Between the numbers at this share of the way, as the numbers are sorted.
double Percentile(const std::vector<float>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) *
                             (double{sorted[above]} - sorted[below]);
}

// What a channel's range is, as fp16, and never empty.
Range RangeOfChannel(std::vector<float> values, bool is_dense) {
  std::sort(values.begin(), values.end());
  const double share = is_dense ? 0 : kOutliersASide;
  const auto half = [](double x) {
    const auto rounded =
        static_cast<float>(std::clamp(x, -double{kHalfMax}, double{kHalfMax}));
    return HalfValue(HalfBits(rounded));
  };
  Range range{half(Percentile(values, share)),
              half(Percentile(values, 1 - share))};
  if (range.upper - range.lower < kRangeMin) {
    // Next to large numbers, fp16 has no others as near.
    const double step =
        std::max<double>(kRangeMin, std::fabs(range.centre()) * 0x1p-9);
    range = {half(range.centre() - step), half(range.centre() + step)};
  }
  return range;
}

// The range of what is not furthest out in one token.
Range RangeOfToken(std::vector<float> values, uint32_t slots) {
  const auto lower = values.begin() + slots;
  std::nth_element(values.begin(), lower, values.end());
  const float low = *lower;
  const auto upper = values.end() - 1 - slots;
  std::nth_element(values.begin(), upper, values.end());
  return {low, *upper};
}

// Adds values in range, over the range. Values have a stride.
void AddNumbers(const float* values, const float* weights, size_t count,
                size_t stride, const Range& range,
                std::vector<WeightedNumber>& numbers) {
  const float scale = range.scale();
  if (!(scale > 0)) return;
  for (size_t i = 0; i < count; ++i) {
    const float x = (values[i * stride] - range.centre()) / scale;
    if (std::fabs(x) > 1) continue;
    const float cost = weights == nullptr ? 1 : weights[i * stride];
    numbers.push_back({x, cost * scale * scale});
  }
}

// One token, or one channel over all tokens, at a time.
void AddChannels(const std::vector<float>& values,
                 const std::vector<float>& weights, uint32_t width,
                 bool is_dense, NuqTables& tables,
                 std::vector<WeightedNumber>& numbers) {
  const size_t tokens = values.size() / width;
  std::vector<float> channel(tokens);
  for (uint32_t c = 0; c < width; ++c) {
    for (size_t t = 0; t < tokens; ++t) channel[t] = values[t * width + c];
    const Range range = RangeOfChannel(channel, is_dense);
    tables.lower.push_back(range.lower);
    tables.upper.push_back(range.upper);
    AddNumbers(&values[c], weights.empty() ? nullptr : &weights[c], tokens,
               width, range, numbers);
  }
}

void AddTokens(const std::vector<float>& values,
               const std::vector<float>& weights, uint32_t width, bool is_dense,
               std::vector<WeightedNumber>& numbers) {
  const uint32_t slots = is_dense ? 0 : NuqSlotsASide(width);
  for (size_t at = 0; at < values.size(); at += width) {
    const Range range =
        RangeOfToken({values.begin() + at, values.begin() + at + width}, slots);
    AddNumbers(&values[at], weights.empty() ? nullptr : &weights[at], width, 1,
               range, numbers);
  }
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

template <typename Of>
Moments MomentsOf(const std::vector<WeightedNumber>& numbers, const Of& of) {
  Moments m;
  const auto count = static_cast<double>(std::max<size_t>(numbers.size(), 1));
  for (const WeightedNumber& n : numbers) m.mean += of(n.x) / count;
  for (const WeightedNumber& n : numbers) {
    m.deviation += (of(n.x) - m.mean) * (of(n.x) - m.mean) / count;
  }
  m.deviation = std::sqrt(m.deviation);
  return m;
}

// Q-Norm: decoded numbers get the mean and the deviation of the real ones.
void SetNorm(const std::vector<WeightedNumber>& numbers, NuqTables& tables) {
  const auto nearest = [&](float x) {
    size_t code = 0;
    while (code + 1 < tables.levels.size() &&
           x > (tables.levels[code] + tables.levels[code + 1]) * 0.5f) {
      ++code;
    }
    return double{tables.levels[code]};
  };
  const Moments before = MomentsOf(numbers, [](float x) { return double{x}; });
  const Moments after = MomentsOf(numbers, nearest);
  if (!(before.deviation > 0 && after.deviation > 0)) return;
  const double scale = std::clamp(before.deviation / after.deviation, 0.5, 2.0);
  tables.norm_scale = static_cast<float>(scale);
  tables.norm_shift = static_cast<float>(before.mean - after.mean * scale);
}

NuqTables TablesOf(const PlaneSpec& spec, uint32_t width,
                   const std::vector<float>& values,
                   const std::vector<float>& weights) {
  NuqTables tables;
  std::vector<WeightedNumber> numbers;
  if (spec.axis == Axis::kChannel) {
    AddChannels(values, weights, width, spec.is_dense, tables, numbers);
  } else {
    AddTokens(values, weights, width, spec.is_dense, numbers);
  }
  tables.levels = KMeans(numbers, size_t{1} << spec.bits);
  SetNorm(numbers, tables);
  return tables;
}

}  // namespace

Calibrator::Calibrator(const Options& options) : options_(options) {}
Calibrator::~Calibrator() = default;

absl::StatusOr<std::unique_ptr<Calibrator>> Calibrator::Make(
    const Options& options) {
  const KvLayout::Shape& layout = options.layout.shape();
  const bool is_float =
      options.type == ElementType::kFp16 || options.type == ElementType::kBf16;
  if (!is_float || layout.element_bytes != 2) {
    return Bad("want fp16 or bf16 elements");
  }
  auto made = absl::WrapUnique(new Calibrator(options));
  Calibration::Shape& shape = made->shape_;
  shape = {.layers = options.layers,
           .width = layout.kv_heads * layout.head_dim,
           .keys = options.spec.keys};
  if (layout.planes > 1) shape.values = options.spec.values;
  shape.keys.has_q_norm = shape.values.has_q_norm = false;
  if (shape.keys.is_weighted || shape.values.is_weighted) {
    shape.dim = layout.head_dim;
  }
  if (options.rope.has_value() && shape.keys.is_pre_rope) {
    shape.rope_digest = options.rope->Digest();
  }
  BANYAN_RETURN_IF_ERROR(Calibration::Validate(shape));
  if (shape.values.is_pre_rope) return Bad("values have no rotary embedding");
  if (shape.keys.is_pre_rope) {
    if (!options.rope.has_value() ||
        options.rope->rotary_dim > layout.head_dim) {
      return Bad("pre wants the rotary embedding of the model");
    }
    BANYAN_ASSIGN_OR_RETURN(made->rope_,
                            Rope::Make(*options.rope, layout.block_tokens));
    made->table_ = made->rope_->MakeTable();
  }
  made->samples_.resize(size_t{shape.layers} * layout.planes);
  if (shape.dim > 0) {
    made->moments_.assign(made->samples_.size(),
                          ColdMoments(layout.kv_heads, layout.head_dim));
  }
  return made;
}

absl::Status Calibrator::Add(uint32_t layer, uint64_t first_position,
                             absl::Span<const std::byte> bytes,
                             absl::Span<const float> weights,
                             absl::Span<const float> gradients) {
  const KvLayout::Shape& layout = options_.layout.shape();
  const size_t elements = bytes.size() / 2;
  if (layer >= shape_.layers || bytes.size() != options_.layout.layer_bytes() ||
      (!weights.empty() && weights.size() != elements) ||
      (!gradients.empty() && gradients.size() != elements)) {
    return Bad("no such layer, or another size");
  }
  if (!std::all_of(weights.begin(), weights.end(),
                   [](float w) { return w >= 0 && std::isfinite(w); })) {
    return Bad("weights must be finite, and not negative");
  }
  if (!std::all_of(gradients.begin(), gradients.end(),
                   [](float g) { return std::isfinite(g); })) {
    return Bad("gradients must be finite");
  }
  if (rope_ != nullptr) {
    if (first_position > kRopePositionEnd - 2 * layout.block_tokens) {
      return Bad("the position is too far out");
    }
    rope_->Fill(first_position, Rope::Direction::kTakeOff, table_);
  }
  for (uint32_t plane = 0; plane < layout.planes; ++plane) {
    const PlaneSpec& spec = plane == 0 ? shape_.keys : shape_.values;
    if (!spec.wants_calibration()) continue;
    Samples& samples = samples_[size_t{layer} * layout.planes + plane];
    const size_t had = samples.values.size();
    const PlaneSource rows{bytes.data() + plane * options_.layout.plane_bytes(),
                           options_.layout.token_stride_bytes(),
                           options_.layout.head_stride_bytes(),
                           layout.block_tokens};
    const PlaneShape shape{options_.type, layout.kv_heads, layout.head_dim};
    std::vector<float> token(shape_.width);
    for (uint32_t t = 0; t < layout.block_tokens; ++t) {
      if (first_position + t < options_.spec.sink_tokens) continue;
      LoadToken(shape, rows, t,
                plane == 0 && rope_ != nullptr ? &table_ : nullptr,
                token.data());
      if (!std::all_of(token.begin(), token.end(),
                       [](float x) { return std::isfinite(x); })) {
        samples.values.resize(had);
        if (!samples.weights.empty()) samples.weights.resize(had);
        return UnfitValue();
      }
      const size_t at =
          (size_t{plane} * layout.block_tokens + t) * shape_.width;
      if (spec.is_weighted) {
        moments_[size_t{layer} * layout.planes + plane].Add(
            token, gradients.empty() ? gradients
                                     : gradients.subspan(at, shape_.width));
        continue;
      }
      samples.values.insert(samples.values.end(), token.begin(), token.end());
      if (weights.empty() && samples.weights.empty()) continue;
      samples.weights.resize(samples.values.size() - shape_.width, 1);
      for (size_t i = 0; i < shape_.width; ++i) {
        samples.weights.push_back(weights.empty() ? 1 : weights[at + i]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Calibrator::FillCold(uint32_t layer,
                                  Calibration::Layer& tables) const {
  const size_t planes = options_.layout.shape().planes;
  std::vector<double> variances[2];
  for (size_t i = 0; i < planes; ++i) {
    const PlaneSpec& spec = i == 0 ? shape_.keys : shape_.values;
    if (!spec.is_weighted) continue;
    const ColdMoments& moments = moments_[layer * planes + i];
    if (moments.tokens() == 0) return NoTokens(layer);
    tables[i].cold = moments.Tables(variances[i]);
    tables[i].cold.bits = static_cast<uint16_t>(spec.bits * kBitPart);
  }
  if (variances[0].empty() || variances[1].empty()) return absl::OkStatus();
  const double all = shape_.keys.bits + shape_.values.bits;
  const SharedBits shared =
      ShareBits(variances[0], variances[1], all - 2 * kRateLoss);
  const double keys = std::clamp(shared.first + kRateLoss, all * kShareMin / 2,
                                 all * (1 - kShareMin / 2));
  tables[0].cold.bits = static_cast<uint16_t>(std::lround(keys * kBitPart));
  tables[1].cold.bits =
      static_cast<uint16_t>(all * kBitPart - tables[0].cold.bits);
  return absl::OkStatus();
}

absl::StatusOr<Calibration> Calibrator::Finish() const {
  const size_t planes = options_.layout.shape().planes;
  std::vector<Calibration::Layer> layers(shape_.layers);
  for (size_t i = 0; i < samples_.size(); ++i) {
    const PlaneSpec& spec = i % planes == 0 ? shape_.keys : shape_.values;
    if (spec.id != CodecId::kNuq) continue;
    const Samples& samples = samples_[i];
    if (samples.values.empty()) {
      return NoTokens(i / planes);
    }
    layers[i / planes][i % planes].nuq =
        TablesOf(spec, shape_.width, samples.values, samples.weights);
  }
  for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
    BANYAN_RETURN_IF_ERROR(FillCold(layer, layers[layer]));
  }
  return Calibration::Make(shape_, std::move(layers));
}

}  // namespace banyan::codec
