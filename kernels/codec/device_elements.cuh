// Elements of 16 bits, and runs of bytes that kernels move as one. The same
// arithmetic as simd_elements.h has for the host: rounded to nearest even,
// subnormals kept.
//
// Domain: converted floats are no NaN.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/host_device.h"

namespace banyan::codec {

struct Fp16 {
  static constexpr uint32_t kInfinityBits = 0x7C00;
  static constexpr float kLargest = 65504;
  static constexpr bool kIsFp16 = true;

  BANYAN_HD static float Value(uint32_t bits) {
    return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
  }
  BANYAN_HD static uint32_t Bits(float value) {
    return __half_as_ushort(__float2half_rn(value));
  }
};

BANYAN_HD inline uint32_t BitsOfFloat(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  return __builtin_bit_cast(uint32_t, value);
#endif
}

BANYAN_HD inline float FloatOfBits(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

struct Bf16 {
  static constexpr uint32_t kInfinityBits = 0x7F80;
  static constexpr float kLargest = 0x1.FEp127f;
  static constexpr bool kIsFp16 = false;

  BANYAN_HD static float Value(uint32_t bits) {
    return FloatOfBits(bits << 16);
  }
  BANYAN_HD static uint32_t Bits(float value) {
    const uint32_t bits = BitsOfFloat(value);
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF;
  }
};

// A number as a type, for functions without parameters of their own.
template <int kNumber>
struct Constant {
  static constexpr int kValue = kNumber;
};

// kBytes is 1, 2, 4, 8 or 16; little-endian.
template <int kBytes>
struct Packet {
  uint32_t words[kBytes < 4 ? 1 : kBytes / 4];

  BANYAN_HD uint32_t Byte(int i) const {
    return words[i / 4] >> (i % 4 * 8) & 0xFF;
  }
  BANYAN_HD uint32_t Half(int i) const {
    return words[i / 2] >> (i % 2 * 16) & 0xFFFF;
  }
};

// Requires: `from` is a multiple of kBytes.
template <int kBytes>
BANYAN_HD Packet<kBytes> LoadPacket(const std::byte* from) {
  if constexpr (kBytes == 16) {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    return {{v.x, v.y, v.z, v.w}};
  } else if constexpr (kBytes == 8) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    return {{v.x, v.y}};
  } else if constexpr (kBytes == 4) {
    return {{*reinterpret_cast<const uint32_t*>(from)}};
  } else if constexpr (kBytes == 2) {
    return {{*reinterpret_cast<const uint16_t*>(from)}};
  } else {
    return {{*reinterpret_cast<const uint8_t*>(from)}};
  }
}

template <int kBytes>
BANYAN_HD void StorePacket(const Packet<kBytes>& packet, std::byte* to) {
  const uint32_t* const w = packet.words;
  if constexpr (kBytes == 16) {
    *reinterpret_cast<uint4*>(to) = make_uint4(w[0], w[1], w[2], w[3]);
  } else if constexpr (kBytes == 8) {
    *reinterpret_cast<uint2*>(to) = make_uint2(w[0], w[1]);
  } else if constexpr (kBytes == 4) {
    *reinterpret_cast<uint32_t*>(to) = w[0];
  } else if constexpr (kBytes == 2) {
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(w[0]);
  } else {
    *reinterpret_cast<uint8_t*>(to) = static_cast<uint8_t>(w[0]);
  }
}

// Integers that lie anywhere.
template <int kBytes>
BANYAN_HD uint32_t LoadBytes(const std::byte* from) {
  uint32_t value = 0;
  for (int i = 0; i < kBytes; ++i) {
    value |= LoadPacket<1>(from + i).words[0] << (8 * i);
  }
  return value;
}

template <int kBytes>
BANYAN_HD void StoreBytes(uint32_t value, std::byte* to) {
  for (int i = 0; i < kBytes; ++i) {
    StorePacket<1>({{value >> (8 * i) & 0xFF}}, to + i);
  }
}

BANYAN_HD inline bool IsFiniteFp16(uint32_t bits) {
  return (bits & 0x7C00) != 0x7C00;
}

BANYAN_HD inline uint32_t LargerOf(uint32_t a, uint32_t b) {
  return a > b ? a : b;
}
BANYAN_HD inline uint32_t SmallerOf(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

// The elements of a packet, two bytes each.
template <class Element, int kCount>
BANYAN_HD void ValuesOf(const Packet<2 * kCount>& packet,
                        float (&values)[kCount]) {
  for (int i = 0; i < kCount; ++i) values[i] = Element::Value(packet.Half(i));
}

template <class Element, int kCount>
BANYAN_HD Packet<2 * kCount> ElementsOf(const float (&values)[kCount]) {
  Packet<2 * kCount> packet = {};
  for (int i = 0; i < kCount; ++i) {
    packet.words[i / 2] |= Element::Bits(values[i]) << (i % 2 * 16);
  }
  return packet;
}

}  // namespace banyan::codec
