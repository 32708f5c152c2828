// How far a decoded layer is from the original one.
#pragma once

#include <cstddef>

#include "absl/types/span.h"
#include "kernels/codec/plane.h"

namespace banyan::codec {

struct SquaredSums {
  double error = 0;  // Of differences.
  double size = 0;   // Of the original.

  SquaredSums& operator+=(const SquaredSums& more) {
    error += more.error;
    size += more.size;
    return *this;
  }
};

// Over all elements of two runs of bytes; type is kFp16 or kBf16. May differ in
// its last bits from processor to processor.
// Requires: equal sizes, whole elements, none of which is a NaN.
SquaredSums CompareElements(ElementType type,
                            absl::Span<const std::byte> original,
                            absl::Span<const std::byte> decoded);

}  // namespace banyan::codec
