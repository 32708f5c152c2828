// Huffman codes of up to 11 bits for bytes, canonical, so that their lengths
// say all. The codes of some bytes are four strings of bits, each of a quarter
// of the bytes, so that a processor reads four at a time.
// Format: docs/formats/codec_lossless.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace banyan::codec {

inline constexpr int kHuffmanBitsMax = 11;
inline constexpr size_t kHuffmanStreams = 4;

using ByteCounts = std::array<uint32_t, 256>;
using CodeLengths = std::array<uint8_t, 256>;  // 0: has no code.
using StreamBytes = std::array<uint64_t, kHuffmanStreams>;

// Adds how often each byte occurs.
void CountBytes(absl::Span<const uint8_t> bytes, ByteCounts& counts);

// Lengths for bytes that occur so often. All zero if none occurs.
CodeLengths HuffmanLengths(const ByteCounts& counts);

class HuffmanEncoder {
 public:
  HuffmanEncoder() = default;  // For no byte.
  explicit HuffmanEncoder(const CodeLengths& lengths);

  // What Encode writes for each quarter. Requires: every byte has a code.
  StreamBytes EncodedBytes(absl::Span<const uint8_t> bytes) const;

  // Requires: EncodedBytes, and kSlackBytes more, fit `to`. Returns the end of
  // what it means to write.
  uint8_t* Encode(absl::Span<const uint8_t> bytes, uint8_t* to) const;

  static constexpr size_t kSlackBytes = 8;

 private:
  std::array<uint32_t, 256> codes_{};  // The first bit lowest.
  CodeLengths lengths_{};
};

// What the next 11 bits mean: a byte, and 256 times the length of its code.
using HuffmanTable = std::array<uint16_t, 1 << kHuffmanBitsMax>;

// False if these are no lengths of a whole code.
bool MakeHuffmanTable(const CodeLengths& lengths, HuffmanTable& table);

// Decodes to.size() bytes from strings of these sizes, one behind the other.
// False if they do not end where they should, or not in zeros.
// Requires: `from` is as long as their sum.
bool HuffmanDecode(const HuffmanTable& table, const StreamBytes& sizes,
                   absl::Span<const uint8_t> from, absl::Span<uint8_t> to);

}  // namespace banyan::codec
