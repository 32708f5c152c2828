// A PlaneCodec turns the rows of one plane into fewer bytes and back. Encoded,
// a plane is a prefix, which holds what all tokens share, and then units of
// `unit_tokens()` tokens each, of which only the last may have fewer. So a
// plane is decoded in steps, each of which reads the prefix and its own units.
//
// A codec without a fixed size writes units that are as long as their elements
// make them; the prefix says how long each one is.
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
#include "absl/status/statusor.h"
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

  // What a unit takes; without a fixed size, the most it takes.
  // Requires: 1 <= tokens <= unit_tokens().
  virtual uint64_t UnitBytes(uint32_t tokens) const = 0;

  virtual bool has_fixed_size() const { return true; }

  // What the unit of `tokens` tokens that begins at `first_token` takes, as the
  // prefix says: more than UnitBytes(tokens) if no encoder writes that.
  virtual uint64_t SizedUnitBytes(absl::Span<const std::byte> /*prefix*/,
                                  uint32_t /*first_token*/,
                                  uint32_t tokens) const {
    return UnitBytes(tokens);
  }

  // Floats that Encode and Decode use on the way.
  virtual uint64_t ScratchFloats(uint32_t tokens) const = 0;

  // Writes exactly EncodedBytes(plane.tokens) to `encoded`. `rope` takes the
  // rotary embedding off; nullptr unless the codec is made for that.
  // Requires: has_fixed_size().
  virtual absl::Status Encode(const PlaneSource& plane, const RopeTable* rope,
                              absl::Span<float> scratch,
                              absl::Span<std::byte> encoded) const = 0;

  // The same, with a fixed size or without. Returns the bytes that were
  // written from the front of `encoded`, which is EncodedBytes(plane.tokens).
  virtual absl::StatusOr<uint64_t> EncodeSized(
      const PlaneSource& plane, const RopeTable* rope,
      absl::Span<float> scratch, absl::Span<std::byte> encoded) const {
    const absl::Status status = Encode(plane, rope, scratch, encoded);
    if (!status.ok()) return status;
    return encoded.size();
  }

  // Decodes the units that begin at `first_token`, which begins a unit. `units`
  // is whole units. `rope` puts the rotary embedding on.
  virtual absl::Status Decode(absl::Span<const std::byte> prefix,
                              absl::Span<const std::byte> units,
                              uint32_t first_token, const RopeTable* rope,
                              absl::Span<float> scratch,
                              const PlaneTarget& plane) const = 0;

  // Bytes of units of so many tokens, the first of which begins a unit; the
  // most without a fixed size.
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
