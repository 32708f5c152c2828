#include "base/representation.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace banyan {

uint16_t Representation::Packed() const {
  return static_cast<uint16_t>((is_encoded ? 1 : 0) | error_class << 8);
}

Representation Representation::Of(uint16_t codec) {
  return {.is_encoded = (codec & 1) != 0,
          .error_class = static_cast<uint8_t>(codec >> 8)};
}

uint8_t ErrorClassOf(double error) {
  BANYAN_CHECK(error >= 0 && error <= kErrorMax);
  const double octaves = std::max(-std::log2(error), 0.0);  // Infinity for 0.
  auto error_class = static_cast<uint8_t>(std::min(4 * octaves, 255.0));
  // The logarithm is rounded; the bound must hold.
  while (ErrorBound(error_class) < error) --error_class;
  return error_class;
}

double ErrorBound(uint8_t error_class) {
  return error_class == 0 ? 0 : std::exp2(-error_class / 4.0);
}

}  // namespace banyan
