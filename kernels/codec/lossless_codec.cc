#include "kernels/codec/lossless_codec.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/bytes.h"
#include "base/check.h"
#include "kernels/codec/byte_planes.h"
#include "kernels/codec/codec_errors.h"
#include "kernels/codec/huffman.h"

namespace banyan::codec {
namespace {

// Enough to make up for a table, and few enough for the second cache.
constexpr uint64_t kUnitElements = 32 * 1024;

constexpr uint64_t kLengthsBytes = 128;  // Of one byte of the elements.
constexpr uint64_t kSizesBytes = 2 * kHuffmanStreams;

uint64_t Sum(const StreamBytes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
}

StreamBytes LoadSizes(const std::byte* from) {
  StreamBytes sizes;
  for (size_t i = 0; i < sizes.size(); ++i) {
    sizes[i] = LoadLe16(from + 2 * i);
  }
  return sizes;
}

void StoreSizes(const StreamBytes& sizes, std::byte* to) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    StoreLe16(static_cast<uint16_t>(sizes[i]), to + 2 * i);
  }
}

void StoreLengths(const CodeLengths& lengths, std::byte* to) {
  for (size_t i = 0; i < kLengthsBytes; ++i) {
    to[i] = static_cast<std::byte>(lengths[2 * i] | lengths[2 * i + 1] << 4);
  }
}

CodeLengths LoadLengths(const std::byte* from) {
  CodeLengths lengths;
  for (size_t i = 0; i < kLengthsBytes; ++i) {
    const auto both = std::to_integer<uint8_t>(from[i]);
    lengths[2 * i] = both & 15;
    lengths[2 * i + 1] = both >> 4;
  }
  return lengths;
}

// Whether bytes are coded: then the encoder's slack fits where they were.
bool IsWorthIt(uint64_t coded, uint64_t count) {
  return coded + HuffmanEncoder::kSlackBytes <= count;
}

uint32_t UnitTokens(const PlaneShape& shape) {
  uint32_t tokens = 1;
  while (2 * tokens * shape.token_elements() <= kUnitElements) tokens *= 2;
  return tokens;
}

}  // namespace

LosslessCodec::LosslessCodec(const PlaneShape& shape)
    : shape_(shape), unit_tokens_(UnitTokens(shape)) {
  BANYAN_CHECK(shape.token_elements() <= kLosslessTokenMax);
}

// Where the sizes of the unit that begins there are in the prefix.
uint64_t LosslessCodec::SizesAt(uint32_t first_token) const {
  return first_token / unit_tokens_ * kSizesBytes * ElementBytes(shape_.type);
}

uint64_t LosslessCodec::PrefixBytes(uint32_t tokens) const {
  return SizesAt(tokens + unit_tokens_ - 1) +
         kLengthsBytes * ElementBytes(shape_.type);
}

uint64_t LosslessCodec::SizedUnitBytes(absl::Span<const std::byte> prefix,
                                       uint32_t first_token,
                                       uint32_t tokens) const {
  const uint64_t count = tokens * shape_.token_elements();
  const std::byte* const sizes = prefix.data() + SizesAt(first_token);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < ElementBytes(shape_.type); ++i) {
    const uint64_t coded = Sum(LoadSizes(sizes + i * kSizesBytes));
    if (coded > 0 && !IsWorthIt(coded, count)) return UnitBytes(tokens) + 1;
    bytes += coded == 0 ? count : coded;
  }
  return bytes;
}

// The bytes of a unit, taken apart.
uint64_t LosslessCodec::ScratchFloats(uint32_t) const {
  return (UnitBytes(unit_tokens_) + 3) / 4;
}

absl::Status LosslessCodec::Encode(const PlaneSource&, const RopeTable*,
                                   absl::Span<float>,
                                   absl::Span<std::byte>) const {
  return MakeError(absl::StatusCode::kFailedPrecondition, "SIZE",
                   "codec: lossless planes have no fixed size.");
}

