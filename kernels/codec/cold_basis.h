// The basis that a weighted cold codec codes the heads of a plane in. Noise that
// is equal in all of its components costs the model equally: errors are weighed by
// the mean products of gradients, the Fisher information. And its components have
// nothing to do with each other on average, so that each gets the bits that its
// variance is worth: a Karhunen-Loeve transform, with that metric.
//
// Source:  after KVTC (ICLR 2026), whose basis has no metric, and KVQuant (NeurIPS
//          2024), whose weights are the diagonal of this one.
// Threads: thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/codec/calibration.h"

namespace banyan::codec {

// Turns a matrix [size, size] into its inverse, always in the same order of
// operations. False if it has none, or nearly so.
bool Invert(uint32_t size, absl::Span<double> matrix);

// The inverse of each head's basis, [head, element, row], in floats.
// Requires: each has one.
std::vector<float> InverseBases(uint32_t dim, const std::vector<float>& basis);

// What is added up of a plane's tokens.
class ColdMoments {
 public:
  ColdMoments(uint32_t heads, uint32_t dim);

  // A token, [head, element], and its gradient, as long or empty: all errors
  // weigh alike.
  void Add(absl::Span<const float> token, absl::Span<const float> gradient);

  uint64_t tokens() const { return tokens_; }

  // Means and basis. Sets the variance of each component, in units of what an
  // error costs. Requires: tokens.
  ColdTables Tables(std::vector<double>& variances) const;

 private:
  std::vector<double> Covariance(uint32_t head) const;
  std::vector<double> Metric(uint32_t head) const;

  uint32_t heads_;
  uint32_t dim_;
  uint64_t tokens_ = 0;
  std::vector<double> sums_;       // Of channels.
  std::vector<double> products_;   // [head, dim, dim]
  std::vector<double> gradients_;  // [head, dim, dim]
};

// How many bits an element of each of two planes gets, of so many for both, so
// that the same error is left in all components that have as much.
struct SharedBits {
  double first;
  double second;
};
SharedBits ShareBits(absl::Span<const double> first,
                     absl::Span<const double> second, double bits);

}  // namespace banyan::codec
