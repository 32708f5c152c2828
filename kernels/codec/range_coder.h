// A binary range coder: bits whose odds are known, or learned on the way, take
// as many bits as they are worth. The coder knows nothing of what they mean.
//
// A range [low, low + range) of 32-bit numbers is cut at each bit, the first
// part for 0; its highest byte is written once the range is below 2^24.
// Format:  docs/formats/codec_cold.md.
// Threads: thread-compatible. Nothing is allocated.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace banyan::codec {

// Bits that something takes whose odds are (i + 1/2) of 256, within 0.01.
constexpr std::array<float, 256> MakeBitsOfOdds() {
  std::array<float, 256> bits{};
  for (uint32_t i = 0; i < 256; ++i) {
    double x = 2.0 * i + 1;
    double log = -9;
    for (; x >= 2; x /= 2) ++log;
    const double z = x - 1;
    bits[i] = static_cast<float>(-(log + z * (1.34 - 0.34 * z)));
  }
  return bits;
}
inline constexpr std::array<float, 256> kBitsOfOdds = MakeBitsOfOdds();

// The odds of a bit, learned at two paces. Of 2^16, that it is 0.
struct AdaptiveBit {
  uint16_t fast = 1 << 15;
  uint16_t slow = 1 << 15;

  // 32 to 2^16 - 32, so that no part of a range is empty.
  uint32_t odds() const {
    const uint32_t mean = (uint32_t{fast} + slow) / 2;
    return mean < 32 ? 32 : mean > 65504 ? 65504 : mean;
  }

  // About how many bits this one would take.
  float bits(bool bit) const {
    return kBitsOfOdds[(bit ? 65536 - odds() : odds()) >> 8];
  }

  void Learn(bool bit) {
    // Behind a 0 the same is done to what the odds of a 1 are.
    const uint32_t flip = bit ? 0 : 65535;
    const uint32_t of_fast = fast ^ flip;
    const uint32_t of_slow = slow ^ flip;
    fast = static_cast<uint16_t>((of_fast - (of_fast >> 4)) ^ flip);
    slow = static_cast<uint16_t>((of_slow - (of_slow >> 7)) ^ flip);
  }
};

inline constexpr uint32_t kRangeMin = 1u << 24;
inline constexpr size_t kRangeTailBytes = 4;

class RangeEncoder {
 public:
  explicit RangeEncoder(absl::Span<std::byte> to) : to_(to) {}

  void Put(AdaptiveBit& adaptive, bool bit) {
    Cut((range_ >> 16) * adaptive.odds(), bit);
    adaptive.Learn(bit);
  }

  // A bit that is 0 as often as 1.
  void PutEven(bool bit) { Cut(range_ >> 1, bit); }

  // Writes what is left, and returns how many bytes that were in all. If that is
  // more than there was room for, what was written means nothing.
  size_t Finish() {
    for (size_t i = 0; i < kRangeTailBytes; ++i) PutByte();
    return written_;
  }

 private:
  // Without a branch on the bit, which nobody can foretell.
  void Cut(uint32_t first, bool bit) {
    const uint32_t mask = 0 - uint32_t{bit};
    const uint32_t low = low_ + (first & mask);
    if (low < low_) Carry();
    low_ = low;
    range_ = first + ((range_ - 2 * first) & mask);
    while (range_ < kRangeMin) {
      PutByte();
      range_ <<= 8;
    }
  }

  void PutByte() {
    if (written_ < to_.size())
      to_[written_] = static_cast<std::byte>(low_ >> 24);
    ++written_;
    low_ <<= 8;
  }

  // One more than what was written. There is room: all of it is below 1.
  void Carry() {
    for (size_t i = std::min(written_, to_.size()); i-- > 0;) {
      to_[i] = static_cast<std::byte>(std::to_integer<int>(to_[i]) + 1);
      if (to_[i] != std::byte{0}) return;
    }
  }

  absl::Span<std::byte> to_;
  size_t written_ = 0;
  uint32_t low_ = 0;
  uint32_t range_ = UINT32_MAX;
};

// Reads any bytes; behind their end, zeros. A number above all ranges, which
// no encoder writes, is read as 0, and there is then no end.
class RangeDecoder {
 public:
  explicit RangeDecoder(absl::Span<const std::byte> from) : from_(from) {
    for (size_t i = 0; i < kRangeTailBytes; ++i) TakeByte();
    is_good_ = ahead_ < range_;
    if (!is_good_) ahead_ = 0;
  }

  bool Take(AdaptiveBit& adaptive) {
    const bool bit = Cut((range_ >> 16) * adaptive.odds());
    adaptive.Learn(bit);
    return bit;
  }

  bool TakeEven() { return Cut(range_ >> 1); }

  // All was read, and nothing else than an encoder writes at its end.
  bool is_at_end() const {
    return is_good_ && read_ == from_.size() && ahead_ == 0;
  }

 private:
  bool Cut(uint32_t first) {
    const bool bit = ahead_ >= first;
    if (bit) {
      ahead_ -= first;
      range_ -= first;
    } else {
      range_ = first;
    }
    while (range_ < kRangeMin) {
      TakeByte();
      range_ <<= 8;
    }
    return bit;
  }

  void TakeByte() {
    const bool is_there = read_ < from_.size();
    ahead_ =
        ahead_ << 8 | (is_there ? std::to_integer<uint32_t>(from_[read_]) : 0u);
    ++read_;
  }

  absl::Span<const std::byte> from_;
  size_t read_ = 0;
  uint32_t ahead_ = 0;  // Of the number that is coded, what is above low.
  uint32_t range_ = UINT32_MAX;
  bool is_good_ = true;
};

}  // namespace banyan::codec
