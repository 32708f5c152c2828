// Huffman codes and bytes of elements: what the kernel of lossless_planes.cu does
// to one of them. The host's way is huffman.cc.
// Format: docs/formats/codec_lossless.md.
#pragma once

#include <cstdint>

#include "kernels/codec/device_elements.cuh"

namespace banyan::codec {

inline constexpr uint32_t kLosslessBitsMax = 11;
inline constexpr uint32_t kLosslessTableSize = 1u << kLosslessBitsMax;

// Codes are canonical, and so in the order of lengths, then of symbols: how many
// entries of a table, by the first 11 bits as a number, another symbol has before
// this one.
BANYAN_HD inline uint32_t EntriesBefore(uint32_t other_length, uint32_t other,
                                        uint32_t length, uint32_t symbol) {
  const bool is_before =
      other_length < length || (other_length == length && other < symbol);
  return other_length > 0 && is_before ? kLosslessTableSize >> other_length : 0;
}

// The code behind so many entries, its first bit lowest.
BANYAN_HD inline uint32_t ReversedCode(uint32_t entries, uint32_t length) {
  uint32_t code = 0;
  for (uint32_t bit = 0; bit < length; ++bit) {
    code |= (entries >> (kLosslessBitsMax - 1 - bit) & 1) << bit;
  }
  return code;
}

// An element whose bits, rotated left by one, are these two bytes.
BANYAN_HD inline uint32_t ElementOfBytes(uint32_t high, uint32_t low) {
  const uint32_t rotated = high << 8 | low;
  return rotated >> 1 | (rotated & 1) << 15;
}

}  // namespace banyan::codec
