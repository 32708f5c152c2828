#include <bit>
#include <cstring>

#include "kernels/codec/byte_planes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/codec/byte_planes_simd.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace banyan::codec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Elements of 16 bits, where most of them are: whole vectors, the rest by one.
// `bytes` is how far byte 1 is from byte 0.

void SplitRow16(const std::byte* row, uint32_t dim, uint64_t bytes,
                uint8_t* to) {
  uint32_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<uint16_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (; at + lanes <= dim; at += lanes) {
    const auto x =
        hn::LoadU(d, reinterpret_cast<const uint16_t*>(row + size_t{2} * at));
    const auto low = hn::Or(hn::Add(x, x), hn::ShiftRight<15>(x));
    hn::StoreU(hn::TruncateTo(d8, hn::ShiftRight<7>(x)), d8, to + at);
    hn::StoreU(hn::TruncateTo(d8, low), d8, to + bytes + at);
  }
#endif
  for (; at < dim; ++at) {
    uint16_t x;
    std::memcpy(&x, row + size_t{2} * at, 2);
    x = std::rotl(x, 1);
    to[at] = static_cast<uint8_t>(x >> 8);
    to[bytes + at] = static_cast<uint8_t>(x);
  }
}

void JoinRow16(const uint8_t* from, uint32_t dim, uint64_t bytes,
               std::byte* row) {
  uint32_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<uint16_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const uint32_t lanes = static_cast<uint32_t>(hn::Lanes(d));
  for (; at + lanes <= dim; at += lanes) {
    const auto high = hn::PromoteTo(d, hn::LoadU(d8, from + at));
    const auto low = hn::PromoteTo(d, hn::LoadU(d8, from + bytes + at));
    const auto x =
        hn::Or(hn::ShiftLeft<7>(high),
               hn::Or(hn::ShiftRight<1>(low), hn::ShiftLeft<15>(low)));
    hn::StoreU(x, d, reinterpret_cast<uint16_t*>(row + size_t{2} * at));
  }
#endif
  for (; at < dim; ++at) {
    auto x = static_cast<uint16_t>(from[at] << 8 | from[bytes + at]);
    x = std::rotr(x, 1);
    std::memcpy(row + size_t{2} * at, &x, 2);
  }
}

void SplitRow32(const std::byte* row, uint32_t dim, uint64_t bytes,
                uint8_t* to) {
  for (uint32_t at = 0; at < dim; ++at) {
    uint32_t x;
    std::memcpy(&x, row + size_t{4} * at, 4);
    x = std::rotl(x, 1);
    for (int i = 0; i < 4; ++i) {
      to[i * bytes + at] = static_cast<uint8_t>(x >> (24 - 8 * i));
    }
  }
}

void JoinRow32(const uint8_t* from, uint32_t dim, uint64_t bytes,
               std::byte* row) {
  for (uint32_t at = 0; at < dim; ++at) {
    uint32_t x = 0;
    for (int i = 0; i < 4; ++i) x = x << 8 | from[i * bytes + at];
    x = std::rotr(x, 1);
    std::memcpy(row + size_t{4} * at, &x, 4);
  }
}

// Calls step(row, where its elements are among the bytes) for all rows.
template <typename Byte, typename Step>
void ForEachRow(const PlaneShape& shape, const PlaneRows<Byte>& plane,
                uint32_t tokens, const Step& step) {
  uint64_t at = 0;
  for (uint32_t token = 0; token < tokens; ++token) {
    for (uint32_t head = 0; head < shape.heads; ++head, at += shape.dim) {
      step(plane.Row(token, head), at);
    }
  }
}

void SplitBytesHere(const PlaneShape& shape, const PlaneSource& plane,
                    uint32_t tokens, uint8_t* to) {
  const uint64_t bytes = tokens * shape.token_elements();
  ForEachRow(shape, plane, tokens, [&](const std::byte* row, uint64_t at) {
    switch (ElementBytes(shape.type)) {
      case 4:
        return SplitRow32(row, shape.dim, bytes, to + at);
      case 2:
        return SplitRow16(row, shape.dim, bytes, to + at);
      default:
        std::memcpy(to + at, row, shape.dim);
    }
  });
}

void JoinBytesHere(const PlaneShape& shape, const uint8_t* from,
                   uint32_t tokens, const PlaneTarget& plane) {
  const uint64_t bytes = tokens * shape.token_elements();
  ForEachRow(shape, plane, tokens, [&](std::byte* row, uint64_t at) {
    switch (ElementBytes(shape.type)) {
      case 4:
        return JoinRow32(from + at, shape.dim, bytes, row);
      case 2:
        return JoinRow16(from + at, shape.dim, bytes, row);
      default:
        std::memcpy(row, from + at, shape.dim);
    }
  });
}

}  // namespace banyan::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace banyan::codec {

HWY_EXPORT(SplitBytesHere);
HWY_EXPORT(JoinBytesHere);

void SplitBytes(const PlaneShape& shape, const PlaneSource& plane,
                uint32_t tokens, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(SplitBytesHere)(shape, plane, tokens, to);
}

void JoinBytes(const PlaneShape& shape, const uint8_t* from, uint32_t tokens,
               const PlaneTarget& plane) {
  HWY_DYNAMIC_DISPATCH(JoinBytesHere)(shape, from, tokens, plane);
}

}  // namespace banyan::codec
#endif