absl::StatusOr<uint64_t> LosslessCodec::EncodeSized(
    const PlaneSource& plane, const RopeTable*, absl::Span<float> scratch,
    absl::Span<std::byte> encoded) const {
  const uint32_t kinds = ElementBytes(shape_.type);
  auto* const bytes = reinterpret_cast<uint8_t*>(scratch.data());
  const auto for_each_unit = [&](const auto& body) {
    for (uint32_t token = 0; token < plane.tokens; token += unit_tokens_) {
      const uint32_t tokens = std::min(unit_tokens_, plane.tokens - token);
      const uint64_t count = tokens * shape_.token_elements();
      SplitBytes(shape_, plane.From(token), tokens, bytes);
      for (uint32_t i = 0; i < kinds; ++i) {
        body(token, i, absl::MakeConstSpan(bytes + i * count, count));
      }
    }
  };
  std::array<ByteCounts, 4> counts{};
  for_each_unit([&](uint32_t, uint32_t i, absl::Span<const uint8_t> part) {
    CountBytes(part, counts[i]);
  });
  std::byte* const lengths_to =
      encoded.data() + PrefixBytes(plane.tokens) - kinds * kLengthsBytes;
  std::array<HuffmanEncoder, 4> encoders;
  for (uint32_t i = 0; i < kinds; ++i) {
    const CodeLengths lengths = HuffmanLengths(counts[i]);
    StoreLengths(lengths, lengths_to + i * kLengthsBytes);
    encoders[i] = HuffmanEncoder(lengths);
  }
  auto* const first = reinterpret_cast<uint8_t*>(encoded.data());
  uint8_t* to = first + PrefixBytes(plane.tokens);
  for_each_unit(
      [&](uint32_t token, uint32_t i, absl::Span<const uint8_t> part) {
        StreamBytes sizes = encoders[i].EncodedBytes(part);
        if (IsWorthIt(Sum(sizes), part.size())) {
          to = encoders[i].Encode(part, to);
        } else {
          sizes = {};
          to = std::copy(part.begin(), part.end(), to);
        }
        StoreSizes(sizes, encoded.data() + SizesAt(token) + i * kSizesBytes);
      });
  return static_cast<uint64_t>(to - first);
}

absl::Status LosslessCodec::Decode(absl::Span<const std::byte> prefix,
                                   absl::Span<const std::byte> units,
                                   uint32_t first_token, const RopeTable*,
                                   absl::Span<float> scratch,
                                   const PlaneTarget& plane) const {
  const uint32_t tokens = std::min(unit_tokens_, plane.tokens - first_token);
  const uint64_t count = tokens * shape_.token_elements();
  const uint32_t kinds = ElementBytes(shape_.type);
  const std::byte* const sizes_at = prefix.data() + SizesAt(first_token);
  const std::byte* const lengths_at =
      prefix.data() + prefix.size() - kinds * kLengthsBytes;
  auto* const bytes = reinterpret_cast<uint8_t*>(scratch.data());
  absl::Span<const uint8_t> from(reinterpret_cast<const uint8_t*>(units.data()),
                                 units.size());
  HuffmanTable table;
  for (uint32_t i = 0; i < kinds; ++i) {
    const StreamBytes sizes = LoadSizes(sizes_at + i * kSizesBytes);
    const absl::Span<uint8_t> part(bytes + i * count, count);
    if (Sum(sizes) == 0) {
      std::copy_n(from.begin(), count, part.begin());
      from.remove_prefix(count);
      continue;
    }
    if (!MakeHuffmanTable(LoadLengths(lengths_at + i * kLengthsBytes), table) ||
        !HuffmanDecode(table, sizes, from.first(Sum(sizes)), part)) {
      return BadCode();
    }
    from.remove_prefix(Sum(sizes));
  }
  JoinBytes(shape_, bytes, tokens, plane.From(first_token));
  return absl::OkStatus();
}

}  // namespace banyan::codec
