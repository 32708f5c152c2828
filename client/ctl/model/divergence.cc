#include "client/ctl/model/divergence.h"

#include <algorithm>
#include <cmath>

namespace banyan::ctl {

std::vector<double> LogProbabilities(absl::Span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - top);
  const double log_sum = top + std::log(sum);
  std::vector<double> logs(logits.begin(), logits.end());
  for (double& x : logs) x -= log_sum;
  return logs;
}

uint32_t LikeliestToken(absl::Span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) -
                               logits.begin());
}

void Divergence::Add(absl::Span<const double> exact,
                     absl::Span<const double> other) {
  double kl = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    kl += std::exp(exact[i]) * (exact[i] - other[i]);
  }
  kl_ += std::max(0.0, kl);  // Rounding may leave less.
  const auto top = [](absl::Span<const double> logs) {
    return std::max_element(logs.begin(), logs.end()) - logs.begin();
  };
  same_top_ += top(exact) == top(other) ? 1 : 0;
  ++tokens_;
}

}  // namespace banyan::ctl
