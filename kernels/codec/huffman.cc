#include "kernels/codec/huffman.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"

namespace banyan::codec {
namespace {

// Symbols for one load of 64 bits, which may begin inside a byte.
constexpr size_t kSymbolsPerLoad = 5;
static_assert(kSymbolsPerLoad * kHuffmanBitsMax <= 64 - 7);

size_t QuarterOf(size_t count) {
  return (count + kHuffmanStreams - 1) / kHuffmanStreams;
}

// Part `stream` of the bytes; the last ones may be shorter, or empty.
template <typename Byte>
absl::Span<Byte> Quarter(absl::Span<Byte> bytes, size_t stream) {
  const size_t quarter = QuarterOf(bytes.size());
  return bytes.subspan(std::min(stream * quarter, bytes.size()), quarter);
}

// Lengths of an optimal code, which may be longer than codes can be. Leaves are
// joined in the order of their counts, then of their symbols; a leaf comes
// before a joint as large.
int UnlimitedLengths(const ByteCounts& counts, CodeLengths& lengths) {
  std::array<uint16_t, 256> leaves;
  size_t count = 0;
  for (uint16_t symbol = 0; symbol < 256; ++symbol) {
    if (counts[symbol] > 0) leaves[count++] = symbol;
  }
  std::sort(leaves.begin(), leaves.begin() + count,
            [&](uint16_t a, uint16_t b) {
              return std::pair(counts[a], a) < std::pair(counts[b], b);
            });
  std::array<uint64_t, 256> joints;   // In the order they are made: rising.
  std::array<uint16_t, 512> parents;  // Of leaves, then of joints.
  size_t next_leaf = 0;
  size_t next_joint = 0;
  for (size_t made = 0; made + 1 < count; ++made) {
    joints[made] = 0;
    for (int child = 0; child < 2; ++child) {
      const bool is_leaf = next_leaf < count &&
                           (next_joint == made ||
                            counts[leaves[next_leaf]] <= joints[next_joint]);
      const size_t node = is_leaf ? next_leaf : count + next_joint;
      joints[made] += is_leaf ? counts[leaves[next_leaf]] : joints[next_joint];
      is_leaf ? ++next_leaf : ++next_joint;
      parents[node] = static_cast<uint16_t>(count + made);
    }
  }
  std::array<int, 512> depths;
  depths[2 * count - 2] = 0;
  int most = 0;
  for (size_t node = 2 * count - 2; node-- > 0;) {
    depths[node] = depths[parents[node]] + 1;
    if (node >= count) continue;
    lengths[leaves[node]] = static_cast<uint8_t>(std::min(depths[node], 255));
    most = std::max(most, depths[node]);
  }
  return most;
}

// The code of each byte; the first bit lowest.
std::array<uint32_t, 256> CanonicalCodes(const CodeLengths& lengths) {
  std::array<uint32_t, 256> codes{};
  uint32_t next = 0;
  for (int length = 1; length <= kHuffmanBitsMax; ++length) {
    next *= 2;
    for (size_t symbol = 0; symbol < 256; ++symbol) {
      if (lengths[symbol] != length) continue;
      for (int bit = 0; bit < length; ++bit) {
        codes[symbol] |= (next >> bit & 1) << (length - 1 - bit);
      }
      ++next;
    }
  }
  return codes;
}

// One string of bits while it is read.
struct Reader {
  const std::byte* from;
  size_t bytes;
  size_t bit = 0;

  bool has_whole_load() const { return bit / 8 + 8 <= bytes; }

  uint64_t Load() const { return LoadLe64(from + bit / 8) >> bit % 8; }

  // The same near the end; zeros follow it.
  uint64_t LoadPadded() const {
    std::byte padded[8] = {};
    for (size_t i = 0; bit / 8 + i < bytes && i < 8; ++i) {
      padded[i] = from[bit / 8 + i];
    }
    return LoadLe64(padded) >> bit % 8;
  }

  // All is read but the rest of the last byte, which is zeros.
  bool is_at_end() const {
    return (bit + 7) / 8 == bytes &&
           (bit % 8 == 0 ||
            std::to_integer<int>(from[bit / 8]) >> bit % 8 == 0);
  }
};

inline uint8_t Next(const HuffmanTable& table, uint64_t& bits, Reader& reader) {
  const uint16_t entry = table[bits % table.size()];
  bits >>= entry >> 8;
  reader.bit += entry >> 8;
  return static_cast<uint8_t>(entry);
}

// Decodes as many bytes of every quarter as whole loads allow, up to `count`.
// Readers are apart from each other, so that they stay in registers.
size_t DecodeQuarters(const HuffmanTable& table, size_t count,
                      std::array<Reader, kHuffmanStreams>& readers, uint8_t* to,
                      size_t quarter) {
  static_assert(kHuffmanStreams == 4);
  Reader a = readers[0];
  Reader b = readers[1];
  Reader c = readers[2];
  Reader d = readers[3];
  size_t done = 0;
  while (done + kSymbolsPerLoad <= count && a.has_whole_load() &&
         b.has_whole_load() && c.has_whole_load() && d.has_whole_load()) {
    uint64_t a_bits = a.Load();
    uint64_t b_bits = b.Load();
    uint64_t c_bits = c.Load();
    uint64_t d_bits = d.Load();
    for (const size_t end = done + kSymbolsPerLoad; done < end; ++done) {
      to[done] = Next(table, a_bits, a);
      to[quarter + done] = Next(table, b_bits, b);
      to[2 * quarter + done] = Next(table, c_bits, c);
      to[3 * quarter + done] = Next(table, d_bits, d);
    }
  }
  readers = {a, b, c, d};
  return done;
}

}  // namespace

void CountBytes(absl::Span<const uint8_t> bytes, ByteCounts& counts) {
  // Neighbours are often equal, and then would wait for one another.
  std::array<ByteCounts, 4> parts{};
  size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    for (size_t j = 0; j < 4; ++j) ++parts[j][bytes[i + j]];
  }
  for (; i < bytes.size(); ++i) ++counts[bytes[i]];
  for (size_t symbol = 0; symbol < 256; ++symbol) {
    for (const ByteCounts& part : parts) counts[symbol] += part[symbol];
  }
}

