// How far the next token of one run is from that of another.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace banyan::ctl {

// Natural logarithms of the probabilities of all tokens.
std::vector<double> LogProbabilities(absl::Span<const float> logits);

// The likeliest token; the first of equal ones. Requires: not empty.
uint32_t LikeliestToken(absl::Span<const float> logits);

// Means over tokens of what two runs make of the same text.
class Divergence {
 public:
  // Logarithms of probabilities.
  void Add(absl::Span<const double> exact, absl::Span<const double> other);

  // The same, of logits.
  void AddLogits(absl::Span<const float> exact, absl::Span<const float> other) {
    Add(LogProbabilities(exact), LogProbabilities(other));
  }

  uint64_t tokens() const { return tokens_; }

  // Of Kullback and Leibler, from `exact` to `other`, in nats; 0 or more.
  double kl() const { return Mean(kl_); }

  // Share of tokens whose likeliest successor is the same.
  double same_top() const { return Mean(static_cast<double>(same_top_)); }

 private:
  double Mean(double sum) const {
    return tokens_ == 0 ? 0 : sum / static_cast<double>(tokens_);
  }

  uint64_t tokens_ = 0;
  uint64_t same_top_ = 0;
  double kl_ = 0;
};

}  // namespace banyan::ctl
