// A PlaneCodec turns the rows of one plane into fewer bytes and back. Encoded,
// a plane is a prefix, which holds what all tokens share, and then units of
// `unit_tokens()` tokens each, of which only the last may have fewer. So a
// plane is decoded in steps, each of which reads the prefix and its own units.
//
// It knows nothing of blocks, layers, checksums and headers: BlockCodec does.
//
// Invariant: encoded bytes depend on the rows, the shape, the spec and the
//            position only; never on the processor.
// Threads:   immutable, thread-safe. Nothing is allocated by a call.
// Errors:    Encode   kFailedPrecondition reason VALUE: a NaN, an infinity, or
//                     a value that the format has no room for. Keep the raw
//                     bytes.
//            Decode   kDataLoss reason CODEC: bytes that Encode never writes.
//                     What the target then holds means nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

class PlaneCodec {
 public:
  virtual ~PlaneCodec() = default;

  // Bytes of the prefix of a plane with so many tokens, 1 or more.
  virtual uint64_t PrefixBytes(uint32_t tokens) const = 0;

  virtual uint32_t unit_tokens() const = 0;

  // Requires: 1 <= tokens <= unit_tokens().
  virtual uint64_t UnitBytes(uint32_t tokens) const = 0;

  // Floats that Encode and Decode use on the way.
  virtual uint64_t ScratchFloats(uint32_t tokens) const = 0;

  // Writes exactly EncodedBytes(plane.tokens) to `encoded`. `rope` takes the
  // rotary embedding off; nullptr unless the codec is made for that.
  virtual absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                              absl::Span<float> scratch,
                              absl::Span<std::byte> encoded) const = 0;

  // Decodes the units that begin at `first_token`, which begins a unit. `units`
  // is whole units. `rope` puts the rotary embedding on.
  virtual absl::Status Decode(absl::Span<const std::byte> prefix,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable* rope,
                              absl::Span<float> scratch,
                              const PlaneTarget& plane) const = 0;

  // Bytes of units of so many tokens, the first of which begins a unit.
  uint64_t UnitsBytes(uint32_t tokens) const {
    const uint32_t rest = tokens % unit_tokens();
    return tokens / unit_tokens() * UnitBytes(unit_tokens()) +
           (rest > 0 ? UnitBytes(rest) : 0);
  }

  // 0 for no tokens.
  uint64_t EncodedBytes(uint32_t tokens) const {
    return tokens == 0 ? 0 : PrefixBytes(tokens) + UnitsBytes(tokens);
  }
};

}  // namespace banyan::codec