CodeLengths HuffmanLengths(const ByteCounts& occurring) {
  ByteCounts counts = occurring;
  CodeLengths lengths{};
  const auto occurs = [](uint32_t count) { return count > 0; };
  const auto kinds = std::count_if(counts.begin(), counts.end(), occurs);
  if (kinds == 0) return lengths;
  if (kinds == 1) {
    const auto only = std::find_if(counts.begin(), counts.end(), occurs);
    counts[static_cast<size_t>(only - counts.begin()) ^ 1] = 1;
  }
  while (UnlimitedLengths(counts, lengths) > kHuffmanBitsMax) {
    for (uint32_t& count : counts) count = count / 2 + count % 2;
  }
  return lengths;
}

HuffmanEncoder::HuffmanEncoder(const CodeLengths& lengths)
    : codes_(CanonicalCodes(lengths)), lengths_(lengths) {}

StreamBytes HuffmanEncoder::EncodedBytes(
    absl::Span<const uint8_t> bytes) const {
  StreamBytes sizes;
  for (size_t stream = 0; stream < kHuffmanStreams; ++stream) {
    uint64_t bits = 0;
    for (const uint8_t byte : Quarter(bytes, stream)) bits += lengths_[byte];
    sizes[stream] = (bits + 7) / 8;
  }
  return sizes;
}

uint8_t* HuffmanEncoder::Encode(absl::Span<const uint8_t> bytes,
                                uint8_t* to) const {
  for (size_t stream = 0; stream < kHuffmanStreams; ++stream) {
    uint64_t bits = 0;
    uint32_t count = 0;
    const auto put = [&](uint8_t byte) {
      bits |= uint64_t{codes_[byte]} << count;
      count += lengths_[byte];
    };
    const auto flush = [&] {
      StoreLe64(bits, reinterpret_cast<std::byte*>(to));
      to += count / 8;
      bits >>= count / 8 * 8;
      count %= 8;
    };
    const auto quarter = Quarter(bytes, stream);
    size_t i = 0;
    for (; i + 4 <= quarter.size(); i += 4) {
      for (size_t j = 0; j < 4; ++j) put(quarter[i + j]);
      flush();
    }
    for (; i < quarter.size(); ++i) put(quarter[i]);
    flush();
    if (count > 0) *to++ = static_cast<uint8_t>(bits);
  }
  return to;
}

bool MakeHuffmanTable(const CodeLengths& lengths, HuffmanTable& table) {
  uint32_t filled = 0;
  for (const uint8_t length : lengths) {
    if (length > kHuffmanBitsMax) return false;
    if (length > 0) filled += table.size() >> length;
  }
  if (filled != table.size()) return false;
  const auto codes = CanonicalCodes(lengths);
  for (size_t symbol = 0; symbol < 256; ++symbol) {
    if (lengths[symbol] == 0) continue;
    const auto entry = static_cast<uint16_t>(symbol | lengths[symbol] << 8);
    for (size_t i = codes[symbol]; i < table.size();
         i += size_t{1} << lengths[symbol]) {
      table[i] = entry;
    }
  }
  return true;
}

bool HuffmanDecode(const HuffmanTable& table, const StreamBytes& sizes,
                   absl::Span<const uint8_t> from, absl::Span<uint8_t> to) {
  std::array<Reader, kHuffmanStreams> readers;
  const auto* at = reinterpret_cast<const std::byte*>(from.data());
  for (size_t stream = 0; stream < kHuffmanStreams; ++stream) {
    readers[stream] = {at, sizes[stream]};
    at += sizes[stream];
  }
  const size_t quarter = QuarterOf(to.size());
  // The last one is the shortest.
  const size_t common = Quarter(to, kHuffmanStreams - 1).size();
  const size_t done =
      DecodeQuarters(table, common, readers, to.data(), quarter);
  for (size_t s = 0; s < kHuffmanStreams; ++s) {
    const auto rest = Quarter(to, s);
    for (size_t i = done; i < rest.size(); ++i) {
      uint64_t bits = readers[s].LoadPadded();
      rest[i] = Next(table, bits, readers[s]);
    }
    if (!readers[s].is_at_end()) return false;
  }
  return true;
}

}  // namespace banyan::codec
