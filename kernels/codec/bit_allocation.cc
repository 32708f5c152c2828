#include "kernels/codec/bit_allocation.h"

#include <algorithm>
#include <cmath>

namespace banyan::codec {

double AllocateBits(absl::Span<const float> variances, uint64_t budget,
                    absl::Span<uint8_t> bits, absl::Span<float> order) {
  const auto left = [&](size_t i) {
    return std::ldexp(double{variances[i]}, -2 * bits[i]);
  };
  // Whether a comes after b.
  const auto is_less = [&](float a, float b) {
    const double of_a = left(static_cast<size_t>(a));
    const double of_b = left(static_cast<size_t>(b));
    return of_a < of_b || (of_a == of_b && a > b);
  };
  for (size_t i = 0; i < bits.size(); ++i) {
    bits[i] = 0;
    order[i] = static_cast<float>(i);
  }
  std::make_heap(order.begin(), order.end(), is_less);
  for (; budget > 0 && !order.empty(); --budget) {
    std::pop_heap(order.begin(), order.end(), is_less);
    const auto i = static_cast<size_t>(order.back());
    if (left(i) == 0 || bits[i] == kAllocatedBitsMax) break;
    ++bits[i];
    std::push_heap(order.begin(), order.end(), is_less);
  }
  double distortion = 0;
  for (size_t i = 0; i < bits.size(); ++i) distortion += left(i);
  return distortion;
}

}  // namespace banyan::codec
