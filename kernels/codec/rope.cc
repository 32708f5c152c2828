#include "kernels/codec/rope.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace banyan::codec {
namespace {

constexpr double kPi = std::numbers::pi;

absl::Status Bad(absl::string_view field, absl::string_view want) {
  return MakeError(absl::StatusCode::kInvalidArgument, "ROPE",
                   absl::StrCat("rope.", field, ": want ", want, "."));
}

// Divides the frequencies whose waves are longer than the positions the model
// was trained on, leaves the short ones, and goes from one to the other.
double Llama3Frequency(const RopeSpec& s, double frequency) {
  const double waves = s.original_positions * frequency / (2 * kPi);
  if (waves < s.low_frequency_factor) return frequency / s.factor;
  if (waves > s.high_frequency_factor) return frequency;
  const double kept = (waves - s.low_frequency_factor) /
                      (s.high_frequency_factor - s.low_frequency_factor);
  return (1 - kept) * frequency / s.factor + kept * frequency;
}

// The pair whose wave fits so many times into the original positions.
double YarnPair(const RopeSpec& s, double waves) {
  return s.rotary_dim * std::log(s.original_positions / (waves * 2 * kPi)) /
         (2 * std::log(s.base));
}

double YarnFrequency(const RopeSpec& s, uint32_t pair, double frequency) {
  const double low = std::max(std::floor(YarnPair(s, s.beta_fast)), 0.0);
  double high = std::min(std::ceil(YarnPair(s, s.beta_slow)),
                         static_cast<double>(s.rotary_dim) - 1);
  if (high == low) high += 0.001;
  const double divided = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return divided * frequency / s.factor + (1 - divided) * frequency;
}

double AttentionScale(const RopeSpec& s) {
  if (s.attention_scale != 0) return s.attention_scale;
  return s.factor <= 1 ? 1 : 0.1 * std::log(s.factor) + 1;
}

absl::Status ValidateScaling(const RopeSpec& s) {
  if (s.scaling > RopeScaling::kLlama3) return Bad("scaling", "a known rule");
  if (s.scaling == RopeScaling::kNone) return absl::OkStatus();
  if (!(s.factor >= 1 && s.factor <= 1e6)) return Bad("factor", "1 to 10^6");
  if (s.scaling == RopeScaling::kNtk && s.rotary_dim < 4) {
    return Bad("rotary_dim", "4 or more with NTK");
  }
  if (s.scaling != RopeScaling::kYarn && s.scaling != RopeScaling::kLlama3) {
    return absl::OkStatus();
  }
  if (s.original_positions == 0) {
    return Bad("original_positions", "1 or more");
  }
  if (s.scaling == RopeScaling::kYarn &&
      !(s.beta_slow > 0 && s.beta_fast >= s.beta_slow && s.beta_fast < 1e6)) {
    return Bad("beta_fast", "at least beta_slow, and both above 0");
  }
  if (s.scaling == RopeScaling::kLlama3 &&
      !(s.low_frequency_factor > 0 && s.high_frequency_factor < 1e6 &&
        s.high_frequency_factor > s.low_frequency_factor)) {
    return Bad("high_frequency_factor",
               "more than low_frequency_factor, and both above 0");
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t RopeSpec::Digest() const {
  std::array<std::byte, 72> bytes{};
  const double numbers[] = {base,
                            factor,
                            attention_scale,
                            beta_fast,
                            beta_slow,
                            low_frequency_factor,
                            high_frequency_factor};
  for (size_t i = 0; i < std::size(numbers); ++i) {
    StoreLe64(std::bit_cast<uint64_t>(numbers[i]), &bytes[8 * i]);
  }
  StoreLe32(rotary_dim, &bytes[56]);
  StoreLe32(original_positions, &bytes[60]);
  bytes[64] = static_cast<std::byte>(pairs);
  bytes[65] = static_cast<std::byte>(scaling);
  return LoadLe64(Sha256({AsText(bytes)}).data());
}

absl::Status Validate(const RopeSpec& s) {
  if (!(s.base > 1 && s.base <= 1e12)) {
    return Bad("base", "more than 1, up to 10^12");
  }
  if (s.rotary_dim == 0 || s.rotary_dim % 2 != 0 || s.rotary_dim > 1 << 20) {
    return Bad("rotary_dim", "an even number from 2 to 2^20");
  }
  if (s.pairs > RopePairs::kNeighbours) return Bad("pairs", "a known order");
  const bool is_own = s.attention_scale == 0 && s.scaling == RopeScaling::kYarn;
  if (!is_own && !(s.attention_scale >= 1e-3 && s.attention_scale <= 1e3)) {
    return Bad("attention_scale", "0.001 to 1000");
  }
  return ValidateScaling(s);
}

std::vector<double> RopeFrequencies(const RopeSpec& s) {
  double base = s.base;
  if (s.scaling == RopeScaling::kNtk) {
    base *= std::pow(s.factor, s.rotary_dim / (s.rotary_dim - 2.0));
  }
  std::vector<double> frequencies(s.rotary_dim / 2);
  for (uint32_t i = 0; i < frequencies.size(); ++i) {
    double& frequency = frequencies[i];
    frequency = std::pow(base, -2.0 * i / s.rotary_dim);
    if (s.scaling == RopeScaling::kLinear) frequency /= s.factor;
    if (s.scaling == RopeScaling::kYarn) {
      frequency = YarnFrequency(s, i, frequency);
    }
    if (s.scaling == RopeScaling::kLlama3) {
      frequency = Llama3Frequency(s, frequency);
    }
  }
  return frequencies;
}

// Less so many quarter turns, whose parts are short enough to be multiplied
// exactly; then the series of both functions up to what a double can hold.
SineCosine SineCosineOf(double x) {
  constexpr double kQuarterA = 0x1.921fb54p0;
  constexpr double kQuarterB = 0x0.442d184p-28;
  constexpr double kQuarterC = 0x0.69898cc51701b8p-56;
  const double turns = std::floor(x * (2 / kPi) + 0.5);
  const double r =
      ((x - turns * kQuarterA) - turns * kQuarterB) - turns * kQuarterC;
  const double rr = r * r;
  double sine = 1;
  double cosine = 1;
  for (int n = 16; n >= 2; n -= 2) {
    sine = 1 - sine * rr / (n * (n + 1));
    cosine = 1 - cosine * rr / (n * (n - 1));
  }
  sine *= r;
  switch (static_cast<uint64_t>(turns) % 4) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

absl::StatusOr<std::unique_ptr<Rope>> Rope::Make(const RopeSpec& spec,
                                                 uint32_t tokens_max) {
  BANYAN_RETURN_IF_ERROR(Validate(spec));
  return absl::WrapUnique(new Rope(spec, tokens_max));
}

Rope::Rope(const RopeSpec& spec, uint32_t tokens_max)
    : spec_(spec),
      tokens_max_(tokens_max),
      frequencies_(RopeFrequencies(spec)) {
  cosines_.reserve(tokens_max * frequencies_.size());
  sines_.reserve(tokens_max * frequencies_.size());
  for (uint32_t token = 0; token < tokens_max; ++token) {
    for (const double frequency : frequencies_) {
      const SineCosine angle = SineCosineOf(token * frequency);
      cosines_.push_back(angle.cosine);
      sines_.push_back(angle.sine);
    }
  }
}

RopeTable Rope::MakeTable() const {
  return {.pairs = spec_.rotary_dim / 2,
          .order = spec_.pairs,
          .cosines = std::vector<float>(cosines_.size()),
          .sines = std::vector<float>(sines_.size())};
}

void Rope::Fill(uint64_t first_position, Direction direction,
                RopeTable& table) const {
  BANYAN_CHECK(first_position + tokens_max_ <= kRopePositionEnd &&
               table.cosines.size() == cosines_.size());
  const bool is_off = direction == Direction::kTakeOff;
  const double scale =
      is_off ? 1 / AttentionScale(spec_) : AttentionScale(spec_);
  const double sine_scale = is_off ? -scale : scale;
  const size_t pairs = frequencies_.size();
  for (size_t pair = 0; pair < pairs; ++pair) {
    const SineCosine first =
        SineCosineOf(static_cast<double>(first_position) * frequencies_[pair]);
    for (size_t i = pair; i < cosines_.size(); i += pairs) {
      const double cosine = first.cosine * cosines_[i] - first.sine * sines_[i];
      const double sine = first.sine * cosines_[i] + first.cosine * sines_[i];
      table.cosines[i] = static_cast<float>(scale * cosine);
      table.sines[i] = static_cast<float>(sine_scale * sine);
    }
  }
}

}  // namespace banyan::codec
