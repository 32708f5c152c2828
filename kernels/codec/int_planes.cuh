// Groups of integer codes: what the kernels of int_planes.cu do to one group or
// one element. The host's way is int_simd.cc.
// Format: docs/formats/codec_int.md.
#pragma once

#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

// Integers of 16 bits that are ordered as the elements with these bits, NaNs at
// the ends; and back.
BANYAN_HD inline uint32_t KeyOfBits(uint32_t bits) {
  return bits ^ ((bits & 0x8000) != 0 ? 0xFFFF : 0x8000);
}
BANYAN_HD inline uint32_t BitsOfKey(uint32_t key) {
  return key ^ ((key & 0x8000) != 0 ? 0x8000 : 0xFFFF);
}

// The keys of a group's smallest and largest element.
struct KeyRange {
  uint32_t low = 0xFFFF;
  uint32_t high = 0;

  BANYAN_HD void Add(uint32_t bits) {
    const uint32_t key = KeyOfBits(bits);
    low = SmallerOf(low, key);
    high = LargerOf(high, key);
  }
  BANYAN_HD void Add(const KeyRange& other) {
    low = SmallerOf(low, other.low);
    high = LargerOf(high, other.high);
  }
};

// What a group is coded with.
struct IntParameters {
  uint32_t scale_bits;  // fp16, as the next.
  uint32_t minimum_bits;
  float minimum;
  float inverse;
  bool is_good;  // No element is beyond what the codec takes.
};

// Of a group between these; neither is a NaN or -0.
template <int kBits>
BANYAN_HD IntParameters ParametersOf(float low, float high) {
  // Less than fp16's largest by what rounding the scale up may add.
  constexpr float kValueMax = 65024;
  constexpr float kLevels = (1 << kBits) - 1;
  IntParameters p;
  p.is_good = low >= -kValueMax && high <= kValueMax;
  p.minimum_bits = Fp16::Bits(low);
  if (Fp16::Value(p.minimum_bits) > low) {
    p.minimum_bits += (p.minimum_bits & 0x8000) != 0 ? 1 : -1;
  }
  p.minimum = Fp16::Value(p.minimum_bits);
  const float exact = (high - p.minimum) / kLevels;
  p.scale_bits = Fp16::Bits(exact);
  if (Fp16::Value(p.scale_bits) < exact) ++p.scale_bits;
  const float scale = Fp16::Value(p.scale_bits);
  p.inverse = scale > 0 ? 1 / scale : 0;
  return p;
}

template <class Element, int kBits>
BANYAN_HD IntParameters ParametersOf(const KeyRange& range) {
  // -0 becomes 0.
  return ParametersOf<kBits>(Element::Value(BitsOfKey(range.low)) + 0.0f,
                             Element::Value(BitsOfKey(range.high)) + 0.0f);
}

// The sum with 2^23 has the rounded code in its lowest bits.
template <int kBits>
BANYAN_HD uint32_t IntCodeOf(float x, float minimum, float inverse) {
  const float sum = (x - minimum) * inverse + 0x1p23f;
  return BitsOfFloat(sum) & ((1u << kBits) - 1);
}

}  // namespace banyan::codec
